//! The proof of a credential: a real token.
//!
//! Owns the one request that shows that an identifier and a secret belong together and are good. It is sent as the daemon
//! would send it, by the same engine and the same definition of the token. The token is wiped at once and not revoked: some
//! issuers revoke with one token all that a client has.

use std::sync::Arc;

use claviger_backend::SecretRef;

use crate::config::Config;
use crate::import::choice::Choice;
use crate::import::error::Error;
use claviger_core::secrets::Live;
use claviger_oauth::{Credential, Issuer, TokenClient};
use claviger_runtime::clock::Clock;

/// Asks the issuer for a token with a credential that is among `values`; `is_doubtful` if they may have been meant otherwise.
pub(super) async fn prove(
    config: &Config,
    choice: &Choice<'_>,
    values: &[Live],
    is_doubtful: bool,
    clock: Arc<dyn Clock>,
) -> Result<(), Error> {
    let client = choice.client;
    let mut issuers = config.issuers.iter();
    let settings = issuers.find(|issuer| issuer.name == client.issuer);
    let settings = settings.ok_or(Error::Internal)?;
    let issuer = Issuer::new(settings.clone(), clock).map_err(Error::Issuer)?;
    let live = |reference: &SecretRef| {
        let mut all = values.iter();
        all.find(|value| value.reference() == reference).cloned()
    };
    let credential = Credential::new(client, live).ok_or(Error::Internal)?;
    let token = choice.token;
    let asking = TokenClient::new(Arc::new(issuer), client, token.clone(), credential);
    let granted = asking.obtain(&token.scopes).await;
    granted.map(drop).map_err(|source| Error::Refused {
        source,
        is_doubtful,
    })
}
