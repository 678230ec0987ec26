//! The daemon: wiring, in dependency order, and the life between start and end.
//!
//! Owns the wiring of components (`assembly`), the state in force (`current`), what operators see (`operator`, `warning`) and
//! do (`reload`), the signals, and the order of the shutdown. Never decides a request. Called when the configuration is read,
//! the sockets are bound and the process is hardened; creates the runtime, and with it the first further thread.
//!
//! Three kinds of threads: this one, which runs everything beside the request path (flights to issuers, refreshes, signals);
//! the ones that serve connections, one runtime each; and the blocking pool of the first, for files and name resolution.

mod assembly;
mod current;
mod environments;
mod identity;
mod operator;
mod probe;
mod reload;
mod service_manager;
mod trial;
mod warning;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

pub(crate) use probe::{Probe, ProbeError, probe};
pub(crate) use trial::trial;

use crate::config::{Config, Problems};
use crate::registry::Backends;
use assembly::{Ground, Prepared};
use claviger_core::broker::Broker;
use claviger_core::peer;
use claviger_core::tokens::{Fingerprints, NoFingerprints};
use claviger_kernel::Report;
use claviger_runtime::clock::{Clock, SystemClock};
use claviger_runtime::shutdown::Drain;
use claviger_server::{Limits, Operator, Parts, Server, Sockets};
use current::{Current, InForce};
use operator::{Daemon, Host};
use warning::Warning;

/// How long the daemon waits for its secrets before it reports readiness with those that it has.
const FIRST_ROUND: Duration = Duration::from_secs(10);

/// Threads for work that blocks: reading files, and one resolution by the system for each issuer, which may hang. They are
/// created when they are needed.
const BLOCKING_THREADS: usize = 24;

/// How long it waits for them before it serves the first request. With socket activation programs connect before the daemon
/// starts; without this wait their requests would fail for lack of a credential that arrives a moment later.
const HEAD_START: Duration = Duration::from_secs(2);

/// How often readiness is updated.
const TICK: Duration = Duration::from_secs(5);

/// What the daemon starts with.
#[derive(Debug)]
pub struct Launch {
    /// The configuration.
    pub config: Config,
    /// Its backends, opened.
    pub backends: Backends,
    /// The sockets.
    pub sockets: Sockets,
    /// What the hardening achieved.
    pub protections: Report,
}

/// Why the daemon ended without a signal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused a runtime, a thread or a listener.
    #[error("cannot {0}")]
    System(&'static str, #[source] io::Error),
    /// The configuration is valid, and what it refers to cannot be used.
    #[error("the configuration cannot be used")]
    Configuration(#[source] Problems),
    /// The kernel refused a key for the fingerprints of tokens.
    #[error("cannot make fingerprints of tokens")]
    Fingerprints(#[source] NoFingerprints),
    /// A backend is down, and the configuration wants it at the start.
    #[error(
        "a backend has not answered within {} s, and `require_backend_at_start` is set; the log has the backend and the reason",
        FIRST_ROUND.as_secs()
    )]
    NoBackend,
}

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// If it cannot start. What goes wrong later is logged and shown by `claviger status`.
pub(crate) fn run(launch: Launch) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("claviger-files")
        .build()
        .map_err(|error| Error::System("make a runtime", error))?;
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(8);
    let ended = runtime.block_on(live(launch, threads));
    // A name resolution may hang in the C library; it must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// The whole life of the daemon, from its first secrets to the signal that ends it.
async fn live(launch: Launch, threads: usize) -> Result<(), Error> {
    // Before anything that waits: without a listener each of these signals would end the process on the spot.
    let mut signals = Signals::listen()?;
    let running = tokio::select! {
        running = begin(launch, Arc::new(SystemClock), threads) => running?,
        // No connection is accepted yet.
        name = signals.end() => {
            say_goodbye(name);
            return Ok(());
        }
    };
    tokio::select! {
        settled = running.settle() => settled?,
        name = signals.end() => {
            say_goodbye(name);
            running.stop().await;
            return Ok(());
        }
    }
    running.until_signal(signals).await;
    Ok(())
}

fn say_goodbye(name: &str) {
    tracing::info!(target: "claviger", "Received {name}, cleaning up...");
}

/// The signals that the daemon handles. A signal that arrives while no task waits for it is not lost.
#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Error> {
        let listen =
            |kind| signal(kind).map_err(|error| Error::System("listen for signals", error));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal that ends the daemon, and returns its name.
    async fn end(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// A daemon that serves.
#[derive(Debug)]
pub struct Running {
    daemon: Arc<Daemon>,
    server: Server,
    drain: Drain,
    /// Where programs connect.
    socket: PathBuf,
    require_backend: bool,
}

/// Starts a daemon on the current runtime, which a test can pause, and on `threads` more for connections (0: none).
///
/// # Errors
/// If it cannot start.
pub async fn start(
    launch: Launch,
    clock: Arc<dyn Clock>,
    threads: usize,
) -> Result<Running, Error> {
    let running = begin(launch, clock, threads).await?;
    running.settle().await?;
    Ok(running)
}

/// Starts a daemon that serves what it has, which may be nothing yet.
async fn begin(launch: Launch, clock: Arc<dyn Clock>, threads: usize) -> Result<Running, Error> {
    let Launch {
        config,
        backends,
        sockets,
        protections,
    } = launch;
    let drain = Drain::new(Handle::current());
    let ground = Ground {
        clock: Arc::clone(&clock),
        drain: drain.clone(),
        fingerprints: Arc::new(Fingerprints::new().map_err(Error::Fingerprints)?),
    };
    let mut settings = config.server.clone();
    sockets.settle(&mut settings);
    let peers = Arc::new(assembly::peers(config.peer));
    let (budget, require_backend) = (config.budget, config.require_backend_at_start);
    let first = first(config, backends, &ground)
        .await
        .map_err(Error::Configuration)?;
    let current = Arc::new(Current::new(first));
    let worlds = Arc::<Current>::clone(&current);
    let broker = Arc::new(Broker::new(worlds, budget, Arc::clone(&clock)));
    let host = Host {
        protections,
        shortcomings: shortcomings(&peers, &settings.limits),
    };
    let daemon = Daemon::new(current, ground, host);
    let operator: Arc<dyn Operator> = Arc::<Daemon>::clone(&daemon);
    let parts = Parts {
        broker,
        operator,
        peers,
        clock,
        drain: drain.clone(),
        threads,
    };
    daemon.secrets().first_round(HEAD_START).await;
    let server = Server::start(sockets, &settings, &parts)
        .map_err(|error| Error::System("listen", error))?;
    Ok(Running {
        daemon,
        server,
        drain,
        socket: settings.socket,
        require_backend,
    })
}

/// What this host lacks, logged and for operators to see.
fn shortcomings(settings: &peer::Settings, limits: &Limits) -> Vec<Warning> {
    let mut shortcomings: Vec<_> = match peer::Support::probe() {
        Ok(support) => support.warnings(settings).map(Warning::Kernel).collect(),
        Err(error) => vec![Warning::Unprobed(error)],
    };
    shortcomings.extend(claviger_server::make_room(limits).map(Warning::Descriptors));
    for shortcoming in &shortcomings {
        tracing::warn!(target: "claviger", "{shortcoming}");
    }
    shortcomings
}

/// The first state, which carries nothing over.
async fn first(config: Config, backends: Backends, ground: &Ground) -> Result<InForce, Problems> {
    environments::check(&config, &backends).await?;
    let issuers = assembly::issuers(&config, &ground.clock, &[])?;
    let prepared = Prepared {
        config,
        backends,
        issuers,
    };
    let secrets = assembly::secrets(&prepared, ground, None);
    Ok(assembly::assemble(prepared, secrets, ground, None))
}

impl Running {
    /// Waits for the first secrets, and publishes readiness.
    ///
    /// # Errors
    /// [`Error::NoBackend`] if the configuration wants all backends at the start, and one does not answer.
    async fn settle(&self) -> Result<(), Error> {
        let secrets = self.daemon.secrets();
        let asked = secrets.first_round(FIRST_ROUND).await;
        // A backend that did not answer has been asked, too.
        let backends = self.daemon.current.get().backends.health();
        let answered = asked && backends.iter().all(|backend| backend.reachable);
        if self.require_backend && !answered {
            self.drain.begin();
            return Err(Error::NoBackend);
        }
        self.server.set_ready(self.daemon.overview().ready).await;
        Ok(())
    }

    /// Serves until SIGTERM or SIGINT, then shuts down gracefully: accepts nothing new, finishes flights, wipes caches.
    async fn until_signal(self, signals: Signals) {
        let Signals {
            mut terminate,
            mut interrupt,
            mut hangup,
        } = signals;
        service_manager::ready();
        let (socket, pulse) = (self.socket.clone(), self.server.pulse());
        tokio::spawn(service_manager::feed_watchdog(socket, pulse));
        let digest = self.daemon.overview().config_digest;
        tracing::info!(target: "claviger", digest, "ready");
        // In tasks of their own: a reload may wait for a backend, and must not delay the shutdown.
        let mut reloads = JoinSet::new();
        let name = loop {
            tokio::select! {
                _ = terminate.recv() => break "SIGTERM",
                _ = interrupt.recv() => break "SIGINT",
                // A reload that is still queued reads the current file, so a third one is not needed.
                _ = hangup.recv(), if reloads.len() < 2 => {
                    drop(reloads.spawn(Arc::clone(&self.daemon).reload(false)));
                }
                Some(_) = reloads.join_next() => {}
                () = tokio::time::sleep(TICK) => {}
            }
            self.server.set_ready(self.daemon.overview().ready).await;
        };
        say_goodbye(name);
        self.stop().await;
    }

    /// What operators can see and do.
    pub fn operator(&self) -> Arc<dyn Operator> {
        Arc::<Daemon>::clone(&self.daemon)
    }

    /// Shuts it down gracefully.
    pub async fn stop(self) {
        service_manager::stopping();
        self.server.set_ready(false).await;
        let left = self.drain.finish(self.daemon.drain_grace()).await;
        if left > 0 {
            tracing::warn!(target: "claviger", left, "some work did not finish in time and was cut off");
        }
        tracing::info!(target: "claviger", "stopped");
    }
}
