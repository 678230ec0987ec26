//! Why a token cannot be had.
//!
//! Owns the errors of this module and what to tell people about them. All who waited for one request share its error. An
//! error names a class of failure and a time to wait; never an issuer's words or a token.

use std::time::Duration;

use crate::tokens::source;

/// Why a token cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The configuration has no such token.
    #[error("there is no such token")]
    Unknown,
    /// The scopes go beyond those of the token's definition, or the rule leaves none of them.
    #[error("the token does not have these scopes")]
    Scopes,
    /// The issuer was asked, and gave nothing.
    #[error("the issuer gave no token")]
    Issuer {
        /// Why.
        error: source::Error,
        /// When it will be asked again, where waiting helps.
        retry_in: Option<Duration>,
    },
    /// No token lives as long as the caller wants.
    #[error("no token of this issuer lives that long")]
    TooShort {
        /// The longest lifetime that can be had.
        longest: Duration,
    },
    /// Renewals were forced too often.
    #[error("renewal was forced too often")]
    Limited {
        /// When the next one is allowed.
        retry_in: Duration,
    },
    /// The issuer would have to be asked, and the caller cannot pay for that.
    #[error("the caller is over its budget")]
    Unpaid {
        /// When it can.
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

impl Error {
    /// A stable reason, for answers, status and logs.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown_token",
            Self::Scopes => "scopes_not_configured",
            Self::Issuer { error, .. } => error.kind.as_str(),
            Self::TooShort { .. } => "lifetime_too_short",
            Self::Limited { .. } => "renewal_limited",
            Self::Unpaid { .. } => "rate_limited",
            Self::Pending { .. } => "pending",
            Self::Stopping => "stopping",
        }
    }

    /// When it is worth asking again, where waiting helps.
    #[must_use]
    pub fn retry_in(&self) -> Option<Duration> {
        match self {
            Self::Unknown | Self::Scopes | Self::TooShort { .. } => None,
            Self::Issuer { retry_in, .. } => *retry_in,
            Self::Limited { retry_in } | Self::Unpaid { retry_in } | Self::Pending { retry_in } => {
                Some(*retry_in)
            }
            Self::Stopping => Some(Duration::from_secs(1)),
        }
    }

    /// What to do about it, in one sentence.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unknown => "Add the token to the configuration, or correct its name.",
            Self::Scopes => "Ask for scopes that the token's definition and the rule both have.",
            Self::Issuer { error, .. } => error.kind.remedy(),
            Self::TooShort { .. } => "Ask for less, or raise the lifetime of tokens at the issuer.",
            Self::Limited { .. } => {
                "Report a token that was refused, instead of forcing its renewal."
            }
            Self::Unpaid { .. } | Self::Pending { .. } | Self::Stopping => {
                "Wait a moment and ask again."
            }
        }
    }
}
