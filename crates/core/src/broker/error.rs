//! Why a request gets no credential.

use std::time::Duration;

use claviger_runtime::reason::{Detail, Reason, Reasoned};

use crate::peer;
use crate::policy::Denial;
use crate::secrets;
use crate::tokens;

/// Why a request gets no credential. `Display` is for the log; the peer learns its reason and
/// its remedy ([`Reasoned`]).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Policy denies it. The peer learns neither why, nor whether the name exists.
    #[error("denied")]
    Denied(#[from] Denial),
    /// The process that connected has exited or changed.
    #[error("the peer changed")]
    PeerChanged(#[source] peer::Changed),
    /// The peer's budget is spent.
    #[error("the peer is over its budget")]
    Limited {
        /// When it is worth asking again.
        retry_in: Duration,
    },
    /// No token is available.
    #[error("no token")]
    Token(#[source] tokens::Error),
    /// No value is within its bounds.
    #[error("no secret")]
    Secret(#[from] secrets::Error),
}

impl From<tokens::Error> for Error {
    fn from(error: tokens::Error) -> Self {
        if let tokens::Error::OverBudget { retry_in } = error {
            // The cache charged the budget of the peer.
            return Self::Limited { retry_in };
        }
        Self::Token(error)
    }
}

impl Error {
    /// Whether policy or identity refused it, rather than an outage.
    pub(crate) fn is_denial(&self) -> bool {
        matches!(self, Self::Denied(_) | Self::PeerChanged(_))
    }
}

impl Reasoned for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::Denied(_) => Reason::Denied,
            Self::PeerChanged(_) => Reason::PeerChanged,
            Self::Limited { .. } => Reason::RateLimited,
            Self::Token(error) => error.reason(),
            Self::Secret(error) => error.reason(),
        }
    }

    fn retry_in(&self) -> Option<Duration> {
        match self {
            Self::Denied(_) | Self::PeerChanged(_) => None,
            Self::Limited { retry_in } => Some(*retry_in),
            Self::Token(error) => error.retry_in(),
            Self::Secret(error) => error.retry_in(),
        }
    }

    fn detail(&self) -> Detail {
        match self {
            Self::Denied(_) | Self::PeerChanged(_) | Self::Limited { .. } => Detail::default(),
            Self::Token(error) => error.detail(),
            Self::Secret(error) => error.detail(),
        }
    }
}
