//! One backend, as the refresh schedule sees it.
//!
//! Owns what protects a backend from us and us from it: the limit on requests at once, the time limits, the second attempt
//! of a read, and the circuit breaker. Keeps no value past the call. Waiting for a turn happens here, before the breaker is
//! asked, so that a queue that formed while a backend died does not reach it. Next: `origin`, the only caller.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use claviger_backend::{
    BackendError, BackendName, Fetched, Kind, SecretName, SecretSource, VersionSelector,
};
use tokio::sync::Semaphore;

use crate::secrets::Shared;
use crate::secrets::schedule::OPERATION;
use claviger_runtime::clock::{Breaker, BreakerSettings, Moment, Roll};

/// Requests at once to one backend.
const TURNS: usize = 8;
/// One attempt.
const ATTEMPT: Duration = Duration::from_secs(5);
/// The second attempt comes after 50 to 250 ms, or after what the backend asked for if that is short.
const PAUSE_LEAST: Duration = Duration::from_millis(50);
const PAUSE_SPREAD: Duration = Duration::from_millis(200);
const PAUSE_MOST: Duration = Duration::from_secs(1);

const BREAKER: BreakerSettings = BreakerSettings {
    failures: 5,
    first: Duration::from_secs(5),
    most: Duration::from_secs(150),
    probe: Duration::from_secs(15),
};

/// A backend and its health. Outlives a configuration, as the backend does: a reload is no reason to take one that is down for
/// well, or to ask one twice as much at once.
#[derive(Debug)]
pub(super) struct Upstream {
    name: BackendName,
    pub(super) source: Arc<dyn SecretSource>,
    turns: Semaphore,
    health: Mutex<Health>,
}

#[derive(Debug)]
struct Health {
    breaker: Breaker,
    answered: bool,
    last_error: Option<Kind>,
    last_success: Option<Moment>,
}

/// How a backend does, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendHealth {
    /// Its name in the configuration.
    pub name: BackendName,
    /// Whether the last call was answered; true before the first call.
    pub reachable: bool,
    /// Why the last call failed, if it did.
    pub last_error: Option<Kind>,
    /// When a call last succeeded.
    pub last_success: Option<Moment>,
}

/// Why a fetch brought nothing.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The backend was asked.
    Failed(BackendError),
    /// The backend was not asked, because it fails all the time.
    Blocked {
        /// How it failed last.
        kind: Kind,
        /// When it may be asked again.
        retry_in: Duration,
    },
    /// The daemon stops, or the configuration was replaced.
    Stopping,
}

impl Upstream {
    pub(super) fn new(name: BackendName, source: Arc<dyn SecretSource>) -> Self {
        Self {
            name,
            source,
            turns: Semaphore::new(TURNS),
            health: Mutex::new(Health {
                breaker: Breaker::new(BREAKER),
                answered: true,
                last_error: None,
                last_success: None,
            }),
        }
    }

    /// Whether it is the one of this name that reads from this source.
    pub(super) fn is(&self, name: &BackendName, source: &Arc<dyn SecretSource>) -> bool {
        self.name == *name && Arc::ptr_eq(&self.source, source)
    }

    pub(super) fn health(&self) -> BackendHealth {
        let health = self.lock();
        BackendHealth {
            name: self.name.clone(),
            reachable: health.answered,
            last_error: health.last_error,
            last_success: health.last_success,
        }
    }

    /// Fetches one version, in turn, and says when the request that succeeded was sent.
    pub(super) async fn fetch(
        &self,
        shared: &Shared,
        name: &SecretName,
        version: &VersionSelector,
    ) -> Result<(Fetched, Moment), Refusal> {
        // The backend's own limit first: a slow one must not hold the turns of all.
        let (Ok(_turn), Ok(_shared_turn)) =
            (self.turns.acquire().await, shared.turns.acquire().await)
        else {
            return Err(Refusal::Stopping);
        };
        if shared.is_stopping() {
            return Err(Refusal::Stopping);
        }
        self.admit(shared.clock.now())?;
        let operation = tokio::time::timeout(OPERATION, self.read(shared, name, version)).await;
        let outcome = operation.unwrap_or_else(|_elapsed| Err(self.timeout()));
        self.settle(
            shared.clock.now(),
            outcome.as_ref().err().map(|error| error.kind),
        );
        outcome.map_err(Refusal::Failed)
    }

    /// Two attempts, because one lost packet is not an outage.
    async fn read(
        &self,
        shared: &Shared,
        name: &SecretName,
        version: &VersionSelector,
    ) -> Result<(Fetched, Moment), BackendError> {
        let error = match self.attempt(shared, name, version).await {
            Err(error) if error.kind.is_retryable() => error,
            outcome => return outcome,
        };
        let pause = PAUSE_LEAST.saturating_add(Roll::random().part(PAUSE_SPREAD));
        let asked = if let Kind::RateLimited { retry_after } = error.kind {
            retry_after.unwrap_or(PAUSE_MOST)
        } else {
            Duration::ZERO
        };
        if asked > PAUSE_MOST {
            return Err(error);
        }
        tokio::time::sleep(pause.max(asked)).await;
        self.attempt(shared, name, version).await
    }

    async fn attempt(
        &self,
        shared: &Shared,
        name: &SecretName,
        version: &VersionSelector,
    ) -> Result<(Fetched, Moment), BackendError> {
        let sent = shared.clock.now();
        tokio::time::timeout(ATTEMPT, self.source.fetch(name, version))
            .await
            .unwrap_or_else(|_elapsed| Err(self.timeout()))
            .map(|fetched| (fetched, sent))
    }

    fn timeout(&self) -> BackendError {
        BackendError::new(Kind::Timeout, &self.name, "fetch")
    }

    fn admit(&self, now: Moment) -> Result<(), Refusal> {
        let mut health = self.lock();
        let kind = health.last_error.unwrap_or(Kind::Unavailable);
        health
            .breaker
            .admit(now)
            .map_err(|retry_in| Refusal::Blocked { kind, retry_in })
    }

    fn settle(&self, now: Moment, error: Option<Kind>) {
        let mut health = self.lock();
        health.answered = error.is_none_or(is_an_answer);
        let answered = health.answered;
        health.breaker.settle(now, answered);
        health.last_error = error;
        if error.is_none() {
            health.last_success = Some(now);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
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
        | Kind::Undecryptable
        | Kind::InDoubt => true,
        Kind::Unauthenticated
        | Kind::NoCredentials
        | Kind::RateLimited { .. }
        | Kind::Timeout
        | Kind::Unreachable
        | Kind::Unavailable => false,
    }
}
