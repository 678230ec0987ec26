//! Accepting connections, within limits.
//!
//! Owns the accept loop. It only accepts, counts and hands over: whatever identifying a peer costs, it costs a worker. Never
//! spins: out of descriptors it pauses. The number of connections is bounded by `arrivals` until their peers are identified,
//! and by `caps`. A connection whose peer cannot be identified is closed without an answer.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

use crate::answers::Problem;
use crate::arrivals::{Arrivals, Arrived};
use crate::caps::Caps;
use crate::connection;
use crate::context::Shared;
use crate::listen::Bound;
use crate::metrics::Metrics;
use crate::operators::Operators;
use crate::pool::{Owner, Slot};
use crate::workers::Workers;
use claviger_core::broker::{Caller, Session};
use claviger_core::peer::{self, Account, Peer, Pinned, Principal};
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
    pub(crate) arrivals: Arc<Arrivals>,
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

    /// Counts the connection and hands it to a worker; or closes it.
    fn admit(&self, stream: UnixStream) {
        let admitted = self.count(&stream).and_then(|arrived| {
            // The socket is registered again with the worker's runtime.
            let stream = stream.into_std().map_err(Refusal::Stream)?;
            Ok(Arrival {
                arrived,
                stream,
                caps: Arc::clone(&self.caps),
            })
        });
        match admitted {
            Ok(arrival) => self.hand_over(arrival),
            Err(refusal) => refusal.note(&self.shared.metrics),
        }
    }

    /// The uid is the one that the kernel noted when the peer connected, here as for its identity.
    fn count(&self, stream: &UnixStream) -> Result<Arrived, Refusal> {
        let account = Account::of(stream).map_err(Refusal::Unidentified)?;
        self.arrivals
            .admit(account, self.shared.clock.now())
            .ok_or(Refusal::Full { uid: account.uid })
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
    arrived: Arrived,
    stream: StdUnixStream,
    caps: Arc<Caps>,
}

impl Arrival {
    /// Identifies the peer, and serves it unless it is refused. Runs on a worker.
    async fn serve(self, only: Option<&Operators>, shared: Arc<Shared>) {
        match self.admit(only, &shared).await {
            Ok(Admitted { session, slot }) => match self.into_stream() {
                Ok(stream) => connection::serve(stream, session, slot, shared).await,
                Err(refusal) => refusal.note(&shared.metrics),
            },
            Err(refusal) => {
                // Noted first: a peer that sees the end of its connection finds it counted.
                refusal.note(&shared.metrics);
                if let Refusal::Unidentified(peer::Error::Unmapped { .. }) = refusal {
                    self.explain(&shared).await;
                }
            }
        }
    }

    /// Tells a peer that the kernel cannot name why it is not served.
    async fn explain(self, shared: &Shared) {
        let owner = Owner {
            principal: Principal::of_user(self.arrived.account.uid),
            permitted: false,
            beside_daemon: false,
        };
        let slot = self.caps.take(&owner, &shared.metrics);
        if let (Some(slot), Ok(stream)) = (slot, self.into_stream()) {
            let problem = Problem::new(Reason::Unidentified);
            connection::refuse(stream, problem, slot, &shared.settings.limits).await;
        }
    }

    /// The connection, on the worker's runtime. It waits no more.
    fn into_stream(self) -> Result<UnixStream, Refusal> {
        UnixStream::from_std(self.stream).map_err(Refusal::Stream)
    }

    /// Identifies the peer and takes a slot among its equals.
    async fn admit(&self, only: Option<&Operators>, shared: &Shared) -> Result<Admitted, Refusal> {
        let peer = identify(&self.stream, &self.arrived, only, shared).await?;
        let uid = peer.facts().uid;
        let session = shared.broker.session(Caller::Process(peer));
        let owner = Owner {
            principal: session.facts().principal(),
            permitted: only.is_some() || session.is_selected(&shared.broker),
            beside_daemon: self.arrived.account.beside_daemon,
        };
        let slot = self.caps.take(&owner, &shared.metrics);
        let slot = slot.ok_or(Refusal::Full { uid })?;
        Ok(Admitted { session, slot })
    }
}

/// What a connection is served with.
struct Admitted {
    session: Session,
    slot: Slot,
}

async fn identify(
    stream: &StdUnixStream,
    arrived: &Arrived,
    only: Option<&Operators>,
    shared: &Shared,
) -> Result<Peer, Refusal> {
    let identified = async {
        let turn = arrived.turn(&*shared.clock).await;
        let pinned = Pinned::of(stream, &shared.peers)?;
        // Attestors may wait, and do so for several connections at once.
        drop(turn);
        pinned.attest(&shared.peers).await
    };
    // The deadline for the first bytes bounds this as well, so that an attestor cannot keep a slot for longer.
    let limit = shared.settings.limits.preface;
    let peer = tokio::time::timeout(limit, identified)
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
