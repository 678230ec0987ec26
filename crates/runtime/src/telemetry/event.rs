//! Security events: log records that an operator should have an alert for.
//!
//! Owns their names. Each record has the target [`EVENTS`] and the field `event_type` with one of these names, which are part
//! of the interface; the other fields are defined where the event is logged. `docs/events.md` lists the events, and a test
//! compares it with this list.

/// The target of log records that are security events.
pub const EVENTS: &str = "claviger::event";

/// The type of a security event. Closed: no other record has the target [`EVENTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An issuer's certificate has none of the pinned keys.
    CertificatePinMismatch,
    /// A reload changed the configuration.
    ConfigChanged,
    /// An issuer's clock differs from this node's.
    IssuerClockSkew,
    /// An issuer's metadata has changed.
    IssuerMetadataChanged,
    /// An issuer refuses a client's current credential and accepts the previous one.
    PreviousCredentialUsed,
    /// A resource's metadata contradicts the configuration.
    ResourceMismatch,
    /// An issuer did not revoke a token that a caller wanted revoked.
    RevocationFailed,
    /// An issuer granted more scopes than requested.
    ScopeEscalationAttempt,
    /// An issuer granted fewer scopes than requested.
    ScopeReduced,
    /// A secret's value was released to a peer for the first time.
    SecretReleased,
    /// An issuer returned a token that is too short to be safe.
    SuspiciousActivity,
    /// An issuer returned an already expired token.
    TokenNotCacheable,
    /// A token was released to a peer for the first time.
    TokenReleased,
    /// An issuer revoked a token on a caller's behalf.
    TokenRevoked,
}

impl Event {
    /// All events, by name.
    pub const ALL: [Self; 14] = [
        Self::CertificatePinMismatch,
        Self::ConfigChanged,
        Self::IssuerClockSkew,
        Self::IssuerMetadataChanged,
        Self::PreviousCredentialUsed,
        Self::ResourceMismatch,
        Self::RevocationFailed,
        Self::ScopeEscalationAttempt,
        Self::ScopeReduced,
        Self::SecretReleased,
        Self::SuspiciousActivity,
        Self::TokenNotCacheable,
        Self::TokenReleased,
        Self::TokenRevoked,
    ];

    /// The value of the field `event_type`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CertificatePinMismatch => "certificate_pin_mismatch",
            Self::ConfigChanged => "config_changed",
            Self::IssuerClockSkew => "issuer_clock_skew",
            Self::IssuerMetadataChanged => "issuer_metadata_changed",
            Self::PreviousCredentialUsed => "previous_credential_used",
            Self::ResourceMismatch => "resource_mismatch",
            Self::RevocationFailed => "revocation_failed",
            Self::ScopeEscalationAttempt => "scope_escalation_attempt",
            Self::ScopeReduced => "scope_reduced",
            Self::SecretReleased => "secret_released",
            Self::SuspiciousActivity => "suspicious_activity",
            Self::TokenNotCacheable => "token_not_cacheable",
            Self::TokenReleased => "token_released",
            Self::TokenRevoked => "token_revoked",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_every_event() {
        let page = include_str!("../../../../docs/events.md");
        let listed: Vec<_> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(listed, Event::ALL.map(Event::name));
    }
}
