//! What a token is asked for, and how urgently.
//!
//! Owns [`Ask`], which is also the key of the cache within one definition: two requests share a token only if every field is
//! equal. What the definition decides (issuer, client, grant, resource, audience, environment) is the same for all its asks and
//! is not repeated here.

use claviger_oauth_wire::Scopes;

/// One kind of token of a definition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ask {
    /// The scopes; an empty set asks for the issuer's default (RFC 6749 §3.3).
    pub scopes: Scopes,
    /// On whose behalf the token acts.
    pub subject: Subject,
    /// What a caller must prove to use the token.
    pub binding: Binding,
}

impl Ask {
    /// A bearer token with these scopes for the client itself.
    #[must_use]
    pub const fn client(scopes: Scopes) -> Self {
        Self {
            scopes,
            subject: Subject::Client,
            binding: Binding::Bearer,
        }
    }
}

/// On whose behalf a token acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The client itself (RFC 6749 §4.4).
    Client,
}

/// What a caller must prove to use a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binding {
    /// Nothing: possession is enough (RFC 6750).
    Bearer,
}

impl Binding {
    /// The `token_type` (RFC 6749 §7.1), in the spelling of its registration.
    #[must_use]
    pub const fn token_type(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
        }
    }
}

/// Why a token is asked for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// A good token is cached, and a caller wishes for a newer one. Leaves part of the client's rate limit to tokens that are
    /// needed.
    Early,
    /// No token is cached, or its renewal is due.
    Needed,
    /// An operator ordered it. Also reads the client's credential again first, and asks although the issuer's breaker is open.
    Ordered,
}
