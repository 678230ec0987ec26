//! What can be asked for.

use claviger_runtime::telemetry::Event;

/// What was asked for, in records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A token.
    GetToken,
    /// A token, and each newer one.
    WatchToken,
    /// A report that a resource server rejected a token.
    ReportRejected,
    /// The revocation of a token.
    RevokeToken,
    /// A secret's value.
    GetSecret,
    /// A secret's value, and each newer one.
    WatchSecret,
    /// What the daemon knows of itself.
    Status,
    /// Which tokens can be served.
    Readiness,
    /// What issuers and resources publish.
    Metadata,
    /// Why policy decides as it does.
    Explain,
    /// That secrets, tokens and metadata be fetched anew.
    Refresh,
    /// That the configuration be read again.
    Reload,
}

impl Operation {
    /// Every operation, in the order of their discriminants.
    pub(super) const ALL: [Self; 12] = [
        Self::GetToken,
        Self::WatchToken,
        Self::ReportRejected,
        Self::RevokeToken,
        Self::GetSecret,
        Self::WatchSecret,
        Self::Status,
        Self::Readiness,
        Self::Metadata,
        Self::Explain,
        Self::Refresh,
        Self::Reload,
    ];

    /// The word for it in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GetToken => "get_token",
            Self::WatchToken => "watch_token",
            Self::ReportRejected => "report_rejected",
            Self::RevokeToken => "revoke_token",
            Self::GetSecret => "get_secret",
            Self::WatchSecret => "watch_secret",
            Self::Status => "status",
            Self::Readiness => "readiness",
            Self::Metadata => "metadata",
            Self::Explain => "explain",
            Self::Refresh => "refresh",
            Self::Reload => "reload",
        }
    }

    /// Whether only operators may ask for it.
    #[must_use]
    pub fn is_operators(self) -> bool {
        match self {
            Self::GetToken
            | Self::WatchToken
            | Self::ReportRejected
            | Self::RevokeToken
            | Self::GetSecret
            | Self::WatchSecret => false,
            Self::Status
            | Self::Readiness
            | Self::Metadata
            | Self::Explain
            | Self::Refresh
            | Self::Reload => true,
        }
    }

    /// Whether it changes something, so that it is done once and cannot be undone.
    pub(crate) fn changes(self) -> bool {
        match self {
            Self::ReportRejected | Self::RevokeToken | Self::Refresh | Self::Reload => true,
            Self::GetToken
            | Self::WatchToken
            | Self::GetSecret
            | Self::WatchSecret
            | Self::Status
            | Self::Readiness
            | Self::Metadata
            | Self::Explain => false,
        }
    }

    /// The event of a first release. A watch releases the same things as a single request.
    pub(super) fn event(self) -> Event {
        if matches!(self, Self::GetSecret | Self::WatchSecret) {
            Event::SecretReleased
        } else {
            Event::TokenReleased
        }
    }
}
