//! One guard per backend.
//!
//! Owns what protects a backend from the daemon and the daemon from the backend: the limit on requests in flight, the budget
//! of requests per second, the deadlines, the second attempt of a read, the circuit breaker, and the record of its health.
//! All capabilities of a backend share one [`Guard`]. Never repeats a write and never keeps a value past the call.
//!
//! A request waits for its turn before the breaker is checked, so that a queue that formed while a backend failed does not
//! reach it. Next: `capabilities`, the traits of a backend behind a guard.

mod capabilities;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use claviger_backend::{BackendError, BackendName, Kind};
use claviger_runtime::clock::{
    Backoff, Breaker, BreakerSettings, Clock, Jitter, Moment, Pace, Roll,
};
use tokio::sync::{Semaphore, SemaphorePermit};

pub(super) use capabilities::guarded;

/// Requests in flight to one backend.
const IN_FLIGHT: usize = 8;
/// The budget: 100 requests per second, and as many at once.
const INTERVAL: Duration = Duration::from_millis(10);
const BURST: Duration = Duration::from_secs(1);
/// One attempt of a read.
const ATTEMPT: Duration = Duration::from_secs(5);
/// All attempts of a read, or the one attempt of a write.
const OPERATION: Duration = Duration::from_secs(10);
/// Before the second attempt of a read.
const PAUSE: Backoff = Backoff {
    first: Duration::from_millis(250),
    most: Duration::from_millis(250),
    jitter: Jitter { low: 20, high: 100 },
};
/// A read is not repeated if the backend asks for a longer pause.
const PAUSE_MOST: Duration = Duration::from_secs(1);
const BREAKER: BreakerSettings = BreakerSettings {
    failures: 5,
    first: Duration::from_secs(5),
    most: Duration::from_secs(150),
    probe: Duration::from_secs(15),
};

/// Guards one backend. Outlives a configuration, as the backend does: a reload resets neither the breaker nor the limits.
#[derive(Debug)]
pub(super) struct Guard {
    name: BackendName,
    clock: Arc<dyn Clock>,
    in_flight: Semaphore,
    budget: Pace,
    record: Mutex<Record>,
}

#[derive(Debug)]
struct Record {
    breaker: Breaker,
    reachable: bool,
    last_error: Option<Kind>,
    last_success: Option<Moment>,
}

/// The health of a backend, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Health {
    /// Its name in the configuration.
    pub(crate) name: BackendName,
    /// Its type, for example `file`.
    pub(crate) kind: &'static str,
    /// Whether it answered the last request; true before the first.
    pub(crate) reachable: bool,
    /// Why the last request failed, if it did.
    pub(crate) last_error: Option<Kind>,
    /// When a request last succeeded.
    pub(crate) last_success: Option<Moment>,
}

impl Guard {
    pub(super) fn new(name: BackendName, clock: Arc<dyn Clock>) -> Self {
        Self {
            name,
            clock,
            in_flight: Semaphore::new(IN_FLIGHT),
            budget: Pace::new(INTERVAL, BURST),
            record: Mutex::new(Record {
                breaker: Breaker::new(BREAKER),
                reachable: true,
                last_error: None,
                last_success: None,
            }),
        }
    }

    pub(super) fn health(&self, kind: &'static str) -> Health {
        let record = self.lock();
        Health {
            name: self.name.clone(),
            kind,
            reachable: record.reachable,
            last_error: record.last_error,
            last_success: record.last_success,
        }
    }

    /// Sends a read, and sends it once more if the failure is retryable. Safe to cancel.
    ///
    /// # Errors
    /// Those of the backend; `Timeout`; the last failure with [`BackendError::blocked`] if the breaker is open.
    async fn read<T, F>(
        &self,
        operation: &'static str,
        send: impl Fn() -> F,
    ) -> Result<T, BackendError>
    where
        F: Future<Output = Result<T, BackendError>>,
    {
        let _turn = self.admit(operation).await?;
        let outcome = tokio::time::timeout(OPERATION, self.attempts(operation, send))
            .await
            .unwrap_or_else(|_elapsed| Err(self.error(Kind::Timeout, operation)));
        self.settle(outcome.as_ref().err().map(|error| error.kind));
        outcome
    }

    /// Sends a write once.
    ///
    /// # Errors
    /// Those of the backend; `InDoubt` if it does not answer in time; the last failure with [`BackendError::blocked`] if the
    /// breaker is open: nothing was sent then.
    async fn write<T>(
        &self,
        operation: &'static str,
        write: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        let _turn = self.admit(operation).await?;
        let outcome = tokio::time::timeout(OPERATION, write)
            .await
            .unwrap_or_else(|_elapsed| Err(self.error(Kind::InDoubt, operation)));
        self.settle(outcome.as_ref().err().map(|error| error.kind));
        outcome
    }

    /// Two attempts, because one lost packet is not an outage.
    async fn attempts<T, F>(
        &self,
        operation: &'static str,
        send: impl Fn() -> F,
    ) -> Result<T, BackendError>
    where
        F: Future<Output = Result<T, BackendError>>,
    {
        let error = match self.attempt(operation, send()).await {
            Err(error) if error.kind.is_retryable() => error,
            outcome => return outcome,
        };
        let asked = if let Kind::RateLimited { retry_after } = error.kind {
            retry_after.unwrap_or(PAUSE_MOST)
        } else {
            Duration::ZERO
        };
        if asked > PAUSE_MOST {
            return Err(error);
        }
        tokio::time::sleep(PAUSE.pause(1, Roll::random()).max(asked)).await;
        self.spend().await;
        self.attempt(operation, send()).await
    }

    async fn attempt<T>(
        &self,
        operation: &'static str,
        sent: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        tokio::time::timeout(ATTEMPT, sent)
            .await
            .unwrap_or_else(|_elapsed| Err(self.error(Kind::Timeout, operation)))
    }

    /// Waits for a turn, then checks the breaker.
    async fn admit(
        &self,
        operation: &'static str,
    ) -> Result<Option<SemaphorePermit<'_>>, BackendError> {
        // Never closed, so there is a turn sooner or later.
        let turn = self.in_flight.acquire().await.ok();
        self.spend().await;
        let mut record = self.lock();
        let kind = record.last_error.unwrap_or(Kind::Unavailable);
        match record.breaker.admit(self.clock.now()) {
            Ok(()) => Ok(turn),
            Err(retry_in) => Err(self.error(kind, operation).not_sent(retry_in)),
        }
    }

    /// Takes one request from the budget. At most [`IN_FLIGHT`] wait here, so the wait is short.
    async fn spend(&self) {
        while let Err(wait) = self.budget.take(self.clock.now()) {
            tokio::time::sleep(wait).await;
        }
    }

    fn settle(&self, error: Option<Kind>) {
        let now = self.clock.now();
        let mut record = self.lock();
        record.reachable = error.is_none_or(is_an_answer);
        let answered = record.reachable;
        record.breaker.settle(now, answered);
        // Blocked reads repeat the last failure, and only a write can be in doubt.
        record.last_error = error.map(|kind| {
            if kind == Kind::InDoubt {
                Kind::Timeout
            } else {
                kind
            }
        });
        if error.is_none() {
            record.last_success = Some(now);
        }
    }

    fn error(&self, kind: Kind, operation: &'static str) -> BackendError {
        BackendError::new(kind, &self.name, operation)
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a failure is about the secret, and not about the backend or our access to it.
fn is_an_answer(kind: Kind) -> bool {
    match kind {
        Kind::NotFound
        | Kind::Gone
        | Kind::PermissionDenied
        | Kind::Misconfigured
        | Kind::Conflict
        | Kind::Quota
        | Kind::InvalidResponse
        | Kind::Undecryptable => true,
        Kind::Unauthenticated
        | Kind::NoCredentials
        | Kind::RateLimited { .. }
        | Kind::Timeout
        | Kind::Unreachable
        | Kind::Unavailable
        | Kind::InDoubt => false,
    }
}
