//! A request to the issuer, shared by all who need its answer.
//!
//! Owns the single flight: at most one per entry, a task of its own that the drain waits for and that no caller can cancel.
//! Failures are shared as tokens are. Next: `land`, what the answer does to the entry.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;

use crate::tokens::entry::{Core, Entry};
use crate::tokens::held::Held;
use crate::tokens::source;
use crate::tokens::state::State;
use crate::tokens::supply::Supply;
use crate::tokens::{Error, Shared};
use claviger_runtime::clock::{Deadline, Moment, sleep_until};

/// The engine's own limits end a request before this. It keeps a mistake there from blocking an entry for ever.
const LIMIT: Duration = Duration::from_mins(1);
/// What a caller is told to wait whose time is up.
pub(super) const PENDING: Duration = Duration::from_secs(1);

/// Why a flight brought nothing.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) error: source::Error,
    pub(super) retry_at: Deadline,
}

/// What a flight brought. `None` inside the channel: still under way.
pub(super) type Outcome = Option<Result<Arc<Held>, Failure>>;

/// Who wants a newer token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// Those who use it, or the background on their behalf.
    Use,
    /// An operator, who need not spare the limit for anybody.
    Operator,
}

/// A request under way.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    /// When it took off.
    pub(super) started: Moment,
    done: watch::Receiver<Outcome>,
}

impl Flight {
    /// Whether an answer will come of it. A task that was cut off leaves a channel without one.
    pub(super) fn is_under_way(&self) -> bool {
        self.done.has_changed().is_ok()
    }

    /// Waits for its end, at most `limit`. `None`: it goes on.
    pub(super) async fn landed(
        &mut self,
        limit: Duration,
        shared: &Shared,
    ) -> Option<Result<Arc<Held>, Error>> {
        let outcome = tokio::time::timeout(limit, self.done.wait_for(Option::is_some)).await;
        let outcome = match outcome {
            Err(_elapsed) => return None,
            Ok(Ok(outcome)) => outcome.clone(),
            Ok(Err(_cut_off)) => None,
        };
        Some(match outcome {
            Some(Ok(held)) => Ok(held),
            Some(Err(failure)) => Err(Error::Issuer {
                retry_in: Some(failure.retry_at.left(shared.clock.now())),
                error: failure.error,
            }),
            None => Err(Error::Stopping),
        })
    }
}

/// Joins the flight under way, or starts one.
///
/// # Errors
/// [`Error::Stopping`] once the drain has begun.
pub(super) fn join(
    shared: &Arc<Shared>,
    supply: &Arc<Supply>,
    entry: &Arc<Entry>,
    core: &mut Core,
    asker: Asker,
) -> Result<Flight, Error> {
    if let Some(flight) = &core.flight
        && flight.is_under_way()
    {
        return Ok(flight.clone());
    }
    if shared.drain.has_begun() {
        return Err(Error::Stopping);
    }
    // An issuer whose tokens live for no time is not asked in a loop: the flight waits before it sends.
    let not_before = match core.state {
        State::Spent { again_at } => Some(again_at),
        State::Empty
        | State::Fresh { .. }
        | State::Due { .. }
        | State::Stale { .. }
        | State::Failed { .. }
        | State::Refused { .. } => None,
    };
    let now = shared.clock.now();
    let fresh = |held: Arc<Held>| !held.refresh_at.passed(now);
    let early = asker == Asker::Use && entry.serving(now).is_some_and(fresh);
    let (done, receiver) = watch::channel(None);
    let flight = Flight {
        started: now,
        done: receiver,
    };
    core.flight = Some(flight.clone());
    let (shared, supply, entry) = (Arc::clone(shared), Arc::clone(supply), Arc::clone(entry));
    let drain = shared.drain.clone();
    drop(drain.spawn(async move {
        if let Some(not_before) = not_before {
            tokio::select! {
                () = sleep_until(&*shared.clock, not_before) => {}
                () = shared.drain.begun() => return,
            }
        }
        let credential = supply.definition.source.credential();
        entry.requests.fetch_add(1, Ordering::Relaxed);
        let source = &supply.definition.source;
        let request = if early {
            source.obtain_early(&entry.scopes)
        } else {
            source.obtain(&entry.scopes)
        };
        let answer = tokio::time::timeout(LIMIT, request)
            .await
            .unwrap_or_else(|_elapsed| {
                Err(source::Error {
                    kind: source::ErrorKind::Timeout,
                    issuer: Arc::clone(&supply.definition.issuer),
                    body_bytes: None,
                })
            });
        let outcome = entry.land(&shared, &supply, credential, answer);
        done.send_replace(Some(outcome));
        shared.wake.notify_one();
    }));
    Ok(flight)
}
