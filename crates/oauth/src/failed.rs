//! A failure inside the engine.
//!
//! Owns [`Failed`], which says besides the cause whether another attempt is worthwhile. [`crate::Error`] is what leaves the
//! engine.

use std::time::Duration;

use claviger_outbound::http::Error as Lost;
use claviger_runtime::reason::Detail;

use crate::{ErrorKind, outcome};

/// Why an attempt, or the whole request, failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) kind: ErrorKind,
    /// What it says beyond that.
    pub(crate) detail: Detail,
    /// Whether another attempt is worthwhile.
    pub(crate) again: bool,
    /// The wait until the breaker admits a request, if it rejected this one.
    pub(crate) rejected: Option<Duration>,
}

impl Failed {
    /// A failure with a fact for all callers.
    pub(crate) fn with(kind: ErrorKind, fact: String) -> Self {
        Self {
            detail: Detail::fact(fact),
            ..kind.into()
        }
    }
}

impl From<ErrorKind> for Failed {
    fn from(kind: ErrorKind) -> Self {
        Self {
            kind,
            detail: Detail::default(),
            again: false,
            rejected: None,
        }
    }
}

impl From<Lost> for Failed {
    fn from(lost: Lost) -> Self {
        let detail = if let Lost::AddressRefused(address) = lost {
            Detail::fact(format!("the name resolves to {address}"))
        } else {
            Detail::default()
        };
        Self {
            detail,
            again: outcome::may_resend(lost),
            ..outcome::lost(lost).into()
        }
    }
}
