//! The sockets, and everything on the wire.
//!
//! Owns two listeners, the limits on what peers can make the daemon hold, the gRPC services and the small HTTP/1.1 dialect.
//! The only room (with the command line) that knows wire types and gRPC statuses. Holds no secret past the answer it is
//! writing, and decides nothing: each handler decodes, asks `broker`, and encodes.
//!
//! A connection is accepted within the caps (`accept`), identified by `peer`, and served on one worker for its whole life
//! (`connection`); its requests are guarded by `dispatch` and answered by a dialect (`grpc`, `http1`) from a `context`. Read
//! them in that order.

#![forbid(unsafe_code)]

mod accept;
mod answers;
mod arrivals;
mod body;
mod caps;
mod connection;
mod context;
mod descriptors;
mod dialect;
mod dispatch;
mod grpc;
mod http1;
mod listen;
mod metrics;
mod operator;
mod operators;
mod pool;
mod preface;
mod reloaded;
mod settings;
mod standard;
#[cfg(test)]
mod tests;
mod workers;

use std::io;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

pub use listen::{Bound, ListenError, Sockets};
pub use operator::{
    BackendOverview, EndpointsOverview, IssuerOverview, MetadataOverview, Operator, Overview,
    ProtectionOverview, ResourceMetadataOverview, ResourceOverview,
};
pub use reloaded::{
    Difference, DifferenceKind, Fault, IssuerNotRefreshed, ReloadRefused, Reloaded,
};
pub use settings::{Limits, Settings};
pub use workers::Pulse;

use accept::Acceptor;
use arrivals::Arrivals;
use caps::Caps;
use claviger_core::broker::Broker;
use claviger_core::peer;
use claviger_runtime::clock::{Clock, Pace};
use claviger_runtime::shutdown::Drain;
use context::{Face, Shared};
use metrics::Metrics;
use operators::Operators;
use standard::StandardServices;
use workers::Workers;

/// What the server serves with.
#[derive(Debug)]
pub struct Parts {
    /// Decides requests.
    pub broker: Arc<Broker>,
    /// Answers operators.
    pub operator: Arc<dyn Operator>,
    /// How peers are identified.
    pub peers: Arc<peer::Settings>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ends it.
    pub drain: Drain,
    /// Threads that serve connections, each with a runtime of its own. 0: serve on the runtime that calls.
    pub threads: usize,
}

/// Raises the limit on open descriptors to what these limits may take. Returns what an operator should do if that is not
/// possible.
pub fn make_room(limits: &Limits) -> Option<String> {
    descriptors::make_room(limits)
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    health: tonic_health::server::HealthReporter,
    /// Kept until the drain is over: a thread ends, with its connections, when its queue is dropped.
    workers: Arc<Workers>,
}

impl Server {
    /// Begins to accept on both sockets. Call it inside a runtime; it returns at once.
    ///
    /// # Errors
    /// If a listener cannot be registered or a thread cannot be started.
    pub fn start(sockets: Sockets, settings: &Settings, parts: &Parts) -> io::Result<Self> {
        let Sockets { broker, admin } = sockets;
        let (health, health_service) = tonic_health::server::health_reporter();
        let limit = settings.limits.message_bytes;
        let health_service = health_service.max_decoding_message_size(limit);
        let metrics = Arc::new(Metrics::default());
        let shared = |face| {
            Arc::new(Shared {
                face,
                broker: Arc::clone(&parts.broker),
                operator: Arc::clone(&parts.operator),
                peers: Arc::clone(&parts.peers),
                clock: Arc::clone(&parts.clock),
                drain: parts.drain.clone(),
                settings: settings.clone(),
                metrics: Arc::clone(&metrics),
                standard: StandardServices::new(health_service.clone(), grpc::served(face), limit),
            })
        };
        let workers = Arc::new(Workers::start(parts.threads)?);
        // Operators have slots of their own: they must get in while programs have taken all of theirs.
        let limits = &settings.limits;
        let operators = Arc::new(Operators::of_this_process());
        for (bound, face, caps, only) in [
            (broker, Face::Broker, Caps::for_programs(limits), None),
            (
                admin,
                Face::Admin,
                Caps::for_operators(limits),
                Some(operators),
            ),
        ] {
            let acceptor = Acceptor {
                listener: register(&bound.listener)?,
                arrivals: Arc::new(Arrivals::new(limits)),
                caps: Arc::new(caps),
                only,
                warnings: Pace::new(accept::WARNING_INTERVAL, Duration::ZERO),
                workers: Arc::clone(&workers),
                shared: shared(face),
            };
            tokio::spawn(acceptor.run(bound));
        }
        Ok(Self { health, workers })
    }

    /// Whether the threads that serve still work.
    pub fn pulse(&self) -> Pulse {
        Pulse(Arc::downgrade(&self.workers))
    }

    /// Says over `grpc.health.v1` whether the daemon can serve. The empty service name stands for all of it.
    pub async fn set_ready(&self, ready: bool) {
        let status = if ready {
            tonic_health::ServingStatus::Serving
        } else {
            tonic_health::ServingStatus::NotServing
        };
        for service in ["", "claviger.v1.Tokens", "claviger.v1.Secrets"] {
            self.health.set_service_status(service, status).await;
        }
    }
}

fn register(listener: &UnixListener) -> io::Result<tokio::net::UnixListener> {
    let listener = listener.try_clone()?;
    listener.set_nonblocking(true)?;
    tokio::net::UnixListener::from_std(listener)
}
