//! How a token is requested.
//!
//! Owns the family of grants, one module for each: the form of its request (RFC 6749 §4), and whether that request may be sent
//! again when it is not known whether the issuer received it.
//!
//! Pure: sends nothing, and knows no credential. Next: `proof`, which authenticates the request; `client`, which sends it.

mod client_credentials;

use crate::{ErrorKind, Grant, TokenSettings};
use claviger_core::tokens::source::Ask;
use claviger_oauth_wire::request::Form;

/// The request for `token` as `ask` wants it, without client authentication.
///
/// # Errors
/// If the token's settings cannot express it; then no request is made.
pub(crate) fn form(token: &TokenSettings, ask: &Ask) -> Result<Form, ErrorKind> {
    match token.grant {
        Grant::ClientCredentials => client_credentials::form(token, &ask.scopes),
    }
}

impl Grant {
    /// Whether a request that may have reached the issuer can be sent again without harm. False for a grant that consumes what
    /// it presents: a code, or a refresh token that rotates (RFC 9700 §4.14.2).
    pub(crate) const fn may_be_repeated(self) -> bool {
        match self {
            Self::ClientCredentials => true,
        }
    }
}
