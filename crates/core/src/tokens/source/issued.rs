//! What an issuer returned.

use std::time::Duration;

use claviger_backend::Secret;

use super::{Binding, Error};
use claviger_oauth_wire::Scopes;
use claviger_runtime::clock::{Deadline, Moment};

/// An access token fresh from an issuer.
#[derive(Debug)]
pub struct Issued {
    /// The token.
    pub access_token: Secret,
    /// What a caller must prove to use it.
    pub binding: Binding,
    /// The scopes that the issuer granted.
    pub scopes: Scopes,
    /// When the request was sent. The lifetime counts from here.
    pub sent: Moment,
    /// How long it lives, counted from `sent` and clamped.
    pub lifetime: Duration,
    /// When it expires: `sent` + `lifetime`, on both clocks.
    pub expires: Deadline,
    /// When the issuer wants it renewed, counted from `sent`, if it said so.
    pub refresh_in: Option<Duration>,
    /// The number of the client's newest credential when the token was issued, see [`super::CredentialState`].
    pub credential: u64,
}

/// The outcome of a revocation (RFC 7009).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// The issuer confirmed it, or the token was invalid already.
    Revoked,
    /// The issuer has no revocation endpoint, or cannot revoke such tokens.
    Unsupported,
    /// The issuer answered with an error.
    Refused(Error),
    /// The issuer could not be asked.
    Failed(Error),
}
