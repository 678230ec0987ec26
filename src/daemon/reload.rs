//! From one configuration to the next, as a whole or not at all.
//!
//! Owns the reload: everything that can fail comes first and touches nothing ([`Next`]), then the next world takes over what
//! the former one holds, and is put into force. It runs as a task at home that nobody interrupts but the end of the daemon,
//! since half a reload would leave a world in force whose refreshing is handed over to nobody. What may wait for a disk or an
//! account database is done on other threads.

use std::sync::{Arc, PoisonError};

use crate::config::Config;
use crate::daemon::assembly::{self, Ground, Issuers};
use crate::daemon::operator::{Daemon, InForce};
use crate::daemon::{FIRST_ROUND, environments, service_manager};
use crate::registry::{self, Backends};
use claviger_runtime::telemetry::Causes;

/// Why a reload that meets the end of the daemon is refused.
const STOPPING: &str = "the daemon is stopping";

/// What the next world is made of: all of it in order.
struct Next {
    config: Config,
    backends: Backends,
    issuers: Issuers,
    changes: Vec<String>,
}

impl Daemon {
    /// Reloads, and goes on when nobody waits for it any more. Why it was refused is logged as well, whoever asked for it.
    pub(super) async fn reload_at_home(
        self: Arc<Self>,
        dry_run: bool,
    ) -> Result<Vec<String>, Vec<String>> {
        // In the order in which they were asked for.
        let one = Arc::clone(&self.reloading).lock_owned().await;
        let drain = self.drain.clone();
        let reload = drain.spawn(async move {
            let _one = one;
            let outcome = tokio::select! {
                biased;
                () = self.drain.begun() => Err(stopping()),
                outcome = self.replace(dry_run) => outcome,
            };
            if !dry_run {
                log_refusal(&outcome);
            }
            outcome
        });
        reload.await.unwrap_or_else(|_cut_off| Err(stopping()))
    }

    async fn replace(&self, dry_run: bool) -> Result<Vec<String>, Vec<String>> {
        if dry_run {
            return Ok(self.prepare().await?.changes);
        }
        service_manager::reloading(false);
        let outcome = match self.prepare().await {
            Ok(next) => self.put_into_force(next).await,
            Err(problems) => Err(problems),
        };
        service_manager::reloading(true);
        outcome
    }

    /// Reads the configuration and makes everything that may turn out to be impossible.
    async fn prepare(&self) -> Result<Next, Vec<String>> {
        let (path, opened, previous) = self.with(|in_force| {
            let path = in_force.config.origin.clone();
            (path, in_force.backends.clone(), in_force.assembled.clone())
        });
        let config = blocking(move || Config::load(&path).map_err(|problems| problems.lines()));
        let config = config.await?;
        let (changes, fixed) = self.with(|in_force| {
            let before = &in_force.config;
            (
                before.differences(&config),
                before.fixed_differences(&config),
            )
        });
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
        let (clock, drain) = (Arc::clone(&self.clock), self.drain.clone());
        let issuers = blocking(move || {
            let ground = Ground {
                clock: &clock,
                drain: &drain,
                previous: Some(&previous),
            };
            Ok((assembly::issuers(&config, ground)?, config))
        });
        let (issuers, config) = issuers.await?;
        let shared = environments::shared(&config, &backends.sources()).await;
        if !shared.is_empty() {
            return Err(shared);
        }
        Ok(Next {
            config,
            backends,
            issuers,
            changes,
        })
    }

    async fn put_into_force(&self, next: Next) -> Result<Vec<String>, Vec<String>> {
        let Next {
            config,
            backends,
            issuers,
            changes,
        } = next;
        let previous = self.with(|in_force| in_force.assembled.clone());
        let ground = Ground {
            clock: &self.clock,
            drain: &self.drain,
            previous: Some(&previous),
        };
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
    done.unwrap_or_else(|_cut_off| Err(stopping()))
}

fn stopping() -> Vec<String> {
    vec![STOPPING.to_owned()]
}

fn log_refusal(outcome: &Result<Vec<String>, Vec<String>>) {
    for problem in outcome.as_ref().err().into_iter().flatten() {
        tracing::error!(target: "claviger", problem, "reload refused; the old configuration goes on");
    }
}
