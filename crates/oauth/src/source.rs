//! The engine behind the port of the token cache.
//!
//! Owns the implementation of [`TokenSource`] by [`TokenClient`], and nothing else.

use async_trait::async_trait;
use claviger_backend::Secret;
use claviger_core::tokens::source::{Ask, CredentialState, TokenSource, Urgency};

use crate::{Error, Issued, Revocation, TokenClient};

#[async_trait]
impl TokenSource for TokenClient {
    async fn obtain(&self, ask: &Ask, urgency: Urgency) -> Result<Issued, Error> {
        self.request(ask, urgency).await
    }

    async fn revoke(&self, token: &Secret) -> Revocation {
        self.request_revocation(token).await
    }

    fn credential(&self) -> CredentialState {
        self.credential_state()
    }
}
