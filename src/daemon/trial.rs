//! Requests a token of a configuration once, for `claviger check --token`.
//!
//! Owns that request: with the credential fetched from its backend and nothing cached, as the daemon's first one. The token
//! is zeroed and not revoked: some issuers revoke all tokens of a client with one. Next: `probe`, which spends no request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::daemon::probe::{self, Finding, Probe, ProbeError};
use crate::registry::Backends;
use claviger_core::secrets::Live;
use claviger_core::tokens::source::{Ask, TokenSource as _, Urgency};
use claviger_oauth::{Credential, Issuer, IssuerSettings, TokenClient, TokenSettings};
use claviger_runtime::clock::Clock;

/// Requests the token that `token` describes.
pub(crate) async fn trial(
    token: &TokenSettings,
    backends: &Backends,
    clock: Arc<dyn Clock>,
) -> Probe {
    let outcome = request(token, backends, clock).await;
    Probe::unmarked(format!("token {}", token.name), false, outcome)
}

async fn request(
    token: &TokenSettings,
    backends: &Backends,
    clock: Arc<dyn Clock>,
) -> Result<Finding, ProbeError> {
    let settings = &token.client.issuer;
    let issuer = Issuer::new(IssuerSettings::clone(settings), Arc::clone(&clock))
        .map_err(ProbeError::Setup)?;
    let mut values = BTreeMap::new();
    for reference in token.client.references() {
        let (value, version) = probe::fetch(backends, reference).await?;
        let live = Live::fixed(reference.clone(), value, version);
        values.insert(reference.clone(), live);
    }
    let credential = Credential::new(&token.client, |reference| {
        let absent = || Live::missing(reference.clone(), clock.now().after(Duration::ZERO));
        values.get(reference).map_or_else(absent, Live::clone)
    });
    let client = TokenClient::new(Arc::new(issuer), token.clone(), credential);
    let ask = Ask::client(token.scopes.clone());
    let granted = client
        .obtain(&ask, Urgency::Needed)
        .await
        .map_err(ProbeError::Issuer)?;
    Ok(Finding::Token {
        lifetime: granted.lifetime,
        scopes: granted.scopes,
    })
}
