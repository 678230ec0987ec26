//! The engine behind the port of the token cache.
//!
//! Owns the implementation of [`TokenSource`] by [`TokenClient`]; the cache asks, and this room passes it on.

use async_trait::async_trait;
use claviger_backend::Secret;
use claviger_core::tokens::source::{NeedsCredential, TokenSource};
use claviger_oauth_wire::Scopes;

use crate::{Error, Issued, Revocation, TokenClient};

impl NeedsCredential for TokenClient {
    fn has_credential(&self) -> bool {
        Self::has_credential(self)
    }
}

#[async_trait]
impl TokenSource for TokenClient {
    async fn obtain(&self, scopes: &Scopes) -> Result<Issued, Error> {
        Self::obtain(self, scopes).await
    }

    async fn obtain_early(&self, scopes: &Scopes) -> Result<Issued, Error> {
        Self::obtain_early(self, scopes).await
    }

    async fn revoke(&self, token: &Secret) -> Revocation {
        Self::revoke(self, token).await
    }

    fn credential(&self) -> u64 {
        Self::credential(self)
    }
}
