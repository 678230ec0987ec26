//! The request path. Read this first.
//!
//! Owns the one order in which every request is decided (`Broker::release`): policy permits it, the caches act, the kernel
//! confirms that the peer is the process that connected, and `audit` records the outcome. No stage can be skipped: each
//! cache takes the permit of its own type, which `policy` alone makes; only a [`Session`] of an identified peer can ask for
//! one; and the encoders in `server` accept only what `audit` released. Programs' requests, messages of watches and
//! operators' requests all take this path.
//!
//! Holds no lock across I/O and keeps no credential itself. What is in force (rules, tokens, secrets) is one [`World`] that a
//! reload replaces as a whole; a session computes its rights once, and again after a reload. A request that waits is judged
//! by what is in force when it is answered. Wire types stay in `server`. Next: `policy` (who may), then `tokens` (from where).

mod ask;
mod budget;
mod caller;
mod error;
mod follow;
mod operators;
mod rejection;
mod secret;
mod session;
#[cfg(test)]
mod tests;
mod token;

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use budget::BudgetSettings;
pub use caller::Caller;
pub use error::Error;
pub use follow::Following;
pub use operators::{Explained, NotRefreshed, Question, Refreshed, Unknown};
pub use rejection::Rejection;
pub use session::Session;
pub use token::TokenRequest;

use crate::audit::{Audit, Counts, Entry, Refusal, Released};
use crate::broker::ask::{Ask, Subject};
use crate::broker::budget::Budgets;
use crate::policy::Policy;
use crate::secrets::Secrets;
use crate::tokens::{Contact, Tokens};
use claviger_runtime::clock::{Clock, Moment};
use claviger_runtime::reason::Reasoned as _;

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

    fn verdict(&self) -> Verdict {
        Verdict {
            ready: self.is_ready(),
            contact: self.tokens.contact(),
        }
    }
}

/// Where the broker finds the world in force. The daemon keeps it together with everything else that a reload replaces, so
/// that all of it is replaced by one pointer.
pub trait CurrentWorld: Debug + Send + Sync {
    /// The world in force. Cheap, and never waits.
    fn world(&self) -> Arc<World>;
}

/// Decides requests.
#[derive(Debug)]
pub struct Broker {
    current: Arc<dyn CurrentWorld>,
    budgets: Budgets,
    clock: Arc<dyn Clock>,
    /// Beside the world: records and counts outlive a reload.
    audit: Audit,
    recent: Mutex<Option<Recent>>,
}

/// How the daemon does, for health checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether everything that is configured can be served.
    pub ready: bool,
    /// What the requests so far say about the issuers.
    pub contact: Contact,
}

/// The last verdict that peers were given, and on which world.
#[derive(Clone, Copy, Debug)]
struct Recent {
    generation: u64,
    at: Moment,
    verdict: Verdict,
}

/// How long a verdict is repeated to peers, any number of which may ask.
const RECENT: Duration = Duration::from_secs(1);

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
            audit: Audit::new(Arc::clone(&clock)),
            recent: Mutex::default(),
            clock,
        }
    }

    /// What is in force.
    fn world(&self) -> Arc<World> {
        self.current.world()
    }

    /// Whether the world with this number is the one in force.
    fn is_in_force(&self, generation: u64) -> bool {
        self.world().generation == generation
    }

    /// How the daemon does. Computed from memory, by looking at each token and secret; sends nothing.
    pub fn verdict(&self) -> Verdict {
        self.world().verdict()
    }

    /// How the daemon did at most a second ago. Computed once in that time, and after a reload, however many peers ask.
    pub fn recent_verdict(&self) -> Verdict {
        let (world, now) = (self.world(), self.clock.now());
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let known = recent
            .filter(|known| known.generation == world.generation && now.since(known.at) < RECENT);
        let verdict = known.map_or_else(|| world.verdict(), |known| known.verdict);
        if known.is_none() {
            *recent = Some(Recent {
                generation: world.generation,
                at: now,
                verdict,
            });
        }
        verdict
    }

    /// Counts of decisions since the start, for each operation.
    pub fn counts(&self) -> Vec<Counts> {
        self.audit.metrics().read()
    }

    /// The one way of an answer out of the daemon: policy permits the request, `ask` makes the answer, the peer is confirmed,
    /// the outcome is recorded.
    ///
    /// # Errors
    /// If policy denies it, the peer is not the process that connected, or there is no answer.
    async fn release<A: Ask>(
        &self,
        session: &Session,
        ask: &mut A,
    ) -> Result<Released<A::Answer>, Error> {
        let mut rule = None;
        let outcome = self.decide(session, ask, &mut rule).await;
        let Subject { operation, name } = ask.subject();
        let entry = Entry {
            operation,
            name,
            peer: session.facts(),
            rule,
        };
        match outcome {
            Ok(answer) => {
                let generation = A::generation(&answer);
                Ok(self
                    .audit
                    .release(session.recorder(), &entry, generation, answer))
            }
            Err(error) => Err(self.refuse(session, &entry, error)),
        }
    }

    /// Judges a request by the world in force when it is answered: if a reload replaced it meanwhile, the answer is made again
    /// with what is permitted now. A change is judged once, before it is made, because it cannot be undone; the peer is then
    /// confirmed first as well, so that a connection that was passed on changes nothing.
    async fn decide<A: Ask>(
        &self,
        session: &Session,
        ask: &mut A,
        rule: &mut Option<u32>,
    ) -> Result<A::Answer, Error> {
        let changes = ask.subject().operation.changes();
        loop {
            let view = session.view(self);
            *rule = None;
            let permitted = ask.permit(&view)?;
            *rule = permitted.rule;
            if changes {
                session.confirm()?;
            }
            let outcome = ask.act(&view.world, &permitted.permit).await;
            if changes || self.is_in_force(view.world.generation) {
                let answer = outcome?;
                session.confirm()?;
                return Ok(answer);
            }
        }
    }

    /// Records a refusal. Denials spend the peer's budget, so that a peer that keeps trying has to wait.
    fn refuse(&self, session: &Session, entry: &Entry<'_>, error: Error) -> Error {
        let denied = error.is_denial();
        let over_budget = denied
            .then(|| session.spend(self.clock.now()).err())
            .flatten();
        let error = over_budget.map_or(error, |retry_in| Error::Limited { retry_in });
        let refusal = Refusal {
            denied,
            limited: matches!(error, Error::Limited { .. }),
            // Operators need no rule.
            stranger: !entry.operation.is_operators() && !session.is_selected(self),
            reason: error.reason(),
            detail: &error,
        };
        self.audit.refuse(session.recorder(), entry, &refusal);
        error
    }
}
