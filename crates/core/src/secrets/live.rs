//! A handle on one live value.
//!
//! Owns [`Live`], by which the rest of the daemon follows a value, and the [`Version`] it hands out. A handle shows the cached
//! value and never waits for a backend, except in [`Live::reread`], which is rate-limited. It stays connected when the
//! configuration is replaced, as long as the new one refers to the same value. Next: `origin`, which fills it.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use claviger_backend::{Kind, Secret, SecretRef, VersionId};
use tokio::sync::watch;

use claviger_runtime::clock::{Deadline, Moment};

/// Where a credential in an answer came from, and how far it may be trusted to be the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Cached, and not yet due for renewal.
    Fresh,
    /// Obtained from its source for this very answer.
    Refreshed,
    /// Cached and past its due time, because the source did not give a newer one. Still within its bounds.
    Stale,
}

impl Freshness {
    /// The word for it in answers, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Refreshed => "refreshed",
            Self::Stale => "stale",
        }
    }
}

/// One version of a secret, or of one field of it.
#[derive(Debug)]
pub struct Version {
    /// The value (of the field, where the reference names one).
    pub value: Secret,
    /// The backend's name for it.
    pub id: VersionId,
    /// Counts the versions seen since the daemon started, from 1.
    pub generation: u64,
}

/// The cached versions of one reference.
#[derive(Clone, Debug)]
pub(super) enum Versions {
    /// One version.
    Current(Arc<Version>),
    /// A version that replaced another one, which is kept for readers that need both.
    Rotating {
        /// The version that was replaced.
        old: Former,
        /// The version to use.
        new: Arc<Version>,
    },
}

/// A version that was replaced, and the stale bound that it had then: the value is zeroed there at the latest.
#[derive(Clone, Debug)]
pub(super) struct Former {
    pub(super) version: Arc<Version>,
    pub(super) until: Deadline,
}

impl Versions {
    /// The version to use.
    pub(super) fn newest(&self) -> &Arc<Version> {
        match self {
            Self::Current(version) | Self::Rotating { new: version, .. } => version,
        }
    }

    /// Drops a replaced version that has reached its bound, and returns when to check again.
    pub(super) fn expire(&mut self, now: Moment) -> Option<Deadline> {
        let Self::Rotating { old, new } = self else {
            return None;
        };
        if !old.until.passed(now) {
            return Some(old.until);
        }
        *self = Self::Current(Arc::clone(new));
        None
    }
}

/// The cached state of one reference.
#[derive(Clone, Debug)]
pub(super) enum Slot {
    /// Never fetched, evicted by an authoritative answer, or past its stale bound.
    Empty {
        /// Why, if a fetch has failed.
        kind: Option<Kind>,
        /// When the next fetch is due.
        retry_at: Deadline,
    },
    /// A value, and how long it may be served.
    Held {
        /// The value, and the one before it.
        versions: Versions,
        /// When the backend last confirmed it.
        confirmed: Moment,
        /// From when on it counts as stale.
        stale_from: Deadline,
        /// Until when it is served.
        until: Deadline,
    },
}

impl Slot {
    /// The value, if it may still be served.
    ///
    /// # Errors
    /// [`Missing`] if nothing is.
    pub(super) fn reading(&self, now: Moment) -> Result<Reading, Missing> {
        match self {
            Self::Held {
                versions,
                confirmed,
                stale_from,
                until,
            } if !until.passed(now) => Ok(Reading {
                version: Arc::clone(versions.newest()),
                confirmed: *confirmed,
                age: now.since(*confirmed),
                freshness: if stale_from.passed(now) {
                    Freshness::Stale
                } else {
                    Freshness::Fresh
                },
                lifetime_left: until.left(now),
            }),
            // The schedule evicts it as soon as it wakes, and knows when the next fetch is due.
            Self::Held { .. } => Err(Missing {
                kind: None,
                retry_in: SOON,
            }),
            Self::Empty { kind, retry_at } => Err(Missing {
                kind: *kind,
                retry_in: retry_at.left(now).max(SOON),
            }),
        }
    }
}

/// The shortest wait that is reported to a caller: an attempt that is due now takes about this long.
const SOON: Duration = Duration::from_secs(1);

/// A value as it is now.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The value and its version.
    pub version: Arc<Version>,
    /// When the backend last confirmed that this is the version to use.
    pub confirmed: Moment,
    /// The time since then, on the clock that does not jump.
    pub age: Duration,
    /// Whether a confirmation is overdue.
    pub freshness: Freshness,
    /// How long it will be served if the backend does not answer.
    pub lifetime_left: Duration,
}

/// Why there is no value to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret is not available")]
pub struct Missing {
    /// The class of the last failure, if a fetch has failed.
    pub kind: Option<Kind>,
    /// The time until the next attempt.
    pub retry_in: Duration,
}

/// Fetches the secret of a handle ahead of its schedule.
#[async_trait]
pub(super) trait Refetch: Debug + Send + Sync {
    /// Waits for a fetch to end, and returns whether there was one.
    async fn refetch(&self, pace: Pace) -> bool;
}

/// How the handles on a value reach the schedule of the active configuration.
#[derive(Debug, Default)]
pub(super) struct Link(Mutex<Option<Arc<dyn Refetch>>>);

impl Link {
    /// Points the handles to another schedule.
    pub(super) fn set(&self, refetch: Arc<dyn Refetch>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(refetch);
    }

    fn get(&self) -> Option<Arc<dyn Refetch>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map(Arc::clone)
    }
}

/// How often a secret may be fetched ahead of its schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Once in 10 s for all handles on the secret, and not while the schedule pauses after a failure.
    Limited,
    /// At any time. For operators.
    Unlimited,
}

/// The outcome of [`Live::reread`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reread {
    /// Another version than before is cached now.
    Changed,
    /// A fetch has ended, and the same version is cached, or none.
    Unchanged,
    /// Nothing was fetched: the last reread was a moment ago, fetches fail, the daemon stops, or the value never changes.
    Skipped,
}

/// A handle on one live value. Cheap to clone; every clone sees the newest version.
#[derive(Clone, Debug)]
pub struct Live {
    reference: Arc<SecretRef>,
    slot: watch::Receiver<Slot>,
    link: Arc<Link>,
}

impl Live {
    pub(super) fn new(
        reference: Arc<SecretRef>,
        slot: watch::Receiver<Slot>,
        link: Arc<Link>,
    ) -> Self {
        Self {
            reference,
            slot,
            link,
        }
    }

    /// A value that never changes and never goes stale.
    #[must_use]
    pub fn fixed(reference: SecretRef, value: Secret, id: VersionId) -> Self {
        let far = Moment {
            boot: Duration::MAX,
            wall: Duration::MAX,
        }
        .after(Duration::ZERO);
        let slot = Slot::Held {
            versions: Versions::Current(Arc::new(Version {
                value,
                id,
                generation: 1,
            })),
            confirmed: Moment {
                boot: Duration::ZERO,
                wall: Duration::ZERO,
            },
            stale_from: far,
            until: far,
        };
        Self {
            reference: Arc::new(reference),
            slot: watch::channel(slot).1,
            link: Arc::default(),
        }
    }

    /// A value that is not there, and never will be.
    #[must_use]
    pub fn missing(reference: SecretRef, retry_at: Deadline) -> Self {
        let slot = Slot::Empty {
            kind: None,
            retry_at,
        };
        Self {
            reference: Arc::new(reference),
            slot: watch::channel(slot).1,
            link: Arc::default(),
        }
    }

    /// Where the value comes from. Safe to print.
    #[must_use]
    pub fn reference(&self) -> &SecretRef {
        &self.reference
    }

    /// The value to use now.
    ///
    /// # Errors
    /// [`Missing`] if none is cached, or if it is past its stale bound.
    pub fn current(&self, now: Moment) -> Result<Arc<Version>, Missing> {
        self.slot
            .borrow()
            .reading(now)
            .map(|reading| reading.version)
    }

    /// The version that was replaced most recently. `None` once it has reached the stale bound that it had when it was
    /// replaced, and when the current version is evicted.
    #[must_use]
    pub fn previous(&self, now: Moment) -> Option<Arc<Version>> {
        match &*self.slot.borrow() {
            Slot::Held {
                versions: Versions::Rotating { old, .. },
                ..
            } if !old.until.passed(now) => Some(Arc::clone(&old.version)),
            Slot::Held { .. } | Slot::Empty { .. } => None,
        }
    }

    /// Fetches the secret past the cache, for a caller whose value was refused: it may have been replaced since the last
    /// refresh. Joins a fetch that is under way. Otherwise starts one, as often as `pace` allows. The fetch continues if the
    /// caller stops waiting.
    pub async fn reread(&self, pace: Pace) -> Reread {
        let before = self.newest();
        let Some(refetch) = self.link.get() else {
            return Reread::Skipped;
        };
        if !refetch.refetch(pace).await {
            return Reread::Skipped;
        }
        match (before, self.newest()) {
            (Some(before), Some(after)) if Arc::ptr_eq(&before, &after) => Reread::Unchanged,
            (_, Some(_)) => Reread::Changed,
            (_, None) => Reread::Unchanged,
        }
    }

    fn newest(&self) -> Option<Arc<Version>> {
        match &*self.slot.borrow() {
            Slot::Held { versions, .. } => Some(Arc::clone(versions.newest())),
            Slot::Empty { .. } => None,
        }
    }

    /// Waits until another version is cached, or none.
    pub async fn changed(&mut self) {
        if self.slot.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
