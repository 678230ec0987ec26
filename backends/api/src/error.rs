//! Why a call to a backend failed.
//!
//! Owns the error taxonomy that all code above the backends uses. The cache and the rotation decide by [`Class`], all other
//! code by [`Kind`]. Never carries a vendor's text: `Display` names the kind, the backend and the operation, and `source` holds
//! only what the backend crate considers safe to log.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::BackendName;

/// The meaning of a failure. Deliberately not `non_exhaustive`: a new kind must break every `match`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such secret, version or field.
    NotFound,
    /// It existed and is deleted, disabled or destroyed.
    Gone,
    /// Our identity was accepted but lacks the permission.
    PermissionDenied,
    /// The backend rejects the request, name or setting itself. Retrying fails until the configuration is changed.
    Misconfigured,
    /// A compare-and-swap lost against another writer. Read again and decide again.
    Conflict,
    /// Our identity was rejected or has expired.
    Unauthenticated,
    /// There are no credentials to authenticate with.
    NoCredentials,
    /// Too many requests.
    RateLimited {
        /// The wait that the backend requested, if any.
        retry_after: Option<Duration>,
    },
    /// A limit on versions or secrets is reached.
    Quota,
    /// No response in time. A write becomes [`Kind::InDoubt`].
    Timeout,
    /// Nothing was sent, so a write may be repeated.
    Unreachable,
    /// The backend is up but cannot serve: 5xx, sealed, lagging, connection lost.
    Unavailable,
    /// The response, or the value in it, is not what was expected.
    InvalidResponse,
    /// The stored bytes do not decrypt: the wrong key, or they were tampered with.
    Undecryptable,
    /// A write was sent and its outcome is unknown. Read again and compare before doing anything else.
    InDoubt,
}

/// What a failure means for cached values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The backend has decided: evict the cached value.
    Authoritative,
    /// Says nothing about the secret: keep the cached value within its limits.
    Transient,
    /// Our own login failed: keep the cached value, and log in again.
    Identity,
    /// A mistake that only an operator can fix: keep the cached value, and report the mistake.
    Defect,
    /// A lost race, part of normal operation.
    Expected,
    /// A write without a response.
    Unknown,
}

impl Kind {
    /// The class, which decides what happens to cached values.
    pub fn class(self) -> Class {
        match self {
            Self::NotFound | Self::Gone | Self::PermissionDenied => Class::Authoritative,
            Self::Misconfigured => Class::Defect,
            Self::Conflict => Class::Expected,
            Self::Unauthenticated | Self::NoCredentials => Class::Identity,
            Self::RateLimited { .. }
            | Self::Quota
            | Self::Timeout
            | Self::Unreachable
            | Self::Unavailable
            | Self::InvalidResponse
            | Self::Undecryptable => Class::Transient,
            Self::InDoubt => Class::Unknown,
        }
    }

    /// Whether a *read* that failed this way may be retried soon.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::Timeout | Self::Unreachable | Self::Unavailable => {
                true
            }
            Self::NotFound
            | Self::Gone
            | Self::PermissionDenied
            | Self::Misconfigured
            | Self::Conflict
            | Self::Unauthenticated
            | Self::NoCredentials
            | Self::Quota
            | Self::InvalidResponse
            | Self::Undecryptable
            | Self::InDoubt => false,
        }
    }

    /// A stable name for status, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Gone => "gone",
            Self::PermissionDenied => "permission_denied",
            Self::Misconfigured => "misconfigured",
            Self::Conflict => "conflict",
            Self::Unauthenticated => "unauthenticated",
            Self::NoCredentials => "no_credentials",
            Self::RateLimited { .. } => "rate_limited",
            Self::Quota => "quota",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Unavailable => "unavailable",
            Self::InvalidResponse => "invalid_value",
            Self::Undecryptable => "undecryptable",
            Self::InDoubt => "in_doubt",
        }
    }
}

/// A failed call to a backend.
#[derive(Debug)]
pub struct BackendError {
    /// What went wrong.
    pub kind: Kind,
    /// Which backend of the configuration.
    pub backend: BackendName,
    /// What was attempted, for example `fetch`.
    pub operation: &'static str,
    /// The time until the operation may be attempted again, if it was not sent.
    blocked: Option<Duration>,
    /// What the backend crate considers safe to log; never text of an SDK or of a response body.
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl BackendError {
    /// A failure without a further cause.
    pub fn new(kind: Kind, backend: &BackendName, operation: &'static str) -> Self {
        Self {
            kind,
            backend: backend.clone(),
            operation,
            blocked: None,
            source: None,
        }
    }

    /// The same failure, for an operation that was not sent because earlier ones failed this way. `retry_in` is the time until
    /// it may be attempted again.
    #[must_use]
    pub fn not_sent(mut self, retry_in: Duration) -> Self {
        self.blocked = Some(retry_in);
        self
    }

    /// The time until the operation may be attempted again, if it was not sent because earlier ones failed with `kind`. `None`
    /// if this operation itself was attempted and failed.
    pub fn blocked(&self) -> Option<Duration> {
        self.blocked
    }

    /// Adds a cause. Its `Display` must be safe to log.
    #[must_use]
    pub fn because(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            backend,
            operation,
            blocked,
            source: _,
        } = self;
        let failed = if blocked.is_some() {
            "not sent after repeated failures"
        } else {
            "failed"
        };
        let kind = kind.as_str();
        write!(f, "backend \"{backend}\": {operation} {failed}: {kind}")
    }
}

impl StdError for BackendError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_transient_failures_are_retried() {
        let kinds = [
            Kind::NotFound,
            Kind::Gone,
            Kind::PermissionDenied,
            Kind::Misconfigured,
            Kind::Conflict,
            Kind::Unauthenticated,
            Kind::NoCredentials,
            Kind::RateLimited { retry_after: None },
            Kind::Quota,
            Kind::Timeout,
            Kind::Unreachable,
            Kind::Unavailable,
            Kind::InvalidResponse,
            Kind::Undecryptable,
            Kind::InDoubt,
        ];
        for kind in kinds {
            assert!(
                !kind.is_retryable() || kind.class() == Class::Transient,
                "{}",
                kind.as_str()
            );
        }
    }

    #[test]
    fn display_leaves_the_cause_out() {
        let backend = "prod".parse::<BackendName>().unwrap();
        let error = BackendError::new(Kind::Timeout, &backend, "fetch")
            .because(std::io::Error::other("the cause"));
        assert_eq!(error.to_string(), "backend \"prod\": fetch failed: timeout");
        assert_eq!(error.source().unwrap().to_string(), "the cause");
        assert_eq!(error.blocked(), None);
        let blocked = error.not_sent(Duration::from_secs(5));
        assert_eq!(
            blocked.to_string(),
            "backend \"prod\": fetch not sent after repeated failures: timeout"
        );
        assert_eq!(blocked.blocked(), Some(Duration::from_secs(5)));
    }
}
