//! Why an issuer gave no token.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What went wrong, by meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// `invalid_client`: the credential is refused.
    InvalidClient,
    /// `unauthorized_client`: the client may not use this grant.
    UnauthorizedClient,
    /// `invalid_scope`: the scopes are refused.
    InvalidScope,
    /// `invalid_target`: the resource is refused (RFC 8707).
    InvalidTarget,
    /// `invalid_grant`.
    InvalidGrant,
    /// `invalid_request`: the issuer does not understand us.
    InvalidRequest,
    /// `unsupported_grant_type`.
    UnsupportedGrant,
    /// Another refusal with status 4xx that waiting does not heal.
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// More scopes were granted than asked for. The token was discarded.
    ScopeEscalation,
    /// Fewer scopes were granted than asked for, and the configuration says to refuse that.
    ScopeReduced,
    /// The token is not one that can be used: empty, too long, not printable, of another format, of another type.
    UnusableToken,
    /// The issuer's metadata names another issuer, or an endpoint that is not acceptable; or a resource has no metadata, or one
    /// that does not name the issuer.
    Metadata,
    /// The client's id or credential is not available from its backend.
    NoCredential {
        /// When it is worth asking again.
        retry_after: Duration,
    },
    /// 429, or our own limit towards this issuer.
    RateLimited {
        /// How long to wait, if somebody said.
        retry_after: Option<Duration>,
    },
    /// No answer in time.
    Timeout,
    /// No connection: the name does not resolve, or nobody listens.
    Unreachable,
    /// The name resolves to an address that the configuration does not allow.
    AddressRefused,
    /// The issuer's certificate is not trusted.
    Untrusted,
    /// The issuer's certificate is trusted but has none of the pinned keys.
    PinMismatch,
    /// A redirect, which is never followed.
    Redirect,
    /// 5xx, 408, or the connection was lost.
    Unavailable {
        /// The HTTP status; 0 if the connection was lost.
        status: u16,
        /// How long the issuer asks us to wait.
        retry_after: Option<Duration>,
    },
    /// The answer cannot be understood.
    InvalidResponse,
}

/// What a failure means for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Trying again does not help before the credential or the configuration changes, or a minute has passed.
    Terminal,
    /// Trying again may help, after this long at the earliest.
    Transient {
        /// What the issuer asked for.
        retry_after: Option<Duration>,
    },
}

/// A failed conversation with an issuer. Carries codes and lengths only.
#[derive(Clone, Debug)]
pub struct Error {
    /// What went wrong.
    pub kind: ErrorKind,
    /// The issuer's name in the configuration.
    pub issuer: Arc<str>,
    /// The length of the answer's body, where there was one.
    pub body_bytes: Option<usize>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Timeouts have a text that operators search for.
        let what = if self.kind == ErrorKind::Timeout {
            "OAuth token request timed out"
        } else {
            self.kind.as_str()
        };
        write!(f, "issuer \"{}\": {what}", self.issuer)
    }
}

impl std::error::Error for Error {}

impl ErrorKind {
    /// A stable reason, for answers, status and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidClient => "invalid_client",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidRequest => "invalid_request",
            Self::UnsupportedGrant => "unsupported_grant_type",
            Self::Refused { .. } => "refused",
            Self::ScopeEscalation => "scope_escalation",
            Self::ScopeReduced => "scope_reduced",
            Self::UnusableToken => "unusable_token",
            Self::Metadata => "metadata_refused",
            Self::NoCredential { .. } => "no_credential",
            Self::RateLimited { .. } => "rate_limited",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::AddressRefused => "address_refused",
            Self::Untrusted => "untrusted",
            Self::PinMismatch => "certificate_pin_mismatch",
            Self::Redirect => "redirect",
            Self::Unavailable { .. } => "unavailable",
            Self::InvalidResponse => "invalid_response",
        }
    }

    /// How long to wait, if somebody said.
    #[must_use]
    pub fn retry_after(self) -> Option<Duration> {
        match self.verdict() {
            Verdict::Transient { retry_after } => retry_after,
            Verdict::Terminal => None,
        }
    }

    /// What it means for the next attempt.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        match self {
            Self::InvalidClient
            | Self::UnauthorizedClient
            | Self::InvalidScope
            | Self::InvalidTarget
            | Self::InvalidGrant
            | Self::InvalidRequest
            | Self::UnsupportedGrant
            | Self::Refused { .. }
            | Self::ScopeEscalation
            | Self::ScopeReduced
            | Self::UnusableToken
            | Self::Metadata => Verdict::Terminal,
            Self::NoCredential { retry_after } => Verdict::Transient {
                retry_after: Some(retry_after),
            },
            Self::RateLimited { retry_after } | Self::Unavailable { retry_after, .. } => {
                Verdict::Transient { retry_after }
            }
            Self::Timeout
            | Self::Unreachable
            | Self::AddressRefused
            | Self::Untrusted
            | Self::PinMismatch
            | Self::Redirect
            | Self::InvalidResponse => Verdict::Transient { retry_after: None },
        }
    }

    /// What an operator should do about it, in one sentence.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::InvalidClient => {
                "The issuer refuses the client's credential: check the secret in the backend and the authentication method."
            }
            Self::UnauthorizedClient | Self::UnsupportedGrant => {
                "Allow the grant for this client at the issuer."
            }
            Self::InvalidScope | Self::ScopeReduced => {
                "Ask for scopes that the issuer gives this client."
            }
            Self::InvalidTarget => "Check the token's resource against what the issuer knows.",
            Self::InvalidGrant | Self::InvalidRequest | Self::Refused { .. } => {
                "The issuer refuses the request: compare the token's definition with the issuer's documentation."
            }
            Self::ScopeEscalation => {
                "The issuer granted more than was asked for; the token was discarded. Narrow the client at the issuer, or list the scopes."
            }
            Self::UnusableToken => "The issuer's token does not fit the configured format.",
            Self::Metadata => {
                "Metadata contradicts the configuration: check `issuer` (or give the endpoints one by one) and, with `verify_resource`, `resource`."
            }
            Self::NoCredential { .. } => {
                "The client's credential is not available: look at the backends in `claviger status`."
            }
            Self::RateLimited { .. } => {
                "Wait; the issuer or the local limit allows no more requests now."
            }
            Self::Timeout | Self::Unavailable { .. } => {
                "Wait; the issuer does not answer properly."
            }
            Self::Unreachable => {
                "Check that this node can reach the issuer, and with `verify_resource` the resource."
            }
            Self::AddressRefused => {
                "The issuer's name resolves to an address that is not allowed: check DNS, or allow the network for this issuer."
            }
            Self::Untrusted => "The issuer's certificate is not trusted: check `ca`.",
            Self::PinMismatch => {
                "The issuer's certificate has none of the pinned keys: verify it, then add its pin."
            }
            Self::Redirect => {
                "The endpoint redirects, which is never followed: configure its final address."
            }
            Self::InvalidResponse => {
                "The issuer's answer is not an OAuth answer: check the endpoint."
            }
        }
    }
}
