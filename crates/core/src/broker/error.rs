//! Why a request gets no credential.

use std::time::Duration;

use crate::peer;
use crate::policy::Denial;
use crate::secrets;
use crate::tokens;

/// Why a request gets no credential. `Display` is for the log; the peer learns [`Error::reason`] and [`Error::remedy`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Policy denies it. The peer is not told why, nor whether the name exists.
    #[error("denied: {0}")]
    Denied(#[from] Denial),
    /// The process that connected is gone, or is no longer what it was.
    #[error("the peer changed: {0}")]
    PeerChanged(peer::Changed),
    /// The peer's budget is spent.
    #[error("the peer is over its budget")]
    Limited {
        /// When it is worth asking again.
        retry_in: Duration,
    },
    /// No token can be had.
    #[error("no token: {0}")]
    Token(#[source] tokens::Error),
    /// No value is held within its bounds.
    #[error("no secret: {0}")]
    Secret(#[from] secrets::Error),
}

impl From<tokens::Error> for Error {
    fn from(error: tokens::Error) -> Self {
        if let tokens::Error::Unpaid { retry_in } = error {
            // It is the peer's budget that the cache asked to pay from.
            return Self::Limited { retry_in };
        }
        Self::Token(error)
    }
}

impl Error {
    /// Whether policy or identity refused it, rather than the world being in disorder.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        matches!(self, Self::Denied(_) | Self::PeerChanged(_))
    }

    /// A stable word for it.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Denied(_) => "denied",
            Self::PeerChanged(_) => "peer_changed",
            Self::Limited { .. } => "rate_limited",
            Self::Token(error) => error.as_str(),
            Self::Secret(error) => error.as_str(),
        }
    }

    /// What to do about it, for whoever runs the peer.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Denied(_) => {
                "Ask an operator to run `claviger explain` for this process, and to add a rule if it should have access."
            }
            Self::PeerChanged(_) => {
                "Connect from the process that uses the answer; connections cannot be passed on."
            }
            Self::Limited { .. } => "Wait, and ask less often; answers from the cache are free.",
            Self::Token(error) => error.remedy(),
            Self::Secret(error) => error.remedy(),
        }
    }

    /// When it is worth asking again, if waiting helps.
    #[must_use]
    pub fn retry_in(&self) -> Option<Duration> {
        match self {
            Self::Denied(_) | Self::PeerChanged(_) => None,
            Self::Limited { retry_in } => Some(*retry_in),
            Self::Token(error) => error.retry_in(),
            Self::Secret(error) => error.retry_in(),
        }
    }
}
