//! A token request that failed, inside the engine.
//!
//! Owns [`Failed`], which says besides the cause whether another attempt is worthwhile. [`crate::Error`] is what leaves the
//! engine.

use std::time::Duration;

use crate::ErrorKind;

/// Why an attempt, or the whole request, failed.
pub(crate) struct Failed {
    pub(crate) kind: ErrorKind,
    /// Whether another attempt is worthwhile.
    pub(crate) again: bool,
    /// The wait until the breaker admits a request, if it rejected this one.
    pub(crate) rejected: Option<Duration>,
}

impl From<ErrorKind> for Failed {
    fn from(kind: ErrorKind) -> Self {
        Self {
            kind,
            again: false,
            rejected: None,
        }
    }
}
