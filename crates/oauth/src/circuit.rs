//! The circuit breaker of one issuer.
//!
//! Owns the rule that an issuer which does not respond is probed by one request at a time, and not by every token and scope set
//! on its own schedule. Requests for metadata do not pass here: `document` spaces them. Next: `claviger_runtime::clock`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::failed::Failed;
use crate::{ErrorKind, outcome};
use claviger_core::tokens::source::Urgency;
use claviger_runtime::clock::{Breaker, BreakerSettings, Clock};

/// Consecutive requests without an answer that open it.
const FAILURES: u32 = 5;
/// How long it stays open the first time, and at most.
const FIRST: Duration = Duration::from_secs(5);
const MOST: Duration = Duration::from_mins(1);
/// Added to the time limit of a request before a probe counts as lost.
const SLACK: Duration = Duration::from_secs(5);

/// The breaker, and why it opened.
#[derive(Debug)]
pub(crate) struct Circuit {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct State {
    breaker: Breaker,
    last: ErrorKind,
}

/// The permission to send one request. Dropped without [`Admission::settle`], it counts as not sent.
#[derive(Debug)]
pub(crate) struct Admission<'a> {
    circuit: &'a Circuit,
    settled: bool,
}

impl Circuit {
    /// A closed circuit of an issuer whose requests end within `timeout`.
    pub(crate) fn new(timeout: Duration, clock: Arc<dyn Clock>) -> Self {
        Self {
            state: Mutex::new(State {
                breaker: Breaker::new(BreakerSettings {
                    failures: FAILURES,
                    first: FIRST,
                    most: MOST,
                    probe: timeout.saturating_add(SLACK),
                }),
                last: ErrorKind::Timeout,
            }),
            clock,
        }
    }

    /// Admits a request. An operator's is always admitted.
    ///
    /// # Errors
    /// The failure that opened the breaker, with the time until a request may be admitted.
    pub(crate) fn admit(&self, urgency: Urgency) -> Result<Admission<'_>, Failed> {
        let mut state = self.state();
        if let Err(wait) = state.breaker.admit(self.clock.now())
            && urgency != Urgency::Ordered
        {
            return Err(Failed {
                rejected: Some(wait),
                ..state.last.into()
            });
        }
        Ok(Admission {
            circuit: self,
            settled: false,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission<'_> {
    /// Records the outcome of the request: the failure, if it failed.
    pub(crate) fn settle(mut self, failure: Option<ErrorKind>) {
        self.settled = true;
        let mut state = self.circuit.state();
        let silent = failure.filter(|kind| !has_answered(*kind));
        if let Some(kind) = silent {
            state.last = kind;
        }
        let now = self.circuit.clock.now();
        state.breaker.settle(now, silent.is_none());
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        if !self.settled {
            let now = self.circuit.clock.now();
            self.circuit.state().breaker.withdraw(now);
        }
    }
}

/// Whether a failure shows that the issuer itself responds: it refused, or answered something else than a token.
fn has_answered(kind: ErrorKind) -> bool {
    !outcome::is_silent(kind) && !matches!(kind, ErrorKind::Unavailable { .. })
}
