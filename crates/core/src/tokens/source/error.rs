//! Why an issuer gave no token.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use claviger_runtime::reason::{Detail, Reason, Reasoned};

/// What went wrong, by meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// `invalid_client`: the credential is refused.
    InvalidClient,
    /// 401 with `unauthorized_client`: the credential is refused (Keycloak), or the client may not use this grant.
    ClientRefused,
    /// `unauthorized_client`: the client may not use this grant.
    UnauthorizedClient,
    /// `invalid_scope`: the scopes are refused.
    InvalidScope,
    /// `invalid_target`: the resource is refused (RFC 8707).
    InvalidTarget,
    /// `invalid_grant`.
    InvalidGrant,
    /// `invalid_request`: the issuer does not understand the request.
    InvalidRequest,
    /// `unsupported_grant_type`.
    UnsupportedGrant,
    /// Another refusal with status 4xx, which no retry changes.
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// More scopes were granted than requested. The token was discarded.
    ScopeEscalation,
    /// Fewer scopes were granted than requested, and the configuration says to refuse that.
    ScopeReduced,
    /// The token is not one that can be used: empty, too long, not printable, of another format, of another type.
    UnusableToken,
    /// The answer has no `token_type`.
    MissingTokenType,
    /// The issuer has no metadata, or none that can be used.
    Metadata,
    /// The issuer's metadata names another issuer.
    IssuerMismatch,
    /// The issuer's metadata names an endpoint at `http://`.
    InsecureEndpoint,
    /// The issuer's metadata names no token endpoint.
    NoTokenEndpoint,
    /// A resource has no metadata, or one that does not name the resource and the issuer.
    ResourceMismatch,
    /// An HTML page where there must be JSON.
    HtmlPage,
    /// The client's id or credential is not available from its backend.
    NoCredential {
        /// The time until another attempt makes sense.
        retry_after: Duration,
    },
    /// 429, or our own limit towards this issuer.
    RateLimited {
        /// How long to wait, if the issuer or the limit says.
        retry_after: Option<Duration>,
    },
    /// No answer in time.
    Timeout,
    /// No connection in time, TLS handshake included.
    ConnectTimeout,
    /// The name does not resolve.
    NameNotResolved,
    /// The port is closed.
    ConnectionRefused,
    /// Another failure before there was a connection, for example no route.
    Unreachable,
    /// The proxy opened no tunnel.
    ProxyRefused,
    /// The name resolves to an address that the configuration does not allow, or metadata names one.
    AddressRefused,
    /// The port does not speak TLS.
    NotTls,
    /// The TLS handshake failed before the certificate was judged.
    HandshakeFailed,
    /// No trusted authority issued the certificate.
    Untrusted,
    /// The certificate is that of an authority, usually self-signed.
    SelfSigned,
    /// The certificate has expired, by this node's clock.
    CertificateExpired,
    /// The certificate is not valid yet, by this node's clock.
    CertificateNotYetValid,
    /// The certificate is for another name.
    NameMismatch,
    /// The certificate is malformed, revoked or not for a server.
    CertificateInvalid,
    /// The certificate is trusted but has none of the pinned keys.
    PinMismatch,
    /// A redirect, which is never followed.
    Redirect,
    /// 5xx, 408, or the connection was lost.
    Unavailable {
        /// The HTTP status; 0 if the connection was lost.
        status: u16,
        /// How long the issuer wants no request.
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
        /// What the issuer demands.
        retry_after: Option<Duration>,
    },
}

/// A failed conversation with an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What went wrong.
    pub kind: ErrorKind,
    /// The issuer's name in the configuration.
    pub issuer: Arc<str>,
    /// What it means for the next attempt: usually the verdict of the kind, but the source may know better.
    pub verdict: Verdict,
    /// The number of the client's newest credential when it failed, see [`super::CredentialState`].
    pub credential: u64,
    /// What it says beyond its kind.
    pub detail: Detail,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Timeouts have a text that operators search for.
        let what = if self.kind == ErrorKind::Timeout {
            "OAuth token request timed out"
        } else {
            self.kind.as_str()
        };
        write!(f, "issuer \"{}\": {what}", self.issuer)?;
        let detail = Reasoned::detail(self);
        if detail.is_empty() {
            Ok(())
        } else {
            write!(f, " ({detail})")
        }
    }
}

impl std::error::Error for Error {}

impl ErrorKind {
    /// The reason in lower case, for status and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.reason().label()
    }

    /// A detail with the HTTP status, where that says more than the reason.
    #[must_use]
    pub fn detail_with(self, detail: &Detail) -> Detail {
        let mut detail = detail.clone();
        if detail.fact.is_none()
            && let Some(status) = self.status()
        {
            detail.fact = Some(format!("HTTP {status}").into());
        }
        detail
    }

    /// The HTTP status, where it says more than the reason.
    fn status(self) -> Option<u16> {
        if let Self::Refused { status } | Self::Unavailable { status, .. } = self {
            (status != 0).then_some(status)
        } else {
            None
        }
    }

    /// How long to wait, if the issuer or the local limit says.
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
            | Self::ClientRefused
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
            | Self::MissingTokenType
            | Self::Metadata
            | Self::IssuerMismatch
            | Self::InsecureEndpoint
            | Self::NoTokenEndpoint
            | Self::ResourceMismatch => Verdict::Terminal,
            Self::NoCredential { retry_after } => Verdict::Transient {
                retry_after: Some(retry_after),
            },
            Self::RateLimited { retry_after } | Self::Unavailable { retry_after, .. } => {
                Verdict::Transient { retry_after }
            }
            Self::Timeout
            | Self::ConnectTimeout
            | Self::NameNotResolved
            | Self::ConnectionRefused
            | Self::Unreachable
            | Self::ProxyRefused
            | Self::AddressRefused
            | Self::NotTls
            | Self::HandshakeFailed
            | Self::Untrusted
            | Self::SelfSigned
            | Self::CertificateExpired
            | Self::CertificateNotYetValid
            | Self::NameMismatch
            | Self::CertificateInvalid
            | Self::PinMismatch
            | Self::Redirect
            | Self::HtmlPage
            | Self::InvalidResponse => Verdict::Transient { retry_after: None },
        }
    }
}

impl Reasoned for ErrorKind {
    fn reason(&self) -> Reason {
        match self {
            Self::InvalidClient => Reason::InvalidClient,
            Self::ClientRefused => Reason::ClientRefused,
            Self::UnauthorizedClient => Reason::UnauthorizedClient,
            Self::InvalidScope => Reason::InvalidScope,
            Self::InvalidTarget => Reason::InvalidTarget,
            Self::InvalidGrant => Reason::InvalidGrant,
            Self::InvalidRequest => Reason::IssuerInvalidRequest,
            Self::UnsupportedGrant => Reason::UnsupportedGrantType,
            Self::Refused { .. } => Reason::Refused,
            Self::ScopeEscalation => Reason::ScopeEscalation,
            Self::ScopeReduced => Reason::ScopeReduced,
            Self::UnusableToken => Reason::UnusableToken,
            Self::MissingTokenType => Reason::MissingTokenType,
            Self::Metadata => Reason::MetadataRefused,
            Self::IssuerMismatch => Reason::IssuerMismatch,
            Self::InsecureEndpoint => Reason::InsecureEndpoint,
            Self::NoTokenEndpoint => Reason::NoTokenEndpoint,
            Self::ResourceMismatch => Reason::ResourceMismatch,
            Self::HtmlPage => Reason::HtmlPage,
            Self::NoCredential { .. } => Reason::NoCredential,
            Self::RateLimited { .. } => Reason::IssuerLimited,
            Self::Timeout => Reason::Timeout,
            Self::ConnectTimeout => Reason::ConnectTimeout,
            Self::NameNotResolved => Reason::NameNotResolved,
            Self::ConnectionRefused => Reason::ConnectionRefused,
            Self::Unreachable => Reason::Unreachable,
            Self::ProxyRefused => Reason::ProxyRefused,
            Self::AddressRefused => Reason::AddressRefused,
            Self::NotTls => Reason::NotTls,
            Self::HandshakeFailed => Reason::TlsHandshakeFailed,
            Self::Untrusted => Reason::Untrusted,
            Self::SelfSigned => Reason::CertificateSelfSigned,
            Self::CertificateExpired => Reason::CertificateExpired,
            Self::CertificateNotYetValid => Reason::CertificateNotYetValid,
            Self::NameMismatch => Reason::CertificateNameMismatch,
            Self::CertificateInvalid => Reason::CertificateInvalid,
            Self::PinMismatch => Reason::CertificatePinMismatch,
            Self::Redirect => Reason::Redirect,
            Self::Unavailable { .. } => Reason::Unavailable,
            Self::InvalidResponse => Reason::InvalidResponse,
        }
    }
}

impl Reasoned for Error {
    fn reason(&self) -> Reason {
        self.kind.reason()
    }

    fn detail(&self) -> Detail {
        self.kind.detail_with(&self.detail)
    }
}
