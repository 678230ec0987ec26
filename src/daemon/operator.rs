//! What operators see and do: the overview, and the reload.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::broker::Broker;
use crate::clock::{Clock, Moment};
use crate::config::Config;
use crate::daemon::assembly::{self, Assembled, Ground};
use crate::daemon::{FIRST_ROUND, environments, service_manager};
use crate::memory::Report;
use crate::oauth::{ErrorKind, Issuer, IssuerStatus};
use crate::registry::{self, Backends};
use crate::secrets::Secrets;
use crate::server::{IssuerOverview, Operator, Overview, ProtectionOverview};
use crate::shutdown::Drain;
use crate::telemetry::Causes;

/// Why a reload that meets the end of the daemon is refused.
const STOPPING: &str = "the daemon is stopping";

/// The configuration that is in force, and what was built from it.
#[derive(Debug)]
pub(super) struct InForce {
    config: Config,
    backends: Backends,
    assembled: Assembled,
    loaded: SystemTime,
}

impl InForce {
    pub(super) fn new(
        config: Config,
        backends: Backends,
        assembled: Assembled,
        clock: &dyn Clock,
    ) -> Self {
        Self {
            config,
            backends,
            assembled,
            loaded: clock.now().system_time(),
        }
    }
}

/// The daemon as operators see it.
#[derive(Debug)]
pub(super) struct Daemon {
    broker: Arc<Broker>,
    in_force: Mutex<InForce>,
    /// One reload at a time; the lock above is held for moments only.
    reloading: Arc<tokio::sync::Mutex<()>>,
    protections: Report,
    started: SystemTime,
    /// What the host cannot tell of peers. Never changes.
    shortcomings: Vec<String>,
    clock: Arc<dyn Clock>,
    drain: Drain,
}

impl Daemon {
    pub(super) fn new(
        broker: Arc<Broker>,
        in_force: InForce,
        (protections, shortcomings): (Report, Vec<String>),
        (clock, drain): (Arc<dyn Clock>, Drain),
    ) -> Arc<Self> {
        let started = in_force.loaded;
        Arc::new(Self {
            broker,
            in_force: Mutex::new(in_force),
            reloading: Arc::default(),
            protections,
            started,
            shortcomings,
            clock,
            drain,
        })
    }

    fn with<T>(&self, read: impl FnOnce(&InForce) -> T) -> T {
        read(&self.in_force.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The secrets in force.
    pub(super) fn secrets(&self) -> Arc<Secrets> {
        self.with(|in_force| Arc::clone(&in_force.assembled.world.secrets))
    }

    pub(super) fn drain_grace(&self) -> Duration {
        self.with(|in_force| in_force.config.drain_grace)
    }
}

/// The log tells of every reload that is refused, whoever asked for it.
fn log_refusal(outcome: &Result<Vec<String>, Vec<String>>) {
    for problem in outcome.as_ref().err().into_iter().flatten() {
        tracing::error!(target: "claviger", problem, "reload refused; the old configuration goes on");
    }
}

#[async_trait]
impl Operator for Daemon {
    fn overview(&self) -> Overview {
        let ready = self.broker.ready();
        self.with(|in_force| Overview {
            started: self.started,
            config_path: in_force.config.origin.clone(),
            config_digest: in_force.config.digest.clone(),
            config_loaded: in_force.loaded,
            ready,
            backend_kinds: in_force.backends.kinds(),
            issuers: in_force
                .assembled
                .issuers
                .iter()
                .map(|issuer| overview(issuer))
                .collect(),
            protections: self
                .protections
                .protections
                .iter()
                .map(|protection| ProtectionOverview {
                    name: protection.name,
                    holds: protection.holds,
                    detail: protection.detail.clone(),
                })
                .collect(),
            warnings: in_force
                .config
                .warnings
                .iter()
                .map(ToString::to_string)
                .chain(self.shortcomings.iter().map(String::clone))
                .collect(),
        })
    }

    async fn reload(self: Arc<Self>, dry_run: bool) -> Result<Vec<String>, Vec<String>> {
        // In the order in which they were asked for.
        let one = Arc::clone(&self.reloading).lock_owned().await;
        // A task of its own, at home: who asked may go away, and half a reload is none. What it starts belongs there too.
        let drain = self.drain.clone();
        let reload = drain.spawn(async move {
            let _one = one;
            if !dry_run {
                service_manager::reloading(false);
            }
            let outcome = tokio::select! {
                biased;
                () = self.drain.begun() => Err(vec![STOPPING.to_owned()]),
                outcome = self.replace(dry_run) => outcome,
            };
            if !dry_run && !self.drain.has_begun() {
                service_manager::reloading(true);
            }
            if !dry_run {
                log_refusal(&outcome);
            }
            outcome
        });
        reload
            .await
            .unwrap_or_else(|_cut_off| Err(vec![STOPPING.to_owned()]))
    }
}

impl Daemon {
    async fn replace(&self, dry_run: bool) -> Result<Vec<String>, Vec<String>> {
        let (path, opened, previous) = self.with(|in_force| {
            let InForce {
                config,
                backends,
                assembled,
                ..
            } = in_force;
            (config.origin.clone(), backends.clone(), assembled.clone())
        });
        let config = blocking(move || Config::load(&path).map_err(|problems| problems.lines()));
        let config = config.await?;
        let changes = self.with(|in_force| in_force.config.differences(&config));
        let fixed = self.with(|in_force| in_force.config.fixed_differences(&config));
        if !fixed.is_empty() {
            return Err(fixed);
        }
        let settings = config.backends.clone();
        let backends = blocking(move || {
            registry::open_all(&settings, &opened).map_err(|errors| {
                let lines = errors.iter().map(|error| Causes(error).to_string());
                lines.collect::<Vec<_>>()
            })
        });
        let backends = backends.await?;
        let shared = environments::shared(&config, &backends.sources()).await;
        if !shared.is_empty() {
            return Err(shared);
        }
        if dry_run {
            return Ok(changes);
        }
        let ground = Ground {
            clock: &self.clock,
            drain: &self.drain,
            previous: Some(&previous),
        };
        let issuers = {
            let (config, previous) = (config.clone(), previous.clone());
            let (clock, drain) = (Arc::clone(&self.clock), self.drain.clone());
            blocking(move || {
                let (clock, drain, previous) = (&clock, &drain, Some(&previous));
                assembly::issuers(
                    &config,
                    Ground {
                        clock,
                        drain,
                        previous,
                    },
                )
            })
        };
        let issuers = issuers.await?;
        let secrets = assembly::secrets(&config, &backends, ground);
        // Let new references be fetched first, so that nobody meets an empty secret that a moment later would be there.
        // Meanwhile the old world goes on, renewals included: a backend that does not answer must not stop it.
        secrets.first_round(FIRST_ROUND).await;
        let assembled = assembly::assemble(&config, &issuers, secrets, ground)?;
        previous.world.secrets.end();
        self.broker.install(assembled.world.clone());
        let (digest, count) = (config.digest.as_str(), changes.len());
        tracing::info!(target: "claviger::event", event = "config_changed", digest, changes = count, "configuration reloaded");
        let in_force = InForce::new(config, backends, assembled, &*self.clock);
        *self.in_force.lock().unwrap_or_else(PoisonError::into_inner) = in_force;
        Ok(changes)
    }
}

/// Does on another thread what may wait for a disk, or for an account database on the network.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Vec<String>> + Send + 'static,
) -> Result<T, Vec<String>> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_cut_off| Err(vec![STOPPING.to_owned()]))
}

/// What went wrong last, unless it has worked again since.
fn current_error(status: &IssuerStatus) -> Option<ErrorKind> {
    let (kind, failed) = status.last_error?;
    let healed = status.last_success.is_some_and(|worked| worked > failed);
    (!healed).then_some(kind)
}

fn overview(issuer: &Issuer) -> IssuerOverview {
    let status = issuer.status();
    IssuerOverview {
        name: Arc::clone(&issuer.settings().name),
        issuer: issuer.settings().issuer.clone(),
        // Without a discovery to wait for, the endpoints are known from the start.
        discovered: status.discovered.is_some() || issuer.settings().endpoints.token.is_some(),
        last_error: current_error(&status).map(ErrorKind::as_str),
        last_success: status.last_success.map(Moment::system_time),
        clock_skew_seconds: status.clock_skew.unwrap_or(0),
    }
}
