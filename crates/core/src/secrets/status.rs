//! The state of each secret, for operators.
//!
//! Owns the reading of the schedule into plain data: references, versions, times and classes of failure. Never a value.

use std::sync::Arc;
use std::time::Duration;

use claviger_backend::{Kind, SecretRef, VersionId};

use crate::secrets::live::Slot;
use crate::secrets::{Freshness, Secrets};
use claviger_runtime::clock::Moment;

/// The cached state of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A value that was confirmed on schedule.
    Fresh,
    /// A value whose confirmation is overdue.
    Stale,
    /// No value: it was evicted at its stale bound.
    Expired,
    /// No value: never fetched, or evicted by an authoritative answer.
    Missing,
}

impl State {
    /// The word for it in status and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Expired => "expired",
            Self::Missing => "missing",
        }
    }
}

/// The state of one secret.
#[derive(Clone, Debug)]
pub struct Status {
    /// Where it comes from.
    pub reference: Arc<SecretRef>,
    /// The name under which peers may request it, if they may.
    pub name: Option<Arc<str>>,
    /// The cached version.
    pub version: Option<VersionId>,
    /// Its cached state.
    pub state: State,
    /// When the backend last confirmed it.
    pub confirmed: Option<Moment>,
    /// The time until the next fetch; zero while one is under way.
    pub next_refresh: Duration,
    /// Why the last fetch failed, if it did.
    pub last_error: Option<Kind>,
    /// Fetches that failed in a row.
    pub failures: u32,
}

impl Secrets {
    /// Every secret, one row per reference and name, in the order of the references.
    pub fn status(&self) -> Vec<Status> {
        let now = self.shared.clock.now();
        let mut rows = Vec::new();
        for origin in self.origins.iter() {
            let (progress, next, failures) = {
                let progress = origin.lock();
                (progress.fields.clone(), progress.next, progress.failures)
            };
            for (field, progress) in origin.fields.iter().zip(progress) {
                let (version, confirmed) = match &*field.slot.borrow() {
                    Slot::Held {
                        versions,
                        confirmed,
                        ..
                    } => (Some(versions.newest().id.clone()), Some(*confirmed)),
                    Slot::Empty { .. } => (None, None),
                };
                let freshness = field.slot.borrow().reading(now).map(|held| held.freshness);
                let state = match freshness {
                    Ok(Freshness::Fresh | Freshness::Refreshed) => State::Fresh,
                    Ok(Freshness::Stale) => State::Stale,
                    Err(_) if progress.expired || version.is_some() => State::Expired,
                    Err(_) => State::Missing,
                };
                let row = |name| Status {
                    reference: Arc::clone(&field.reference),
                    name,
                    version: version.clone(),
                    state,
                    confirmed,
                    next_refresh: next.left(now),
                    last_error: progress.last_error,
                    failures,
                };
                if field.names.is_empty() {
                    rows.push(row(None));
                }
                rows.extend(field.names.iter().map(|name| row(Some(Arc::clone(name)))));
            }
        }
        rows
    }
}
