//! The port behind which tokens are obtained.
//!
//! Owns what the cache needs to know of the conversation with an issuer: the trait that obtains a token, what is asked for,
//! what is returned, and why it failed. The OAuth engine implements the trait; the cache never imports the engine, so this
//! room can be compiled and tested without HTTP, TLS or a resolver. Next: `request` (the caller), `land` (what an answer does).

mod ask;
mod error;
mod identity;
mod issued;

use std::fmt::Debug;

use async_trait::async_trait;
use claviger_backend::Secret;

pub use ask::{Ask, Binding, Subject, Urgency};
pub use error::{Error, ErrorKind, Verdict};
pub use identity::{Identity, SameAs};
pub use issued::{Issued, Revocation};

/// The credential of a client, as far as the cache needs to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialState {
    /// Changes when the credential does, and only then: the source of the next configuration gives the same number for the
    /// same credential. While none is cached it is the last number, or 0.
    pub number: u64,
    /// Whether the credential is cached, so that a request could be sent.
    pub is_available: bool,
}

/// Obtains tokens for one definition.
#[async_trait]
pub trait TokenSource: Debug + Send + Sync {
    /// Requests a token from the issuer. Ends within half a minute.
    ///
    /// # Errors
    /// Why there is none. The error's verdict decides when the issuer is asked again.
    async fn obtain(&self, ask: &Ask, urgency: Urgency) -> Result<Issued, Error>;

    /// Asks the issuer to revoke a token (RFC 7009).
    async fn revoke(&self, token: &Secret) -> Revocation;

    /// The client's credential. A change lifts remembered failures, and tokens that were obtained with the credential before
    /// are renewed. Must not wait.
    fn credential(&self) -> CredentialState;
}
