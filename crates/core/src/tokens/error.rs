//! Why there is no token.
//!
//! Owns the errors of this room with their reasons. All callers who waited for one request share its error. An error has a class
//! of failure and a time to wait; never an issuer's text or a token.

use std::time::Duration;

use claviger_runtime::reason::{Detail, Reason, Reasoned};

use crate::tokens::source;

/// Why there is no token.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The configuration has no such token.
    #[error("there is no such token")]
    Unknown,
    /// The scopes go beyond those of the token's definition, or the rule leaves none of them.
    #[error("the token does not have these scopes")]
    Scopes,
    /// The issuer was asked, and issued no token.
    #[error("the issuer issued no token")]
    Issuer {
        /// Why.
        error: source::Error,
        /// When it will be asked again, where waiting helps.
        retry_in: Option<Duration>,
    },
    /// No token of this issuer lives as long as the caller wants.
    #[error("no token of this issuer lives that long")]
    TooShort {
        /// The longest lifetime that is possible.
        longest: Duration,
    },
    /// Renewals were forced too often.
    #[error("renewal was forced too often")]
    Limited {
        /// When the next one is allowed.
        retry_in: Duration,
    },
    /// The issuer would have to be asked, and the caller has used up its rate budget.
    #[error("the caller is over its budget")]
    OverBudget {
        /// When it has budget for the next request.
        retry_in: Duration,
    },
    /// The issuer has not answered within the caller's time. The request goes on.
    #[error("the issuer has not answered yet")]
    Pending {
        /// When it is worth asking again.
        retry_in: Duration,
    },
    /// The daemon stops, or its configuration was replaced.
    #[error("the daemon is stopping or reloading")]
    Stopping,
}

impl Reasoned for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::Unknown => Reason::UnknownToken,
            Self::Scopes => Reason::ScopesNotConfigured,
            Self::Issuer { error, .. } => error.reason(),
            Self::TooShort { .. } => Reason::LifetimeTooShort,
            Self::Limited { .. } => Reason::RenewalLimited,
            Self::OverBudget { .. } => Reason::RateLimited,
            Self::Pending { .. } => Reason::Pending,
            Self::Stopping => Reason::Stopping,
        }
    }

    fn retry_in(&self) -> Option<Duration> {
        match self {
            Self::Unknown | Self::Scopes | Self::TooShort { .. } => None,
            Self::Issuer { retry_in, .. } => *retry_in,
            Self::Limited { retry_in }
            | Self::OverBudget { retry_in }
            | Self::Pending { retry_in } => Some(*retry_in),
            Self::Stopping => Some(Duration::from_secs(1)),
        }
    }

    fn detail(&self) -> Detail {
        match self {
            Self::Issuer { error, .. } => Reasoned::detail(error),
            Self::Unknown
            | Self::Scopes
            | Self::TooShort { .. }
            | Self::Limited { .. }
            | Self::OverBudget { .. }
            | Self::Pending { .. }
            | Self::Stopping => Detail::default(),
        }
    }
}
