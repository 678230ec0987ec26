//! Accepting connections, within limits.
//!
//! Owns the accept loop. It only accepts, counts, pins the process that connected and hands over: a slow attestor holds up one
//! worker's task and never this loop. Never spins: out of descriptors it pauses. The number of
//! connections is bounded by `caps`. A connection whose peer cannot be identified is closed without an answer.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

use crate::answers::Problem;
use crate::caps::{Caps, Slot};
use crate::connection;
use crate::context::Shared;
use crate::listen::Bound;
use crate::metrics::Metrics;
use crate::operators::Operators;
use crate::workers::Workers;
use claviger_core::broker::Caller;
use claviger_core::peer::{self, Peer, Pinned};
use claviger_runtime::clock::Pace;
use claviger_runtime::reason::Reason;
use claviger_runtime::telemetry::Causes;

/// How long to pause when descriptors have run out. Without a pause the loop would spin: the pending connection stays pending.
const PAUSE: Duration = Duration::from_millis(100);

/// Between two warnings that connections cannot be accepted. The shortage may last.
pub(crate) const WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// One listener's accept loop.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub(crate) listener: UnixListener,
    pub(crate) caps: Arc<Caps>,
    /// The peers that are admitted; `None`: all.
    pub(crate) only: Option<Arc<Operators>>,
    /// Limits the warnings that connections cannot be accepted.
    pub(crate) warnings: Pace,
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
        if self.warnings.take(self.shared.clock.now()).is_ok() {
            tracing::warn!(
                target: "claviger::server",
                class = %error.kind(),
                errno = error.raw_os_error(),
                "cannot accept connections; pausing (is LimitNOFILE too low?)"
            );
        }
        tokio::time::sleep(PAUSE).await;
    }

    /// Takes a slot, pins the peer and hands the connection to a worker; or closes it. The slot comes first: a user that has
    /// all of its slots must not keep this loop busy with pinning.
    fn admit(&self, stream: UnixStream) {
        let admitted = self.slot(&stream).and_then(|slot| {
            let peer = Pinned::of(&stream, &self.shared.peers);
            // The socket is registered again with the worker's runtime.
            let stream = stream.into_std().map_err(Refusal::Stream)?;
            Ok(Arrival { stream, peer, slot })
        });
        match admitted {
            Ok(arrival) => self.hand_over(arrival),
            Err(refusal) => refusal.note(&self.shared.metrics),
        }
    }

    /// The uid is the one that the kernel noted when the peer connected, here as for its identity.
    fn slot(&self, stream: &UnixStream) -> Result<Slot, Refusal> {
        let uid = stream.peer_cred().map_err(Refusal::Stream)?.uid();
        self.caps
            .take(uid, &self.shared.metrics)
            .ok_or(Refusal::Full { uid })
    }

    fn hand_over(&self, arrival: Arrival) {
        let (shared, only) = (Arc::clone(&self.shared), self.only.clone());
        // Counted from here on, so that a drain which begins now waits for this connection too.
        let serving = shared.drain.count();
        self.workers.serve(Box::new(move || {
            Box::pin(async move {
                let _serving = serving;
                arrival.serve(only.as_deref(), shared).await;
            })
        }));
    }
}

/// A connection on its way to a worker.
struct Arrival {
    stream: StdUnixStream,
    peer: Result<Pinned, peer::Error>,
    slot: Slot,
}

impl Arrival {
    /// Identifies the peer, and serves it unless it is refused. Runs on a worker.
    async fn serve(self, only: Option<&Operators>, shared: Arc<Shared>) {
        let Self { stream, peer, slot } = self;
        match identify(peer, only, &shared).await {
            Ok(peer) => match UnixStream::from_std(stream) {
                Ok(stream) => {
                    connection::serve(stream, Caller::Process(peer), slot, shared).await;
                }
                Err(error) => Refusal::Stream(error).note(&shared.metrics),
            },
            Err(refusal) => {
                refusal.note(&shared.metrics);
                if !matches!(refusal, Refusal::Unidentified(peer::Error::Unmapped { .. })) {
                    // In this order: a peer that sees the end of its connection finds its slot free.
                    drop(slot);
                    drop(stream);
                } else if let Ok(stream) = UnixStream::from_std(stream) {
                    let problem = Problem::new(Reason::Unidentified);
                    connection::refuse(stream, problem, slot, &shared.settings.limits).await;
                }
            }
        }
    }
}

async fn identify(
    peer: Result<Pinned, peer::Error>,
    only: Option<&Operators>,
    shared: &Shared,
) -> Result<Peer, Refusal> {
    // The deadline for the first bytes bounds this as well, so that an attestor cannot keep a slot for longer.
    let limit = shared.settings.limits.preface;
    let peer = peer.map_err(Refusal::Unidentified)?;
    let peer = tokio::time::timeout(limit, peer.identify(&shared.peers))
        .await
        .map_err(|_elapsed| Refusal::Unattested)?
        .map_err(Refusal::Unidentified)?;
    match only {
        Some(operators) if !operators.include(peer.facts()) => Err(Refusal::NotOperator {
            uid: peer.facts().uid,
        }),
        Some(_) | None => Ok(peer),
    }
}

/// Whether a peer that could not be identified has been logged.
static LOGGED: AtomicBool = AtomicBool::new(false);

/// Why a connection was closed without an answer.
#[derive(Debug)]
enum Refusal {
    Unidentified(peer::Error),
    Unattested,
    NotOperator { uid: u32 },
    Full { uid: u32 },
    Stream(io::Error),
}

impl Refusal {
    /// Counts it, and logs it within bounds.
    fn note(&self, metrics: &Metrics) {
        metrics.count_refused();
        let (why, uid) = match self {
            Self::Unidentified(error) => {
                // Logged once, because the cause is usually the setup (a daemon in a pid namespace of its own); further ones
                // are only counted, so that peers cannot fill the log.
                if !LOGGED.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        target: "claviger::server", error = %Causes(error),
                        "a peer cannot be identified and is refused; further ones are counted in `claviger status`"
                    );
                }
                return;
            }
            Self::Unattested => {
                tracing::debug!(target: "claviger::server", "attesting a peer took too long; its connection is closed");
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
