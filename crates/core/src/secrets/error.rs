//! Why a secret cannot be had.
//!
//! Owns the errors of this module and their reasons. An error names a class of failure and a time to wait; never a path, a
//! backend's text or a value.

use std::time::Duration;

use claviger_backend::Kind;
use claviger_runtime::reason::{Reason, Reasoned};

use crate::secrets::Missing;

/// Why a secret cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The configuration has no such secret.
    #[error("there is no such secret")]
    Unknown,
    /// No value in memory may be served.
    #[error("the secret is not available")]
    Missing(Missing),
    /// The backend was asked, and gave nothing.
    #[error("the secret could not be fetched")]
    Failed {
        /// Why.
        kind: Kind,
        /// The time until another attempt makes sense.
        retry_in: Duration,
    },
    /// The daemon stops, or its configuration was replaced.
    #[error("the daemon is stopping or reloading")]
    Stopping,
}

impl Reasoned for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::Unknown => Reason::UnknownSecret,
            Self::Missing(Missing { kind: None, .. }) => Reason::NotFetchedYet,
            Self::Missing(Missing {
                kind: Some(kind), ..
            })
            | Self::Failed { kind, .. } => reason(*kind),
            Self::Stopping => Reason::Stopping,
        }
    }

    fn retry_in(&self) -> Option<Duration> {
        match self {
            Self::Unknown => None,
            Self::Missing(Missing { retry_in, .. }) | Self::Failed { retry_in, .. } => {
                Some(*retry_in)
            }
            Self::Stopping => Some(Duration::from_secs(1)),
        }
    }
}

/// The reason that callers are given for a failure of a backend.
#[must_use]
pub fn reason(kind: Kind) -> Reason {
    match kind {
        Kind::NotFound => Reason::SecretNotFound,
        Kind::Gone => Reason::Gone,
        Kind::PermissionDenied => Reason::PermissionDenied,
        Kind::Misconfigured => Reason::Misconfigured,
        Kind::Conflict => Reason::Conflict,
        Kind::Unauthenticated => Reason::Unauthenticated,
        Kind::NoCredentials => Reason::NoCredentials,
        Kind::RateLimited { .. } => Reason::BackendRateLimited,
        Kind::Quota => Reason::Quota,
        Kind::Timeout => Reason::Timeout,
        Kind::Unreachable => Reason::Unreachable,
        Kind::Unavailable => Reason::Unavailable,
        Kind::InvalidResponse => Reason::InvalidValue,
        Kind::Undecryptable => Reason::Undecryptable,
        Kind::InDoubt => Reason::InDoubt,
    }
}
