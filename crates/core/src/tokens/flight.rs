//! A request to the issuer, shared by all callers who need its answer.
//!
//! Owns [`Flight`], the waiting side of one request, and [`Failure`], what a failed one leaves. Failures are shared as tokens
//! are. Next: `request`, which starts it.

use std::sync::Arc;
use std::time::Duration;

use crate::tokens::Error;
use crate::tokens::held::Held;
use crate::tokens::source;
use claviger_runtime::clock::{Clock, Deadline, Moment};
use claviger_runtime::flight;

/// How long a caller should wait before it asks again when its own time is up and the request goes on.
pub(super) const PENDING: Duration = Duration::from_secs(1);

/// Why a request brought no token.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) error: Box<source::Error>,
    pub(super) retry_at: Deadline,
}

/// What a request brought.
pub(super) type Outcome = Result<Arc<Held>, Failure>;

/// A request under way.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    /// When it was started.
    pub(super) started: Moment,
    pub(super) outcome: flight::Flight<Outcome>,
}

impl Flight {
    /// Whether an answer will come.
    pub(super) fn is_under_way(&self) -> bool {
        self.outcome.is_under_way()
    }

    /// Waits for its end, at most `limit`. `None`: it goes on.
    pub(super) async fn landed(
        &self,
        limit: Duration,
        clock: &dyn Clock,
    ) -> Option<Result<Arc<Held>, Error>> {
        let outcome = self.outcome.clone().outcome();
        Some(match tokio::time::timeout(limit, outcome).await.ok()? {
            Some(Ok(held)) => Ok(held),
            Some(Err(failure)) => Err(Error::Issuer {
                retry_in: Some(failure.retry_at.left(clock.now())),
                error: *failure.error,
            }),
            None => Err(Error::Stopping),
        })
    }
}
