//! How a client authenticates at an issuer.
//!
//! Owns the family of proofs, one type for each method. A proof adds exactly one mechanism (RFC 6749 §2.3) to one request: a
//! header, fields of the form, later a signature. It may wait, because a signature may be made elsewhere.
//!
//! The values it uses belong to one version of the client's credential and are borrowed for the call; a proof never keeps one.
//! Next: `request`, which carries it; `credential`, which picks the version.

mod basic;
mod post;

use std::fmt::Debug;

use async_trait::async_trait;

use crate::request::FormRequest;
use crate::values::Values;
use crate::{AuthMethod, ErrorKind};

/// Adds client authentication to requests.
#[async_trait]
pub(crate) trait Proof: Debug + Send + Sync {
    /// The name of the method in metadata (RFC 8414 §2, `token_endpoint_auth_methods_supported`).
    fn method(&self) -> &'static str;

    /// Adds the proof. Called for every attempt, because a proof may be valid only once.
    ///
    /// # Errors
    /// Why no proof can be made.
    async fn prove(&self, request: &mut FormRequest, values: &Values) -> Result<(), ErrorKind>;
}

/// The proof that a client is configured with.
pub(crate) fn of(method: &AuthMethod) -> Box<dyn Proof> {
    match method {
        AuthMethod::Basic { encoding, .. } => Box::new(basic::Basic {
            encoding: *encoding,
        }),
        AuthMethod::Post { .. } => Box::new(post::Post),
    }
}
