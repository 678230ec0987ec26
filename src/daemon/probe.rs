//! Asking every backend and issuer of a configuration whether it would do its part. For `claviger check`.

use std::collections::BTreeSet;
use std::sync::Arc;

use claviger_backend::SecretRef;

use crate::clock::Clock;
use crate::config::Config;
use crate::oauth::{self, Issuer, TokenSettings};
use crate::registry::Backends;

/// Values that people leave in place of a secret.
const PLACEHOLDERS: [&str; 8] = [
    "your-client-secret-here",
    "your-client-id-here",
    "changeme",
    "change-me",
    "placeholder",
    "secret",
    "password",
    "todo",
];

/// What one subject answered.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Who was asked, for example `backend prod` or `issuer acme`.
    pub subject: String,
    /// What was found, or what is wrong.
    pub outcome: Result<String, String>,
}

/// Asks all of them. Reads the secrets that the configuration refers to, and forgets them at once.
pub async fn probe(config: &Config, backends: &Backends, clock: Arc<dyn Clock>) -> Vec<Probe> {
    let mut probes = Vec::new();
    for (name, source) in backends.sources() {
        let outcome = source.probe().await;
        probes.push(Probe {
            subject: format!("backend {name}"),
            outcome: outcome
                .map(|()| "answers".to_owned())
                .map_err(|error| error.to_string()),
        });
    }
    for held in config.references() {
        probes.push(Probe {
            subject: format!("secret {}", held.reference),
            outcome: secret(backends, &held.reference).await,
        });
    }
    for settings in &config.issuers {
        let issuer = Issuer::new(settings.clone(), Arc::clone(&clock));
        let outcome = match &issuer {
            Ok(issuer) => said(issuer.discover().await, "endpoints known"),
            Err(error) => Err(error.to_string()),
        };
        probes.push(Probe {
            subject: format!("issuer {}", settings.name),
            outcome,
        });
        let Ok(issuer) = issuer else { continue };
        for resource in verified(config, &settings.name) {
            probes.push(Probe {
                subject: format!("resource {resource}"),
                outcome: said(issuer.verify_resource(resource).await, "names the issuer"),
            });
        }
    }
    probes
}

fn said(outcome: Result<(), oauth::Error>, good: &str) -> Result<String, String> {
    outcome
        .map(|()| good.to_owned())
        .map_err(|error| format!("{error}: {}", error.kind.remedy()))
}

/// The resources that must name this issuer, once each.
fn verified<'a>(config: &'a Config, issuer: &str) -> BTreeSet<&'a str> {
    let of_issuer = |token: &&TokenSettings| {
        let mut clients = config.clients.iter();
        token.verify_resource
            && clients.any(|client| client.name == token.client && *client.issuer == *issuer)
    };
    let tokens = config.tokens.iter().filter(of_issuer);
    tokens
        .flat_map(|token| token.resources.iter().map(String::as_str))
        .collect()
}

async fn secret(backends: &Backends, reference: &SecretRef) -> Result<String, String> {
    let sources = backends.sources();
    let source = sources
        .get(&reference.backend)
        .ok_or("its backend is not configured")?;
    let fetched = source
        .fetch(&reference.name, &reference.version)
        .await
        .map_err(|error| error.to_string())?;
    let value = crate::secrets::pick_one(&fetched.value, reference.field.as_ref())
        .map_err(|kind| format!("the field cannot be read: {}", kind.as_str()))?;
    #[expect(
        clippy::disallowed_methods,
        reason = "compares with known placeholders and forgets it"
    )]
    let placeholder = PLACEHOLDERS
        .iter()
        .any(|placeholder| value.expose().eq_ignore_ascii_case(placeholder.as_bytes()));
    if placeholder {
        return Err("holds a placeholder instead of a secret; put the real value".to_owned());
    }
    if value.is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(format!(
        "version {}, {} bytes",
        fetched.version,
        value.len()
    ))
}
