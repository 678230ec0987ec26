//! A handle on one live value.

use std::sync::Arc;
use std::time::Duration;

use claviger_backend::{Kind, Secret, SecretRef, VersionId};
use tokio::sync::watch;

use crate::clock::{Deadline, Moment};

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
pub(crate) enum Slot {
    /// Never fetched, or evicted by an authoritative answer.
    Empty {
        /// Why, if the backend was asked.
        kind: Option<Kind>,
        /// When it will be asked again.
        retry_in: Duration,
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
        match &*self.slot.borrow() {
            Slot::Held { version, until, .. } if !until.passed(now) => Ok(Arc::clone(version)),
            Slot::Held { .. } => Err(Missing {
                kind: None,
                retry_in: Duration::from_secs(1),
            }),
            Slot::Empty { kind, retry_in } => Err(Missing {
                kind: *kind,
                retry_in: *retry_in,
            }),
        }
    }

    /// Waits until another version is held, or none.
    pub async fn changed(&mut self) {
        if self.slot.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
