//! The proof of a credential: a real token.
//!
//! Owns the one request that shows that an identifier and a secret belong together and are good. It is sent as the daemon
//! would send it, by the same engine and the same definition of the token. The token is wiped at once and not revoked: some
//! issuers revoke with one token all that a client has.

use std::sync::Arc;
use std::time::Duration;

use crate::import::choice::Choice;
use crate::import::error::Error;
use claviger_core::secrets::Live;
use claviger_oauth::{Credential, Issuer, IssuerSettings, TokenClient};
use claviger_runtime::clock::Clock;

/// Asks the issuer for a token with a credential that is among `values`; `is_doubtful` if they may have been meant otherwise.
pub(super) async fn prove(
    choice: &Choice<'_>,
    values: &[Live],
    is_doubtful: bool,
    clock: Arc<dyn Clock>,
) -> Result<(), Error> {
    let (token, client) = (choice.token, choice.client);
    let issuer = Issuer::new(IssuerSettings::clone(&client.issuer), Arc::clone(&clock))
        .map_err(Error::Issuer)?;
    let credential = Credential::new(client, |reference| {
        let value = values.iter().find(|value| value.reference() == reference);
        value.map_or_else(
            || Live::missing(reference.clone(), clock.now().after(Duration::ZERO)),
            Live::clone,
        )
    });
    let asking = TokenClient::new(Arc::new(issuer), token.clone(), credential);
    let granted = asking.obtain(&token.scopes).await;
    granted.map(drop).map_err(|source| Error::Refused {
        source,
        is_doubtful,
    })
}
