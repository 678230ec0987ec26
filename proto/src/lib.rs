//! The wire messages and services of claviger: package `claviger.v1`.
//!
//! Owns the `.proto` files of this crate and the code generated from them, which is committed so that a build needs no `protoc`
//! and a change of the API is a readable diff. Contains no behavior. Messages that carry a credential have no derived `Debug`;
//! the implementations here print lengths only.
//!
//! Regenerate with `CLAVIGER_REGENERATE=1 cargo test -p claviger-proto`. Inside the daemon only `server` and `cli` use this
//! crate: wire types stop there.

#![forbid(unsafe_code)]

use std::fmt;

/// The package `claviger.v1`.
#[rustfmt::skip] // A test compares the file with the generator's output, byte for byte.
#[path = "gen/claviger.v1.rs"]
#[allow(
    clippy::pedantic,
    clippy::allow_attributes,
    missing_docs,
    reason = "generated code"
)]
pub mod v1;

/// The compiled descriptors of the package, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/claviger.v1.bin");

/// The header that every request must carry, with [`REQUEST_HEADER_VALUE`]; a browser or a server abused for request forgery
/// does not set it.
pub const REQUEST_HEADER: &str = "claviger-request";

/// The value of [`REQUEST_HEADER`].
pub const REQUEST_HEADER_VALUE: &str = "true";

impl fmt::Debug for v1::GetTokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetTokenResponse")
            .field(
                "access_token",
                &format_args!("[{} bytes]", self.access_token.len()),
            )
            .field("token_type", &self.token_type)
            .field("expires_at", &self.expires_at)
            .field("lifetime_left", &self.lifetime_left)
            .field("freshness", &self.freshness)
            .field("scopes", &self.scopes)
            .field("generation", &self.generation)
            .field("fingerprint", &self.fingerprint)
            .finish()
    }
}

impl fmt::Debug for v1::GetSecretResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetSecretResponse")
            .field("value", &format_args!("[{} bytes]", self.value.len()))
            .field("version", &self.version)
            .field("generation", &self.generation)
            .field("confirmed_at", &self.confirmed_at)
            .field("age", &self.age)
            .field("freshness", &self.freshness)
            .field("lifetime_left", &self.lifetime_left)
            .finish()
    }
}
