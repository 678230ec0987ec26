//! Why a secret cannot be had.
//!
//! Owns the errors of this module and what to tell people about them. An error names a class of failure and a time to wait;
//! never a path, a backend's words or a value.

use std::time::Duration;

use claviger_backend::Kind;

use crate::secrets::Missing;

/// Why a secret cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The configuration has no such secret.
    #[error("there is no such secret")]
    Unknown,
    /// Nothing is held that may be served.
    #[error("the secret is not available")]
    Missing(Missing),
    /// The backend was asked, and gave nothing.
    #[error("the secret could not be fetched")]
    Failed {
        /// Why.
        kind: Kind,
        /// When it is worth asking again.
        retry_in: Duration,
    },
    /// The daemon stops, or its configuration was replaced.
    #[error("the daemon is stopping or reloading")]
    Stopping,
}

impl Error {
    /// A stable reason, for answers, status and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown_secret",
            Self::Missing(Missing { kind: None, .. }) => "not_fetched_yet",
            Self::Missing(Missing {
                kind: Some(kind), ..
            })
            | Self::Failed { kind, .. } => kind.as_str(),
            Self::Stopping => "stopping",
        }
    }

    /// When it is worth asking again, where waiting helps.
    #[must_use]
    pub fn retry_in(self) -> Option<Duration> {
        match self {
            Self::Unknown => None,
            Self::Missing(Missing { retry_in, .. }) | Self::Failed { retry_in, .. } => {
                Some(retry_in)
            }
            Self::Stopping => Some(Duration::from_secs(1)),
        }
    }

    /// What an operator should do about it, in one sentence.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Unknown => "Add the secret to the configuration, or correct its name.",
            Self::Missing(Missing { kind: None, .. }) | Self::Stopping => {
                "Wait a moment and ask again."
            }
            Self::Missing(Missing {
                kind: Some(kind), ..
            })
            | Self::Failed { kind, .. } => remedy(kind),
        }
    }
}

/// What an operator should do about a failure of a backend, in one sentence.
pub fn remedy(kind: Kind) -> &'static str {
    match kind {
        Kind::NotFound => {
            "Create the secret (or the field) in the backend, or correct the reference."
        }
        Kind::Gone => "The version is deleted or disabled: enable it, or refer to another one.",
        Kind::PermissionDenied => "Let the daemon's identity at the backend read this secret.",
        Kind::Misconfigured => {
            "The backend refuses the name or a setting: correct the configuration."
        }
        Kind::Unauthenticated => "The backend refuses the daemon's login: check its credential.",
        Kind::NoCredentials => "Give the daemon something to log in to the backend with.",
        Kind::RateLimited { .. } | Kind::Quota => "Wait; the backend allows no more requests now.",
        Kind::Timeout | Kind::Unavailable => "Wait; the backend does not answer properly.",
        Kind::Unreachable => "Check that this node can reach the backend.",
        Kind::InvalidResponse => {
            "The value is not what the reference expects: a field needs a JSON object, nothing may be empty, and versions must not go back."
        }
        Kind::Undecryptable => "The stored value does not decrypt: check the backend's key.",
        Kind::Conflict | Kind::InDoubt => "Ask again.",
    }
}
