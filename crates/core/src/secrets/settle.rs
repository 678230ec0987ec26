//! What the answer to a flight does to the cached values.
//!
//! Owns the one place where values enter memory and leave it: versions replace older ones, authoritative failures evict,
//! and everything else only moves the schedule. Never extends a stale bound without a confirmation; the bound counts from
//! the moment the confirmed request was sent. Runs under the origin's lock, without waiting. Next: `pick` for fields,
//! `schedule` for the numbers.

use std::sync::Arc;
use std::time::Duration;

use claviger_backend::{BackendError, Class, Fetched, Kind, VersionId, VersionSelector};

use crate::secrets::Shared;
use crate::secrets::live::{Former, Slot, Version, Versions};
use crate::secrets::origin::{Failure, Field, FieldProgress, Origin, Progress};
use crate::secrets::pick::{Picked, pick};
use crate::secrets::schedule;
use crate::secrets::upstream::Refusal;
use claviger_runtime::clock::{Deadline, Moment, Roll};
use claviger_runtime::telemetry::Causes;

/// No value is served longer than this without a confirmation, whatever the configuration says.
pub(super) const STALE_MOST: Duration = Duration::from_hours(24);

type PerField = Arc<[Result<bool, Failure>]>;

/// A failure, with the error if the backend reported it.
#[derive(Clone, Copy)]
struct Why<'a> {
    kind: Kind,
    cause: Option<&'a BackendError>,
}

/// What a successful flight proves about every field that it brought.
struct Confirmation {
    version: VersionId,
    /// When the request was sent.
    sent: Moment,
    /// The planned time to the next one.
    refresh: Duration,
}

impl Origin {
    /// Applies an answer, and returns the outcome for each field.
    pub(super) fn settle(
        &self,
        shared: &Shared,
        answer: Result<(Fetched, Moment), Refusal>,
    ) -> PerField {
        let now = shared.clock.now();
        let mut progress = self.lock();
        progress.flight = None;
        let outcome = if shared.retired.is_cancelled() {
            // The slots belong to the next configuration already.
            self.everywhere(Kind::Unavailable, Duration::ZERO)
        } else {
            self.take(&mut progress, answer, now)
        };
        if !std::mem::replace(&mut progress.asked, true) {
            // Last, because a caller that waits for the first round reads the slots next.
            shared
                .unasked
                .send_modify(|left| *left = left.saturating_sub(1));
        }
        outcome
    }

    fn take(
        &self,
        progress: &mut Progress,
        answer: Result<(Fetched, Moment), Refusal>,
        now: Moment,
    ) -> PerField {
        let accept_older = std::mem::take(&mut progress.accept_older);
        match answer {
            Ok((fetched, sent)) => match self.check(progress, &fetched, accept_older) {
                Ok(()) => self.confirm(progress, fetched, sent, now),
                Err(kind) => self.fail(progress, Why { kind, cause: None }, now),
            },
            Err(Refusal::Failed(error)) => {
                let kind = error.kind;
                let Some(retry_in) = error.blocked() else {
                    let cause = Some(&error);
                    return self.fail(progress, Why { kind, cause }, now);
                };
                // Spread, so that the queue does not fall on a backend that has just recovered.
                let spread = Roll::random().part(Duration::from_secs(1));
                let wait = retry_in.saturating_add(spread);
                progress.next = now.after(wait);
                self.note(progress, Why { kind, cause: None });
                self.everywhere(kind, wait)
            }
            Err(Refusal::Stopping) => {
                progress.next = now.after(Duration::from_secs(1));
                self.everywhere(Kind::Unavailable, Duration::from_secs(1))
            }
        }
    }

    /// Refuses an answer that does not match the request.
    fn check(
        &self,
        progress: &Progress,
        fetched: &Fetched,
        accept_older: bool,
    ) -> Result<(), Kind> {
        match &self.target.version {
            VersionSelector::Exact(wanted) if *wanted != fetched.version => {
                tracing::warn!(secret = %self.target.name, "the backend answered with another version than the requested one");
                Err(Kind::InvalidResponse)
            }
            VersionSelector::Exact(_) => Ok(()),
            VersionSelector::Current => match (progress.newest, number(&fetched.version)) {
                (Some(newest), Some(offered)) if offered < newest && !accept_older => {
                    tracing::warn!(
                        secret = %self.target.name, held = newest, offered,
                        "the backend offers an older version than it did before; refused until an operator refreshes this secret by name"
                    );
                    Err(Kind::InvalidResponse)
                }
                _ => Ok(()),
            },
        }
    }

    fn confirm(
        &self,
        progress: &mut Progress,
        fetched: Fetched,
        sent: Moment,
        now: Moment,
    ) -> PerField {
        let Fetched { value, version, .. } = fetched;
        let fields: Vec<_> = self
            .fields
            .iter()
            .map(|field| field.reference.field.as_ref())
            .collect();
        let picked = pick(&value, &fields);
        drop(value);
        progress.newest = number(&version);
        let roll = Roll::random();
        let worst = picked.iter().find_map(|part| part.as_ref().err().copied());
        let wait = if let Some(kind) = worst {
            progress.failures = progress.failures.saturating_add(1);
            schedule::backoff(kind, progress.failures, roll).min(self.target.refresh)
        } else {
            progress.failures = 0;
            let first = !std::mem::replace(&mut progress.confirmed_once, true);
            schedule::next_refresh(self.target.refresh, first, roll)
        };
        progress.next = now.after(wait);
        let retry_at = progress.next;
        let confirmation = Confirmation {
            version,
            sent,
            refresh: self.target.refresh,
        };
        let mut outcome = Vec::with_capacity(self.fields.len());
        for ((field, own), part) in self.fields.iter().zip(&mut progress.fields).zip(picked) {
            outcome.push(match part {
                Ok(picked) => Ok(hold(field, own, picked, &confirmation)),
                Err(kind) => {
                    report(field, own, Why { kind, cause: None });
                    lose(field, own, kind, retry_at);
                    Err(Failure {
                        kind,
                        retry_in: wait,
                    })
                }
            });
        }
        outcome.into()
    }

    fn fail(&self, progress: &mut Progress, why: Why<'_>, now: Moment) -> PerField {
        let kind = why.kind;
        progress.failures = progress.failures.saturating_add(1);
        let roll = Roll::random();
        let wait = schedule::backoff(kind, progress.failures, roll);
        progress.next = now.after(wait);
        if kind == Kind::NotFound {
            // A secret that is created after this one was deleted is another one, and may count from 1 again. A denial says
            // nothing about versions.
            progress.newest = None;
        }
        self.note(progress, why);
        self.everywhere(kind, wait)
    }

    /// Writes a failure to every slot.
    fn note(&self, progress: &mut Progress, why: Why<'_>) {
        let retry_at = progress.next;
        for (field, own) in self.fields.iter().zip(&mut progress.fields) {
            report(field, own, why);
            lose(field, own, why.kind, retry_at);
        }
    }

    fn everywhere(&self, kind: Kind, retry_in: Duration) -> PerField {
        self.fields
            .iter()
            .map(|_| Err(Failure { kind, retry_in }))
            .collect()
    }
}

/// A version that is a number, as some backends count them. Elsewhere only equality means something.
fn number(id: &VersionId) -> Option<u64> {
    id.as_str().parse().ok()
}

/// Logs the first of a row of equal failures.
fn report(field: &Field, own: &mut FieldProgress, why: Why<'_>) {
    let Why { kind, cause } = why;
    let before = own.last_error.replace(kind);
    if before.map(Kind::as_str) != Some(kind.as_str()) {
        let cause = cause.map(|error| Causes(error).to_string());
        tracing::warn!(secret = %field.reference, error = kind.as_str(), cause, "the secret could not be refreshed");
    }
}

/// Evicts on an authoritative answer; else only records in an empty slot why it is empty, without waking watchers.
fn lose(field: &Field, own: &mut FieldProgress, kind: Kind, retry_at: Deadline) {
    if kind == Kind::NotFound {
        own.last = None;
    }
    let evicts = kind.class() == Class::Authoritative;
    field.slot.send_if_modified(|slot| {
        let held = matches!(slot, Slot::Held { .. });
        if evicts || !held {
            *slot = Slot::Empty {
                kind: Some(kind),
                retry_at,
            };
        }
        evicts && held
    });
}

/// Puts a confirmed value into its slot, and says whether it is another version.
fn hold(
    field: &Field,
    own: &mut FieldProgress,
    picked: Picked,
    confirmation: &Confirmation,
) -> bool {
    let (id, sent) = (&confirmation.version, confirmation.sent);
    if picked.trimmed && !std::mem::replace(&mut own.trim_reported, true) {
        tracing::info!(secret = %field.reference, "a newline at the end of the value is cut off");
    }
    if own.last_error.take().is_some() {
        tracing::info!(secret = %field.reference, "the secret is refreshed again");
    }
    own.expired = false;
    let until = sent.after(field.max_stale);
    let stale_from = sent
        .after(schedule::slowest_refresh(confirmation.refresh))
        .min(until);
    // The id alone is not enough: where versions are counted from 1, a recreated store has the same ids as the one before.
    let (same, other, former) = match &*field.slot.borrow() {
        Slot::Held {
            versions, until, ..
        } => {
            let newest = versions.newest();
            let same_id = newest.id == *id;
            if same_id && newest.value.same_as(&picked.value) {
                (Some(versions.clone()), false, None)
            } else {
                let former = Former {
                    version: Arc::clone(newest),
                    until: *until,
                };
                (None, same_id, Some(former))
            }
        }
        Slot::Empty { .. } => (None, false, None),
    };
    if other {
        tracing::warn!(secret = %field.reference, "the backend has another value under the same version");
    }
    let changed = same.is_none() && (other || own.last.as_ref() != Some(id));
    own.generation = own.generation.saturating_add(u64::from(changed));
    own.last = Some(id.clone());
    // The same version keeps its bytes: readers share them, and a confirmation wakes no watcher.
    let woken = same.is_none();
    let versions = same.unwrap_or_else(|| {
        let new = Arc::new(Version {
            value: picked.value,
            id: id.clone(),
            generation: own.generation,
        });
        match former {
            Some(old) => Versions::Rotating { old, new },
            None => Versions::Current(new),
        }
    });
    field.slot.send_if_modified(|slot| {
        *slot = Slot::Held {
            versions,
            confirmed: sent,
            stale_from,
            until,
        };
        woken
    });
    changed
}
