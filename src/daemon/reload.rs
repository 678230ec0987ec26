//! From one configuration to the next, as a whole or not at all.
//!
//! Owns the reload, in two steps. [`Daemon::prepare`] does everything that can fail and changes nothing that is in use;
//! [`Daemon::install`] cannot fail: the next world carries over what the former one has cached, and replaces it by one
//! pointer. Never retires anything before the first step succeeded. A reload is a task of the main runtime that only the
//! shutdown of the daemon interrupts, because half an installation would leave a world in use that nothing refreshes. Work
//! that may wait for a disk or an account database runs on other threads.

use std::sync::Arc;

use crate::config::{Config, Problem, Problems};
use crate::daemon::assembly::{self, Prepared};
use crate::daemon::operator::Daemon;
use crate::daemon::{FIRST_ROUND, environments, service_manager};
use crate::registry;
use claviger_runtime::telemetry::{Causes, EVENTS, Event};
use claviger_server::{Fault, ReloadRefused, Reloaded};

impl From<Problems> for ReloadRefused {
    fn from(problems: Problems) -> Self {
        let fault = |problem: &Problem| Fault {
            file: problems.origin().to_owned(),
            line: problem.line,
            message: problem.to_string(),
        };
        Self::Faulty(problems.list().iter().map(fault).collect())
    }
}

impl Daemon {
    /// Reloads, even if the caller stops waiting. A refusal is logged as well, whatever caused the reload.
    pub(super) async fn reload_on_main(
        self: Arc<Self>,
        dry_run: bool,
    ) -> Result<Reloaded, ReloadRefused> {
        // In the order of the requests.
        let one = Arc::clone(&self.reloading).lock_owned().await;
        let drain = self.ground.drain.clone();
        drain
            .spawn(async move {
                let _one = one;
                let outcome = tokio::select! {
                    biased;
                    () = self.ground.drain.begun() => Err(ReloadRefused::Stopping),
                    outcome = self.replace(dry_run) => outcome,
                };
                if !dry_run {
                    log_refusal(&outcome);
                }
                outcome
            })
            .await
            .unwrap_or(Err(ReloadRefused::Stopping))
    }

    async fn replace(&self, dry_run: bool) -> Result<Reloaded, ReloadRefused> {
        if !dry_run {
            service_manager::reloading(false);
        }
        let outcome = match self.prepare().await {
            Ok(prepared) => Ok(self.finish(prepared, dry_run).await),
            Err(refused) => Err(refused),
        };
        if !dry_run {
            service_manager::reloading(true);
        }
        outcome
    }

    /// Reads the configuration and does everything that can fail.
    async fn prepare(&self) -> Result<Prepared, ReloadRefused> {
        let in_force = self.current.get();
        let path = in_force.config.origin.clone();
        let config = blocking(move || Config::load(&path)).await?;
        in_force.config.check_replaceable_by(&config)?;
        let backends = open(&config, &in_force.backends).await?;
        let clock = Arc::clone(&self.ground.clock);
        let (config, issuers) = blocking(move || {
            let issuers = assembly::issuers(&config, &clock, &in_force.issuers)?;
            Ok((config, issuers))
        })
        .await?;
        environments::check(&config, &backends).await?;
        Ok(Prepared {
            config,
            backends,
            issuers,
        })
    }

    async fn finish(&self, prepared: Prepared, dry_run: bool) -> Reloaded {
        let changes = self.current.get().config.differences(&prepared.config);
        if !dry_run {
            self.install(prepared).await;
            let in_force = self.current.get();
            let (digest, count) = (in_force.config.digest.as_str(), changes.len());
            tracing::info!(target: EVENTS, event_type = Event::ConfigChanged.name(), digest, changes = count, "configuration reloaded");
        }
        Reloaded { changes }
    }

    /// Installs what was prepared.
    async fn install(&self, prepared: Prepared) {
        let previous = self.current.get();
        let secrets = assembly::secrets(&prepared, &self.ground, Some(&previous));
        // Fetch new references first, so that no request fails for lack of a secret that arrives a moment later. Meanwhile
        // the old world keeps serving and renewing: a backend that does not answer must not stop it.
        secrets.first_round(FIRST_ROUND).await;
        let next = assembly::assemble(prepared, secrets, &self.ground, Some(&previous));
        // Before the rules change, because the former rules permitted the watches of the former world.
        previous.world.secrets.end();
        self.current.install(next);
    }
}

/// Opens the backends of `config`; those of `opened` that did not change are kept.
async fn open(
    config: &Config,
    opened: &registry::Backends,
) -> Result<registry::Backends, Problems> {
    registry::open_all(&config.backends, opened)
        .await
        .map_err(|unopened| {
            let problems = unopened
                .errors()
                .iter()
                .map(|error| Problem::at(error.to_string(), Causes(&error.fault).to_string()));
            Problems::new(&config.origin, problems.collect())
        })
}

/// Runs work on another thread that may wait for a disk, or for an account database on the network.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problems> + Send + 'static,
) -> Result<T, ReloadRefused> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(ReloadRefused::from),
        Err(_cut_off) => Err(ReloadRefused::Stopping),
    }
}

fn log_refusal(outcome: &Result<Reloaded, ReloadRefused>) {
    for problem in outcome
        .as_ref()
        .err()
        .into_iter()
        .flat_map(ReloadRefused::lines)
    {
        tracing::error!(target: "claviger", problem, "reload refused; the old configuration stays in use");
    }
}
