//! A handle on one live value.
//!
//! Owns [`Live`], by which the rest of the daemon follows a value, and the [`Version`] it hands out. A handle never fetches
//! anything and never waits for a backend: it shows what is held. It stays connected when the configuration is replaced, as
//! long as the new one refers to the same value. Next: `origin`, which fills it.

use std::sync::Arc;
use std::time::Duration;

use claviger_backend::{Kind, Secret, SecretRef, VersionId};
use tokio::sync::watch;

use claviger_runtime::clock::{Deadline, Moment};

/// Where a credential in an answer came from, and how far it may be trusted to be the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Held, and not yet due for renewal.
    Fresh,
    /// Obtained from its source for this very answer.
    Refreshed,
    /// Held past its due time, because the source did not give a newer one. Still within its bounds.
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

/// What is held of one reference at the moment.
#[derive(Clone, Debug)]
pub(super) enum Slot {
    /// Never fetched, evicted by an authoritative answer, or past its stale bound.
    Empty {
        /// Why, if the backend was asked.
        kind: Option<Kind>,
        /// When it will be asked again.
        retry_at: Deadline,
    },
    /// A value, and how long it may be served.
    Held {
        /// The value.
        version: Arc<Version>,
        /// When the backend last confirmed it.
        confirmed: Moment,
        /// From when on it counts as stale.
        stale_from: Deadline,
        /// Until when it is served.
        until: Deadline,
    },
}

impl Slot {
    /// What is held and may still be served.
    ///
    /// # Errors
    /// [`Missing`] if nothing is.
    pub(super) fn reading(&self, now: Moment) -> Result<Reading, Missing> {
        match self {
            Self::Held {
                version,
                confirmed,
                stale_from,
                until,
            } if !until.passed(now) => Ok(Reading {
                version: Arc::clone(version),
                confirmed: *confirmed,
                age: now.since(*confirmed),
                freshness: if stale_from.passed(now) {
                    Freshness::Stale
                } else {
                    Freshness::Fresh
                },
                lifetime_left: until.left(now),
            }),
            // The schedule evicts it as soon as it wakes, and knows when it asks again.
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

/// The shortest wait that a caller is told: an attempt that is due now takes about this long.
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
    /// How long it will be served if the backend stays silent.
    pub lifetime_left: Duration,
}

/// Why there is no value to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret is not available")]
pub struct Missing {
    /// The class of the last failure, if the backend was asked.
    pub kind: Option<Kind>,
    /// When it is worth asking again.
    pub retry_in: Duration,
}

/// A handle on one live value. Cheap to clone; every clone sees the newest version.
#[derive(Clone, Debug)]
pub struct Live {
    reference: Arc<SecretRef>,
    slot: watch::Receiver<Slot>,
}

impl Live {
    pub(super) fn new(reference: Arc<SecretRef>, slot: watch::Receiver<Slot>) -> Self {
        Self { reference, slot }
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
            version: Arc::new(Version {
                value,
                id,
                generation: 1,
            }),
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
    /// [`Missing`] if none is held, or if it is past its stale bound.
    pub fn current(&self, now: Moment) -> Result<Arc<Version>, Missing> {
        self.slot
            .borrow()
            .reading(now)
            .map(|reading| reading.version)
    }

    /// Waits until another version is held, or none.
    pub async fn changed(&mut self) {
        if self.slot.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
