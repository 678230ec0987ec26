//! The port behind which tokens are obtained.
//!
//! Owns what the cache needs to know of the conversation with an issuer: the trait that obtains a token, what it returns, and
//! why it failed. The OAuth engine implements the trait; the cache never imports the engine, so this room can be compiled and
//! tested without HTTP, TLS or a resolver. Next: `entry` (who calls it), `land` (what an answer does).

mod error;
mod identity;
mod issued;

use std::fmt::Debug;

use async_trait::async_trait;
use claviger_backend::Secret;

use claviger_oauth_wire::Scopes;

pub use error::{Error, ErrorKind, Verdict};
pub use identity::{Identity, SameAs};
pub use issued::{Issued, Revocation};

/// Something that needs a client's credential.
pub trait NeedsCredential: Debug + Send + Sync {
    /// Whether it is held, so that the issuer could be asked. Must not wait.
    fn has_credential(&self) -> bool;
}

/// Obtains tokens for one definition.
#[async_trait]
pub trait TokenSource: NeedsCredential {
    /// Asks the issuer for a token with `scopes`; an empty set asks for the issuer's default. Ends within half a minute.
    ///
    /// # Errors
    /// Why there is none. The verdict of its kind decides when it is asked again.
    async fn obtain(&self, scopes: &Scopes) -> Result<Issued, Error>;

    /// The same while a good token is held whose renewal is not due. Must not keep others from tokens that they need.
    ///
    /// # Errors
    /// As [`TokenSource::obtain`].
    async fn obtain_early(&self, scopes: &Scopes) -> Result<Issued, Error>;

    /// Asks the issuer to revoke a token (RFC 7009).
    async fn revoke(&self, token: &Secret) -> Revocation;

    /// A number that changes when the client's credential does, and only then: the source of the next configuration gives
    /// the same number for the same credential. A change lifts what was remembered of failures, and has tokens renewed that
    /// were obtained with the credential before. Must not wait.
    fn credential(&self) -> u64;
}
