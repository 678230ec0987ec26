//! One version of one secret in one backend: what a single request reads.
//!
//! Owns the one flight that may be under way for it, the schedule of the next, and the slots of all the fields that the
//! configuration names of it. A flight is a task of its own, which no waiting caller can cancel. The lock is never held
//! across a wait. Decides by the class of a failure: an authoritative answer evicts at once, any other failure keeps the
//! cached value until its stale bound, which only a confirmation extends. Next: `settle`, what an answer does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use claviger_backend::{Kind, SecretRef, VersionId};
use tokio::sync::watch;

use crate::secrets::Shared;
use crate::secrets::live::{Link, Pace, Slot};
use crate::secrets::upstream::{Target, Upstream};
use claviger_runtime::clock::{Deadline, Moment};
use claviger_runtime::flight::Flight;

/// The shortest time between two fetches ahead of the schedule, for all handles together.
const REREAD_LEAST: Duration = Duration::from_secs(10);

/// Why a fetch failed, for the callers that wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    pub(super) retry_in: Duration,
}

/// The outcome of a fetch for each field: whether its version changed.
pub(super) type Outcome = Arc<[Result<bool, Failure>]>;

/// One version of one secret, and the fields of it that the configuration refers to.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) target: Target,
    pub(super) fields: Vec<Field>,
    progress: Mutex<Progress>,
}

/// A reference of the configuration.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) reference: Arc<SecretRef>,
    /// The names under which peers may request it.
    pub(super) names: Vec<Arc<str>>,
    pub(super) max_stale: Duration,
    /// Shared with the [`Live`](crate::secrets::Live) handles, and with the same field of the next configuration.
    pub(super) slot: Arc<watch::Sender<Slot>>,
    /// Shared likewise; points to this origin.
    pub(super) link: Arc<Link>,
}

/// The state that changes over time.
#[derive(Debug)]
pub(super) struct Progress {
    /// When to fetch next.
    pub(super) next: Deadline,
    /// When a handle may fetch ahead of the schedule again.
    pub(super) reread_after: Option<Deadline>,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Whether a first fetch has ended, successfully or not.
    pub(super) asked: bool,
    /// Whether the backend has confirmed a value since the start.
    pub(super) confirmed_once: bool,
    /// The largest numeric version seen. A smaller one is an old copy, and is refused.
    pub(super) newest: Option<u64>,
    /// Whether an operator allows the flight under way to bring a smaller one.
    pub(super) accept_older: bool,
    /// The flight under way.
    pub(super) flight: Option<Flight<Outcome>>,
    /// Field by field, in the order of `Origin::fields`.
    pub(super) fields: Vec<FieldProgress>,
}

/// What changes of one field.
#[derive(Clone, Debug, Default)]
pub(super) struct FieldProgress {
    pub(super) last_error: Option<Kind>,
    /// The last cached version, also after it is evicted. Cleared if the secret is deleted: a secret of that name that is
    /// created later is another one, and may reuse version numbers.
    pub(super) last: Option<VersionId>,
    /// Its generation; 0 before the first.
    pub(super) generation: u64,
    /// Whether the newline that was cut off has been reported.
    pub(super) trim_reported: bool,
    /// Whether the value was evicted at its stale bound, and not by an answer.
    pub(super) expired: bool,
}

impl Progress {
    pub(super) fn new(next: Deadline, fields: usize) -> Self {
        Self {
            next,
            reread_after: None,
            failures: 0,
            asked: false,
            confirmed_once: false,
            newest: None,
            accept_older: false,
            flight: None,
            fields: vec![FieldProgress::default(); fields],
        }
    }

    /// The fetch under way.
    fn under_way(&self) -> Option<&Flight<Outcome>> {
        self.flight.as_ref().filter(|flight| flight.is_under_way())
    }
}

impl Origin {
    pub(super) fn new(target: Target, fields: Vec<Field>, progress: Progress) -> Self {
        Self {
            target,
            fields,
            progress: Mutex::new(progress),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the flight under way, or starts one.
    pub(super) fn ask(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        accept_older: bool,
    ) -> Flight<Outcome> {
        let mut progress = self.lock();
        progress.accept_older |= accept_older;
        if let Some(flight) = progress.under_way() {
            return flight.clone();
        }
        let (landing, flight) = Flight::begin();
        progress.flight = Some(flight.clone());
        drop(progress);
        let (origin, shared) = (Arc::clone(self), Arc::clone(shared));
        let drain = shared.drain.clone();
        drop(drain.spawn(async move {
            let answer = Upstream::fetch(&origin.target, &shared).await;
            let outcome = origin.settle(&shared, answer);
            landing.land(outcome);
            shared.wake.notify_one();
        }));
        flight
    }

    /// Joins the fetch under way, or starts one ahead of the schedule. `None` if that would be too soon.
    pub(super) fn reread(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        pace: Pace,
    ) -> Option<Flight<Outcome>> {
        if shared.is_stopping() {
            return None;
        }
        let now = shared.clock.now();
        {
            let mut progress = self.lock();
            if let Some(flight) = progress.under_way() {
                return Some(flight.clone());
            }
            let backs_off = progress.failures > 0 && !progress.next.passed(now);
            let too_soon = backs_off || progress.reread_after.is_some_and(|at| !at.passed(now));
            if too_soon && pace == Pace::Limited {
                return None;
            }
            progress.reread_after = Some(now.after(REREAD_LEAST));
        }
        Some(self.ask(shared, false))
    }

    /// Evicts what is past its bound, starts a flight if one is due, and says when to look again.
    pub(super) fn look(self: &Arc<Self>, shared: &Arc<Shared>, now: Moment) -> Option<Deadline> {
        let mut progress = self.lock();
        let next = progress.next;
        let mut look_at = None;
        for (field, progress) in self.fields.iter().zip(&mut progress.fields) {
            let mut bounds = None;
            field.slot.send_if_modified(|slot| {
                if let Slot::Held {
                    versions, until, ..
                } = slot
                {
                    bounds = Some((*until, versions.expire(now)));
                }
                false
            });
            let Some((until, former)) = bounds else {
                continue;
            };
            if until.passed(now) {
                progress.expired = true;
                tracing::warn!(secret = %field.reference, "no longer served: its stale bound is reached");
                field.slot.send_replace(Slot::Empty {
                    kind: progress.last_error,
                    retry_at: next,
                });
            } else {
                let first = former.map_or(until, |former| former.min(until));
                look_at = Some(look_at.map_or(first, |at: Deadline| at.min(first)));
            }
        }
        if progress.under_way().is_some() {
            return look_at; // Its end wakes the schedule.
        }
        drop(progress);
        if next.passed(now) {
            drop(self.ask(shared, false));
            return look_at;
        }
        Some(look_at.map_or(next, |at| at.min(next)))
    }
}
