//! The request path. Read this first.
//!
//! Owns the order in which a request is decided: policy permits it, the cache or the issuer answers it, the peer is confirmed
//! to be who it was, and the outcome is recorded. Each stage is one call, and none can be skipped: the caches take a
//! [`Permit`](crate::policy::Permit), which `policy` alone makes, and only a [`Session`] of an identified peer can ask for one.
//!
//! Holds no lock across I/O and keeps no credential itself. What is in force (rules, tokens, secrets) is one [`World`] that a
//! reload replaces as a whole; a session computes its rights once, and again after a reload. Whatever waits (a request for its
//! token, a watch for the next one) is judged by what is in force when it is answered. Wire types stay in `server`.
//! Next: `policy` (who may), then `tokens` (from where).

mod admin;
mod budget;
mod caller;
mod error;
mod follow;
mod session;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use admin::{Explained, Refreshed, Unknown};
pub use budget::{BudgetSettings, Budgets};
pub use caller::Caller;
pub use error::Error;
pub use follow::Following;
pub use session::Session;

use crate::broker::session::View;
use crate::policy::{Action, Policy};
use crate::secrets::{self, Reading, Secrets};
use crate::tokens::{self, Answer, Report, Revoked, Tokens, Want};
use claviger_oauth_wire::Scopes;
use claviger_runtime::clock::Clock;

/// What is in force: rules, tokens and secrets that belong together. Replaced as a whole.
#[derive(Clone, Debug)]
pub struct World {
    /// Which one it is: each world of a daemon has a number of its own.
    pub generation: u64,
    /// The rules.
    pub policy: Policy,
    /// The token cache.
    pub tokens: Arc<Tokens>,
    /// The live secrets.
    pub secrets: Arc<Secrets>,
}

impl World {
    /// Whether everything that is configured can be served now. Computed from what is known; contacts nothing.
    pub fn is_ready(&self) -> bool {
        self.secrets.is_ready() && self.tokens.is_ready()
    }
}

/// Where the broker finds the world in force. The daemon keeps it together with everything else that a reload replaces, so
/// that all of it is replaced by one pointer.
pub trait CurrentWorld: Debug + Send + Sync {
    /// The world in force. Cheap, and never waits.
    fn world(&self) -> Arc<World>;
}

/// A wish for a token.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// The token's name.
    pub name: String,
    /// The scopes; empty for all that the rule allows.
    pub scopes: Scopes,
    /// How long it must live at least, whether it must be new, and how long the caller waits.
    pub want: Want,
}

/// Counts of outcomes since the start.
#[derive(Debug, Default)]
pub struct Metrics {
    answered: AtomicU64,
    denied: AtomicU64,
    failed: AtomicU64,
}

impl Metrics {
    /// Requests answered with success, refused by policy, and failed otherwise.
    pub fn read(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.answered), read(&self.denied), read(&self.failed))
    }
}

/// Decides requests.
#[derive(Debug)]
pub struct Broker {
    current: Arc<dyn CurrentWorld>,
    budgets: Budgets,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl Broker {
    /// A broker that decides by the world that `current` gives at the time, and limits each peer by `budget`.
    pub fn new(
        current: Arc<dyn CurrentWorld>,
        budget: BudgetSettings,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            current,
            budgets: Budgets::new(budget),
            clock,
            metrics: Metrics::default(),
        }
    }

    /// What is in force.
    pub fn world(&self) -> Arc<World> {
        self.current.world()
    }

    /// Whether the world with this number is the one in force.
    fn is_in_force(&self, generation: u64) -> bool {
        self.world().generation == generation
    }

    /// Whether everything that is configured can be served now. Computed from what is known; asks nobody.
    pub fn ready(&self) -> bool {
        self.world().is_ready()
    }

    /// Counts of outcomes.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Hands out a token.
    ///
    /// # Errors
    /// If policy denies it, the peer is over its budget or no longer who it was, or no token can be had in time.
    pub async fn token(&self, session: &Session, request: &TokenRequest) -> Result<Answer, Error> {
        let outcome = self.decide_token(session, request).await;
        self.record(session, Action::Token, &request.name, outcome)
    }

    async fn decide_token(
        &self,
        session: &Session,
        request: &TokenRequest,
    ) -> Result<Answer, Error> {
        let view = session.view(self);
        let permit = view
            .rights
            .permit(Action::Token, &request.name, &request.scopes)?;
        let cached = match request.want {
            Want {
                min_remaining: Duration::ZERO,
                force_refresh: false,
                ..
            } => view.world.tokens.cached(&permit),
            Want { .. } => None,
        };
        if let Some(answer) = cached {
            session.confirm()?;
            return Ok(answer);
        }
        self.obtain_token(session, request, view).await
    }

    /// Waits for a token. What counts is what is permitted when it is released: whoever waited while another world came into
    /// force is judged again by that one, which has the tokens and flights of the former as far as they are the same.
    async fn obtain_token(
        &self,
        session: &Session,
        request: &TokenRequest,
        mut view: View,
    ) -> Result<Answer, Error> {
        // Starting a request to the issuer costs; joining one that is under way does not.
        let pay = |now| session.spend(now);
        let called = self.clock.now();
        let mut want = request.want;
        loop {
            let permit = view
                .rights
                .permit(Action::Token, &request.name, &request.scopes)?;
            let outcome = view.world.tokens.get(&permit, &want, &pay).await;
            if self.is_in_force(view.world.generation) {
                let answer = outcome?;
                session.confirm()?;
                return Ok(answer);
            }
            view = session.view(self);
            let waited = self.clock.now().since(called);
            want = Want {
                force_refresh: want.force_refresh && outcome.is_err(),
                deadline: request.want.deadline.saturating_sub(waited),
                ..want
            };
        }
    }

    /// Follows a token: yields the current one, then each newer one.
    ///
    /// # Errors
    /// If policy denies it, or the peer is over its budget and the issuer would have to be asked.
    pub fn watch_token(
        self: &Arc<Self>,
        session: &Arc<Session>,
        name: &str,
        scopes: &Scopes,
    ) -> Result<Following<tokens::Watch>, Error> {
        let view = session.view(self);
        let pay = |now| session.spend(now);
        let watch = view
            .rights
            .permit(Action::Token, name, scopes)
            .map_err(Error::from)
            .and_then(|permit| Ok(view.world.tokens.watch(&permit, &pay)?));
        let watch = self.record(session, Action::Token, name, watch)?;
        let what = (Action::Token, name);
        Ok(Following::new((self, session), &view, what, watch))
    }

    /// Takes note that a resource server refused a token.
    ///
    /// # Errors
    /// If policy denies it: only who may have a token may report it.
    pub fn report_rejected(
        &self,
        session: &Session,
        name: &str,
        scopes: &Scopes,
        fingerprint: &str,
    ) -> Result<Report, Error> {
        let view = session.view(self);
        let outcome = view
            .rights
            .permit(Action::Token, name, scopes)
            .map(|permit| view.world.tokens.report(&permit, fingerprint))
            .map_err(Error::from)
            .and_then(|report| session.confirm().map(|()| report));
        self.record(session, Action::Token, name, outcome)
    }

    /// Forgets a token and has the issuer revoke it.
    ///
    /// # Errors
    /// If policy denies it, or the peer is no longer who it was.
    pub async fn revoke_token(
        &self,
        session: &Session,
        name: &str,
        scopes: &Scopes,
    ) -> Result<Revoked, Error> {
        let outcome = self.decide_revoke(session, name, scopes).await;
        self.record(session, Action::Revoke, name, outcome)
    }

    async fn decide_revoke(
        &self,
        session: &Session,
        name: &str,
        scopes: &Scopes,
    ) -> Result<Revoked, Error> {
        let view = session.view(self);
        let permit = view.rights.permit(Action::Revoke, name, scopes)?;
        session.confirm()?;
        let spent = session.spend(self.clock.now());
        spent.map_err(|retry_in| Error::Limited { retry_in })?;
        Ok(view.world.tokens.revoke(&permit).await)
    }

    /// Hands out a secret's value.
    ///
    /// # Errors
    /// If policy denies it, none is held within its bounds, or the peer is no longer who it was.
    pub fn secret(&self, session: &Session, name: &str) -> Result<Reading, Error> {
        let outcome = self.decide_secret(session, name);
        self.record(session, Action::Secret, name, outcome)
    }

    fn decide_secret(&self, session: &Session, name: &str) -> Result<Reading, Error> {
        let view = session.view(self);
        let permit = view.rights.permit(Action::Secret, name, &Scopes::none())?;
        let reading = view.world.secrets.read(&permit, self.clock.now())?;
        session.confirm()?;
        Ok(reading)
    }

    /// Follows a secret: yields the current version, then each newer one.
    ///
    /// # Errors
    /// If policy denies it.
    pub fn watch_secret(
        self: &Arc<Self>,
        session: &Arc<Session>,
        name: &str,
    ) -> Result<Following<secrets::Watcher>, Error> {
        let view = session.view(self);
        let watch = view
            .rights
            .permit(Action::Secret, name, &Scopes::none())
            .map_err(Error::from)
            .and_then(|permit| Ok(view.world.secrets.watch(&permit)?));
        let watch = self.record(session, Action::Secret, name, watch)?;
        let what = (Action::Secret, name);
        Ok(Following::new((self, session), &view, what, watch))
    }

    /// Leaves one trace of each decision. Refusals by policy spend the peer's budget, so that a peer that keeps trying is told
    /// to wait; and whatever a peer does, it can write only so many records.
    fn record<T>(
        &self,
        session: &Session,
        action: Action,
        name: &str,
        outcome: Result<T, Error>,
    ) -> Result<T, Error> {
        let error = match outcome {
            Ok(answer) => {
                self.metrics.answered.fetch_add(1, Ordering::Relaxed);
                return Ok(answer);
            }
            Err(error) => error,
        };
        let now = self.clock.now();
        let counter = if error.is_denial() {
            &self.metrics.denied
        } else {
            &self.metrics.failed
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let over = error
            .is_denial()
            .then(|| session.spend(now).err())
            .flatten();
        let error = over.map_or(error, |retry_in| Error::Limited { retry_in });
        if let Some(suppressed) = session.may_record(now) {
            write(session, action, name, &error, suppressed);
        }
        Err(error)
    }
}

fn write(session: &Session, action: Action, name: &str, error: &Error, suppressed: u64) {
    let facts = session.facts();
    // The name comes from the peer: it is printed quoted and cut, so that it cannot forge a record.
    let name: String = name.chars().take(64).collect();
    let unit = facts
        .cgroup
        .as_ref()
        .and_then(|cgroup| cgroup.unit.as_deref());
    if matches!(error, Error::Limited { .. }) {
        tracing::warn!(
            target: "claviger::decision",
            action = action.as_str(), name = ?name, suppressed,
            peer.uid = facts.uid, peer.pid = facts.pid, peer.unit = unit,
            "Rate limit exceeded",
        );
    } else {
        tracing::info!(
            target: "claviger::decision",
            action = action.as_str(), name = ?name, outcome = error.reason(), detail = %error, suppressed,
            peer.uid = facts.uid, peer.pid = facts.pid, peer.unit = unit,
            "request refused",
        );
    }
}
