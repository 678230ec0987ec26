//! Taking connections in, within limits.
//!
//! Owns the accept loop and the caps: connections in all and per uid. Never spins: out of descriptors it pauses and goes on.
//! A connection whose peer cannot be identified is closed without an answer, because an answer would be given to nobody.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

use crate::peer::{self, Peer};
use crate::server::connection::{self, Shared};
use crate::server::route::Face;
use crate::server::workers::Workers;
use crate::server::{Bound, Limits};

/// How long to pause when descriptors have run out. Without a pause the loop would spin: the pending connection stays pending.
const PAUSE: Duration = Duration::from_millis(100);

/// How many connections operators may have.
const OPERATORS: usize = 64;

/// Counts of connections.
#[derive(Debug, Default)]
pub struct Metrics {
    open: AtomicUsize,
    refused: AtomicU64,
}

impl Metrics {
    /// Connections open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections refused because a limit was reached or the peer could not be identified.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// How many connections there are, and may be.
#[derive(Debug)]
pub(crate) struct Caps {
    most: usize,
    most_per_uid: usize,
    /// Whom the cap on all does not keep out: the daemon itself, which shows over the broker socket that it lives. If others
    /// could keep it out, they could have the service manager restart it.
    exempt: u32,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    by_uid: HashMap<u32, usize>,
}

/// A place among the connections. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    caps: Arc<Caps>,
    metrics: Arc<Metrics>,
    uid: u32,
}

impl Caps {
    pub(crate) fn for_programs(limits: &Limits) -> Self {
        Self {
            most: limits.connections,
            most_per_uid: limits.connections_per_uid,
            exempt: rustix::process::geteuid().as_raw(),
            held: Mutex::default(),
        }
    }

    pub(crate) fn for_operators() -> Self {
        let limits = Limits {
            connections: OPERATORS,
            connections_per_uid: OPERATORS,
            ..Limits::default()
        };
        Self::for_programs(&limits)
    }

    /// Takes a place for a connection of `uid`, if there is one.
    fn take(self: &Arc<Self>, uid: u32, metrics: &Arc<Metrics>) -> Option<Place> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let of_uid = held.by_uid.get(&uid).copied().unwrap_or(0);
        let full = held.all >= self.most && uid != self.exempt;
        if full || of_uid >= self.most_per_uid {
            return None;
        }
        held.all = held.all.saturating_add(1);
        held.by_uid.insert(uid, of_uid.saturating_add(1));
        metrics.open.fetch_add(1, Ordering::Relaxed);
        Some(Place {
            caps: Arc::clone(self),
            metrics: Arc::clone(metrics),
            uid,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self
            .caps
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        held.all = held.all.saturating_sub(1);
        if let Some(of_uid) = held.by_uid.get_mut(&self.uid) {
            *of_uid = of_uid.saturating_sub(1);
            if *of_uid == 0 {
                held.by_uid.remove(&self.uid);
            }
        }
        self.metrics.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One listener's accept loop.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub(crate) listener: UnixListener,
    pub(crate) caps: Arc<Caps>,
    pub(crate) workers: Arc<Workers>,
    pub(crate) shared: Arc<Shared>,
}

impl Acceptor {
    /// Accepts until the drain begins. Keeps `bound`, and with it the socket's lock and file, until then.
    pub(crate) async fn run(self, bound: Bound) {
        let drain = self.shared.drain.clone();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = drain.begun() => break,
            };
            match accepted {
                Ok((stream, _address)) => self.admit(stream),
                Err(error) => self.pause(&error).await,
            }
        }
        drop(bound);
    }

    async fn pause(&self, error: &io::Error) {
        tracing::warn!(
            target: "claviger::server",
            class = %error.kind(),
            errno = error.raw_os_error(),
            "cannot accept connections; pausing (is LimitNOFILE too low?)"
        );
        tokio::time::sleep(PAUSE).await;
    }

    /// Identifies the peer, takes a place and hands the connection to a worker; or closes it.
    fn admit(&self, stream: UnixStream) {
        let admitted = self.identify(&stream).and_then(|peer| {
            let uid = peer.facts().uid;
            let place = self.caps.take(uid, &self.shared.metrics);
            place
                .map(|place| (peer, place))
                .ok_or(Refusal::Full { uid })
        });
        let admitted = admitted.and_then(|(peer, place)| {
            stream
                .into_std()
                .map(|stream| (stream, peer, place))
                .map_err(Refusal::Stream)
        });
        match admitted {
            Ok((stream, peer, place)) => self.hand_over(stream, peer, place),
            Err(refusal) => {
                self.shared.metrics.refused.fetch_add(1, Ordering::Relaxed);
                refusal.log();
            }
        }
    }

    fn identify(&self, stream: &UnixStream) -> Result<Peer, Refusal> {
        let peer = Peer::identify(stream, &self.shared.peers).map_err(Refusal::Unidentified)?;
        let uid = peer.facts().uid;
        let own = rustix::process::geteuid().as_raw();
        // The admin socket's mode keeps others out already; a descriptor that was passed on does not get in either.
        if matches!(self.shared.face, Face::Admin) && uid != 0 && uid != own {
            return Err(Refusal::NotOperator { uid });
        }
        Ok(peer)
    }

    fn hand_over(&self, stream: StdUnixStream, peer: Peer, place: Place) {
        let shared = Arc::clone(&self.shared);
        // Counted from here on, so that a drain which begins now waits for this connection too.
        let serving = shared.drain.count();
        self.workers.serve(Box::new(move || {
            Box::pin(async move {
                let _serving = serving;
                match UnixStream::from_std(stream) {
                    Ok(stream) => connection::serve(stream, peer, place, shared).await,
                    Err(error) => Refusal::Stream(error).log(),
                }
            })
        }));
    }
}

/// Whether it was said that peers cannot be identified.
static TOLD: AtomicBool = AtomicBool::new(false);

/// Why a connection was closed without an answer.
#[derive(Debug)]
enum Refusal {
    Unidentified(peer::Error),
    NotOperator { uid: u32 },
    Full { uid: u32 },
    Stream(io::Error),
}

impl Refusal {
    fn log(&self) {
        let (why, uid) = match self {
            Self::Unidentified(error) => {
                // Told once, because it mostly is a matter of set-up (a daemon in a pid namespace of its own); after that it
                // is counted only, or whoever cannot be identified could fill the log.
                if !TOLD.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        target: "claviger::server", %error,
                        "a peer cannot be identified and is refused; further ones are counted in `claviger status`"
                    );
                }
                return;
            }
            Self::Stream(error) => {
                tracing::warn!(target: "claviger::server", class = %error.kind(), "connection lost");
                return;
            }
            Self::NotOperator { uid } => ("not an operator's uid on the admin socket", *uid),
            Self::Full { uid } => ("too many connections", *uid),
        };
        tracing::debug!(target: "claviger::server", why, peer.uid = uid, "connection refused");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_in_all_and_per_uid_and_come_back() {
        let limits = Limits {
            connections: 3,
            connections_per_uid: 2,
            ..Limits::default()
        };
        let caps = Arc::new(Caps {
            exempt: 7,
            ..Caps::for_programs(&limits)
        });
        let metrics = Arc::new(Metrics::default());
        let first = caps.take(1, &metrics).unwrap();
        let _second = caps.take(1, &metrics).unwrap();
        assert!(caps.take(1, &metrics).is_none(), "two per uid");
        let _third = caps.take(2, &metrics).unwrap();
        assert!(caps.take(3, &metrics).is_none(), "three in all");
        assert!(
            caps.take(7, &metrics).is_some(),
            "but for the daemon itself"
        );
        drop(first);
        assert!(caps.take(3, &metrics).is_some());
        assert_eq!(metrics.open(), 2);
    }
}
