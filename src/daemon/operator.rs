//! What operators see and do: the overview, and the reload.

use std::path::PathBuf;
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
    reloading: tokio::sync::Mutex<()>,
    protections: Report,
    started: SystemTime,
    /// What the host does not give. Never changes.
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
            reloading: tokio::sync::Mutex::default(),
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

    pub(super) fn broker_socket(&self) -> PathBuf {
        self.with(|in_force| in_force.config.server.socket.clone())
    }

    pub(super) fn drain_grace(&self) -> Duration {
        self.with(|in_force| in_force.config.drain_grace)
    }

    /// Reloads because of SIGHUP, when nobody waits for the answer.
    pub(super) async fn reload_and_log(&self) {
        match self.reload(false).await {
            Ok(changes) => {
                tracing::info!(target: "claviger::event", event = "config_changed", changes = changes.len(), "configuration reloaded");
            }
            Err(problems) => {
                for problem in problems {
                    tracing::error!(target: "claviger", problem, "reload refused; the old configuration goes on");
                }
            }
        }
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

    async fn reload(&self, dry_run: bool) -> Result<Vec<String>, Vec<String>> {
        let _one = self.reloading.lock().await;
        service_manager::reloading(false);
        let outcome = self.replace(dry_run).await;
        service_manager::reloading(true);
        outcome
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
        let config = Config::load(&path).map_err(|problems| {
            problems
                .list()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        })?;
        let changes = self.with(|in_force| in_force.config.differences(&config));
        let fixed = self.with(|in_force| in_force.config.fixed_differences(&config));
        if !fixed.is_empty() {
            return Err(fixed);
        }
        let backends = registry::open_all(&config.backends, &opened)
            .map_err(|error| vec![error.to_string()])?;
        let shared = environments::shared(&config, &backends).await;
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
        let issuers = assembly::issuers(&config, ground)?;
        let secrets = assembly::secrets(&config, &backends, ground);
        // Let new references be fetched first, so that nobody meets an empty secret that a moment later would be there.
        // Meanwhile the old world goes on, renewals included: a backend that does not answer must not stop it.
        secrets.first_round(FIRST_ROUND).await;
        let assembled = assembly::assemble(&config, &issuers, secrets, ground)?;
        self.broker.install(assembled.world.clone());
        let in_force = InForce::new(config, backends, assembled, &*self.clock);
        *self.in_force.lock().unwrap_or_else(PoisonError::into_inner) = in_force;
        Ok(changes)
    }
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
