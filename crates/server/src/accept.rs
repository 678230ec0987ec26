//! Taking connections in, within limits.
//!
//! Owns the accept loop. Never spins: out of descriptors it pauses and goes on. How many connections there may be is said by
//! `places`.
//! A connection whose peer cannot be identified is closed without an answer, because an answer would be given to nobody.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

use crate::Bound;
use crate::connection::{self, Shared};
use crate::operators::Operators;
use crate::places::{Caps, Place};
use crate::workers::Workers;
use claviger_core::peer::{self, Peer};
use claviger_runtime::clock::Pace;

/// How long to pause when descriptors have run out. Without a pause the loop would spin: the pending connection stays pending.
const PAUSE: Duration = Duration::from_millis(100);

/// Between two complaints in the log that connections cannot be accepted. The shortage may last.
pub(crate) const COMPLAINT: Duration = Duration::from_mins(1);

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

    pub(crate) fn opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One listener's accept loop.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub(crate) listener: UnixListener,
    pub(crate) caps: Arc<Caps>,
    /// Whom it is for; `None`: for everybody.
    pub(crate) only: Option<Operators>,
    /// How often the log is told that none can be accepted.
    pub(crate) complaints: Pace,
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
        if self.complaints.take(self.shared.clock.now()).is_ok() {
            tracing::warn!(
                target: "claviger::server",
                class = %error.kind(),
                errno = error.raw_os_error(),
                "cannot accept connections; pausing (is LimitNOFILE too low?)"
            );
        }
        tokio::time::sleep(PAUSE).await;
    }

    /// Takes a place, identifies the peer and hands the connection to a worker; or closes it. The place comes first: whoever
    /// has all of its places must not keep this loop busy with its identity.
    fn admit(&self, stream: UnixStream) {
        let admitted = self.place(&stream).and_then(|place| {
            let peer = self.identify(&stream)?;
            let stream = stream.into_std().map_err(Refusal::Stream)?;
            Ok((stream, peer, place))
        });
        match admitted {
            Ok((stream, peer, place)) => self.hand_over(stream, peer, place),
            Err(refusal) => {
                self.shared.metrics.refused.fetch_add(1, Ordering::Relaxed);
                refusal.log();
            }
        }
    }

    /// The uid is the one that the kernel noted when the peer connected, here as for its identity.
    fn place(&self, stream: &UnixStream) -> Result<Place, Refusal> {
        let uid = stream.peer_cred().map_err(Refusal::Stream)?.uid();
        let place = self.caps.take(uid, &self.shared.metrics);
        place.ok_or(Refusal::Full { uid })
    }

    fn identify(&self, stream: &UnixStream) -> Result<Peer, Refusal> {
        let peer = Peer::identify(stream, &self.shared.peers).map_err(Refusal::Unidentified)?;
        match &self.only {
            Some(operators) if !operators.include(peer.facts()) => Err(Refusal::NotOperator {
                uid: peer.facts().uid,
            }),
            Some(_) | None => Ok(peer),
        }
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
            Self::NotOperator { uid } => ("not an operator of this daemon", *uid),
            Self::Full { uid } => ("too many connections", *uid),
        };
        tracing::debug!(target: "claviger::server", why, peer.uid = uid, "connection refused");
    }
}
