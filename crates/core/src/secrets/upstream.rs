//! One backend, as the refresh schedule sees it.
//!
//! Owns the place of a fetch in the queue of its backend: fetches wait here, where the end of the daemon or of the
//! configuration still stops them. Deadlines, the second attempt, the breaker and the health of a backend belong to its guard,
//! which the source brings. Keeps no value past the call. Next: `origin`, the only caller.

use std::sync::Arc;
use std::time::Duration;

use claviger_backend::{
    BackendError, BackendName, Fetched, SecretName, SecretSource, VersionSelector,
};
use claviger_runtime::clock::Moment;
use tokio::sync::Semaphore;

use crate::secrets::Shared;

/// Fetches at once from one backend.
const TURNS: usize = 8;

/// A backend and its queue. Outlives a configuration, as the backend does: a reload must not double the fetches at once.
#[derive(Debug)]
pub(super) struct Upstream {
    name: BackendName,
    source: Arc<dyn SecretSource>,
    turns: Semaphore,
}

/// What a flight fetches from where, and how often.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) upstream: Arc<Upstream>,
    pub(super) name: SecretName,
    pub(super) version: VersionSelector,
    pub(super) refresh: Duration,
}

/// Why a fetch failed.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The backend failed, or its guard did not call it.
    Failed(BackendError),
    /// The daemon stops, or the configuration was replaced.
    Stopping,
}

impl Upstream {
    pub(super) fn new(name: BackendName, source: Arc<dyn SecretSource>) -> Self {
        Self {
            name,
            source,
            turns: Semaphore::new(TURNS),
        }
    }

    /// Whether it is the one of this name that reads from this source.
    pub(super) fn is(&self, name: &BackendName, source: &Arc<dyn SecretSource>) -> bool {
        self.name == *name && Arc::ptr_eq(&self.source, source)
    }

    /// Fetches one version, in turn. The moment is before the first attempt, so no bound that counts from it is too long.
    pub(super) async fn fetch(
        target: &Target,
        shared: &Shared,
    ) -> Result<(Fetched, Moment), Refusal> {
        let Self { source, turns, .. } = &*target.upstream;
        // The backend's own limit first: a slow one must not hold the turns of all.
        let (Ok(_turn), Ok(_shared_turn)) = (turns.acquire().await, shared.turns.acquire().await)
        else {
            return Err(Refusal::Stopping);
        };
        if shared.is_stopping() {
            return Err(Refusal::Stopping);
        }
        let sent = shared.clock.now();
        source
            .fetch(&target.name, &target.version)
            .await
            .map(|fetched| (fetched, sent))
            .map_err(Refusal::Failed)
    }
}
