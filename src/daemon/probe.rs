//! Asking every backend and issuer of a configuration whether it would do its part. For `claviger check`.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::sync::Arc;

use claviger_backend::{BackendError, Kind, SecretRef};

use crate::config::Config;
use crate::daemon::environments;
use crate::registry::Backends;
use claviger_core::rotation::{self, Mark};
use claviger_core::secrets;
use claviger_oauth::{ErrorKind, Issuer, IssuerSettings};
use claviger_runtime::clock::Clock;

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
    /// Whether the daemon is not ready without it.
    pub needed: bool,
    /// What was found, or what is wrong and what to do.
    pub outcome: Result<String, String>,
    /// The mark that it must be rotated now, if it is a client's secret and its current version has one.
    pub mark: Option<Mark>,
}

impl Probe {
    fn unmarked(subject: String, needed: bool, outcome: Result<String, String>) -> Self {
        Self {
            subject,
            needed,
            outcome,
            mark: None,
        }
    }
}

/// Asks all of them. Reads the secrets that the configuration refers to, and forgets them at once.
pub async fn probe(config: &Config, backends: &Backends, clock: Arc<dyn Clock>) -> Vec<Probe> {
    let mut probes = Vec::new();
    for (name, source) in backends.sources() {
        let outcome = source.probe().await;
        probes.push(Probe::unmarked(
            format!("backend {name}"),
            true,
            outcome
                .map(|()| "answers".to_owned())
                .map_err(|error| told(&error)),
        ));
    }
    for held in config.references() {
        probes.push(Probe {
            subject: format!("secret {}", held.reference),
            needed: true,
            outcome: secret(backends, &held.reference).await,
            mark: mark(config, backends, &held.reference).await,
        });
    }
    for problem in environments::shared(config, &backends.sources()).await {
        probes.push(Probe::unmarked(
            "environments".to_owned(),
            true,
            Err(problem),
        ));
    }
    for settings in &config.issuers {
        let issuer = Issuer::new(IssuerSettings::clone(settings), Arc::clone(&clock));
        let outcome = match &issuer {
            Ok(issuer) => match issuer.discover().await {
                Ok(()) => Ok("endpoints known".to_owned()),
                Err(error) => Err(format!("{}: {}", error.kind.as_str(), error.kind.remedy())),
            },
            Err(error) => Err(error.to_string()),
        };
        probes.push(Probe::unmarked(
            format!("issuer {}", settings.name),
            false,
            outcome,
        ));
        let Ok(issuer) = issuer else { continue };
        for resource in verified(config, &settings.name) {
            probes.push(Probe::unmarked(
                format!("resource {resource}"),
                false,
                vouched(&issuer, resource).await,
            ));
        }
    }
    probes
}

/// Whether a resource names the issuer. What is wrong is wrong with the resource, so the issuer's error is put in its words.
async fn vouched(issuer: &Issuer, resource: &str) -> Result<String, String> {
    let name = issuer.name();
    let Err(error) = issuer.verify_resource(resource).await else {
        return Ok(format!("takes tokens of issuer {name}"));
    };
    if error.kind == ErrorKind::Metadata {
        return Err(format!(
            "it has no metadata (RFC 9728) that names exactly this resource and issuer {name}; put it right there, or the configuration"
        ));
    }
    let reason = error.kind.as_str();
    Err(format!("its metadata cannot be read: {reason}"))
}

/// The resources that must name this issuer, once each.
fn verified<'a>(config: &'a Config, issuer: &str) -> BTreeSet<&'a str> {
    config
        .tokens
        .iter()
        .filter(|token| token.verify_resource && *token.client.issuer.name == *issuer)
        .flat_map(|token| token.resources.iter().map(String::as_str))
        .collect()
}

/// What a backend said, with its cause, and what to do.
fn told(error: &BackendError) -> String {
    let kind = error.kind.as_str();
    let cause = error.source().map(|cause| format!(" ({cause})"));
    let remedy = secrets::remedy(error.kind);
    format!("{kind}{}: {remedy}", cause.unwrap_or_default())
}

async fn secret(backends: &Backends, reference: &SecretRef) -> Result<String, String> {
    let sources = backends.sources();
    let source = sources
        .get(&reference.backend)
        .ok_or("its backend is not configured")?;
    let fetched = source
        .fetch(&reference.name, &reference.version)
        .await
        .map_err(|error| told(&error))?;
    let value = secrets::pick_one(&fetched.value, reference.field.as_ref()).map_err(|kind| {
        if kind == Kind::NotFound {
            "the value has no such field".to_owned()
        } else {
            "is empty, or has no fields because it is no JSON object".to_owned()
        }
    })?;
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
    Ok(format!(
        "version {}, {} bytes",
        fetched.version,
        value.len()
    ))
}

/// The mark of a client's secret, if it is about the current version. What cannot be read is told by the other probes.
async fn mark(config: &Config, backends: &Backends, reference: &SecretRef) -> Option<Mark> {
    let is_of_client = config
        .clients
        .iter()
        .any(|client| client.auth.secret() == reference);
    let backend = backends.get(&reference.backend).filter(|_| is_of_client)?;
    let register = backend.register.as_ref()?;
    let mark = rotation::find(&**register, &reference.name).await.ok()??;
    let source = &backend.secrets;
    let current = source.fetch(&reference.name, &reference.version).await;
    (current.ok()?.version == mark.version).then_some(mark)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_resources_of_an_issuer_are_asked_once_each_where_that_is_wanted() {
        let mut text =
            "[backends.b]\ntype = 'file'\ndirectory = '/d'\nkey_file = '/k'\n".to_owned();
        for name in ["one", "two"] {
            text.extend([format!(
                "[issuers.{name}]\nissuer = 'https://{name}.example'\n\
                 [clients.{name}]\nissuer = '{name}'\nid = {{ literal = '{name}' }}\n\
                 auth = {{ method = 'client_secret_basic', secret = 'b:{name}' }}\n"
            )]);
        }
        let tokens = [
            ("a", "one", "true", "https://x.example"),
            ("b", "one", "true", "https://x.example', 'https://y.example"),
            ("c", "one", "false", "https://z.example"),
            ("d", "two", "true", "https://v.example"),
        ];
        for (name, client, verify, resources) in tokens {
            text.extend([format!(
                "[tokens.{name}]\nclient = '{client}'\ngrant = 'client_credentials'\n\
                 verify_resource = {verify}\nresource = ['{resources}']\n"
            )]);
        }
        let config = Config::parse(&text, Path::new("claviger.toml"));
        let config = config.unwrap_or_else(|problems| panic!("{problems}"));
        let asked = |issuer| Vec::from_iter(verified(&config, issuer));
        assert_eq!(asked("one"), ["https://x.example", "https://y.example"]);
        assert_eq!(asked("two"), ["https://v.example"]);
    }
}
