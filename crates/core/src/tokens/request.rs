//! Requests to the issuer.
//!
//! Owns the single flight of an entry: at most one request, in a task of its own that the drain waits for and that no caller
//! can cancel. Next: `land`, what the answer does to the entry.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::tokens::entry::{Core, Entry};
use crate::tokens::flight::Flight;
use crate::tokens::source::{self, Urgency, Verdict};
use crate::tokens::state::State;
use crate::tokens::supply::Supply;
use crate::tokens::{Error, Shared};
use claviger_runtime::clock::sleep_until;
use claviger_runtime::flight;
use claviger_runtime::reason::Detail;

/// The source's own limits end a request before this. It keeps a defect there from blocking an entry for ever.
const LIMIT: Duration = Duration::from_mins(1);

/// Who wants a newer token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// The callers who use it, or the background on their behalf.
    Use,
    /// An operator.
    Operator,
}

/// Joins the request under way, or starts one.
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
    // An issuer whose tokens are expired when they arrive is not asked in a loop: the task waits before it sends.
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
    let urgency = match asker {
        Asker::Operator => Urgency::Ordered,
        Asker::Use => match entry.serving(now) {
            Some(held) if !held.refresh_at.passed(now) => Urgency::Early,
            Some(_) | None => Urgency::Needed,
        },
    };
    let (landing, outcome) = flight::Flight::begin();
    let flight = Flight {
        started: now,
        outcome,
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
        entry.requests.fetch_add(1, Ordering::Relaxed);
        let source = &supply.definition.source;
        let credential = source.credential().number;
        let answer = tokio::time::timeout(LIMIT, source.obtain(&entry.ask, urgency))
            .await
            .unwrap_or_else(|_elapsed| {
                Err(source::Error {
                    kind: source::ErrorKind::Timeout,
                    issuer: Arc::clone(&supply.definition.issuer),
                    verdict: Verdict::Transient { retry_after: None },
                    credential,
                    detail: Detail::default(),
                })
            });
        landing.land(entry.land(&shared, &supply, answer));
        shared.wake.notify_one();
    }));
    Ok(flight)
}
