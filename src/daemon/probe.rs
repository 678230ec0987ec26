//! Probes every backend and issuer of a configuration, for `claviger check`.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use claviger_backend::{
    BackendError, BackendName, Kind, Secret, SecretRef, SecretSource, VersionId,
};
use futures_util::future::join_all;

use crate::config::{self, Config, HeldReference};
use crate::daemon::environments::{self, SharedClient};
use crate::registry::{self, Backends};
use claviger_core::rotation::{self, Mark};
use claviger_core::secrets;
use claviger_oauth::{Issuer, IssuerSettings, SetupError};
use claviger_oauth_wire::Scopes;
use claviger_runtime::clock::Clock;
use claviger_runtime::reason::{Exit, Reasoned as _, advice};
use claviger_runtime::telemetry::Causes;

/// The result for one subject.
#[derive(Debug)]
pub(crate) struct Probe {
    /// What was probed, for example `backend prod` or `issuer acme`.
    pub(crate) subject: String,
    /// Whether the daemon needs it to be ready.
    pub(crate) needed: bool,
    /// What was found.
    pub(crate) outcome: Result<Finding, ProbeError>,
    /// What an operator should look at although it succeeded.
    pub(crate) warnings: Vec<String>,
    /// The mark that it must be rotated now, if it is a client's secret and its current version has one.
    pub(crate) mark: Option<Mark>,
}

impl Probe {
    pub(super) fn unmarked(
        subject: String,
        needed: bool,
        outcome: Result<Finding, ProbeError>,
    ) -> Self {
        Self {
            subject,
            needed,
            outcome,
            warnings: Vec::new(),
            mark: None,
        }
    }
}

/// A successful probe. Prints a few words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// A backend answers.
    Answers,
    /// A secret exists.
    Secret {
        /// Its version.
        version: VersionId,
        /// The length of its value.
        bytes: usize,
    },
    /// An issuer's endpoints are known.
    Endpoints,
    /// A resource accepts tokens of the issuer with this name.
    Resource(Arc<str>),
    /// An issuer gave a token.
    Token {
        /// How long it lives.
        lifetime: Duration,
        /// The scopes that it has.
        scopes: Scopes,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answers => f.write_str("answers"),
            Self::Secret { version, bytes } => write!(f, "version {version}, {bytes} bytes"),
            Self::Endpoints => f.write_str("endpoints known"),
            Self::Resource(issuer) => write!(f, "accepts tokens of issuer {issuer}"),
            Self::Token { lifetime, scopes } => {
                write!(f, "the issuer gave a token for {} s", lifetime.as_secs())?;
                if scopes.is_empty() {
                    Ok(())
                } else {
                    write!(f, ", with the scopes {scopes}")
                }
            }
        }
    }
}

/// A failed probe. Prints the fault and the remedy in one line.
#[derive(Debug)]
pub(crate) enum ProbeError {
    /// The backend cannot be opened.
    Unopened(registry::Error),
    /// The backend refused, or did not answer.
    Backend(BackendError),
    /// The value has no such field.
    NoField,
    /// The value is empty, or has no fields.
    Unusable,
    /// The value is a placeholder.
    Placeholder,
    /// Two environments share a part of a client.
    Shared(SharedClient),
    /// The issuer's settings cannot be used.
    Setup(SetupError),
    /// The issuer gave no token, or the metadata of the issuer or of a resource cannot be used.
    Issuer(claviger_oauth::Error),
}

impl ProbeError {
    /// Whether it is an outage ([`Exit::Unavailable`]) or a mistake ([`Exit::Config`]).
    #[must_use]
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Backend(error) => secrets::reason(error.kind).exit(),
            Self::Issuer(error) => error.reason().exit(),
            Self::Unopened(_)
            | Self::NoField
            | Self::Unusable
            | Self::Placeholder
            | Self::Shared(_)
            | Self::Setup(_) => Exit::Config,
        }
    }

    /// Whether the daemon would refuse to start: it opens the same backends and reads the same files.
    #[must_use]
    pub(crate) fn is_fatal(&self) -> bool {
        matches!(self, Self::Unopened(_) | Self::Setup(_) | Self::Shared(_))
    }
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unopened(error) => Causes(&error.fault).fmt(f),
            Self::Backend(error) => {
                if error.blocked().is_some() {
                    f.write_str("not asked, after repeated failures: ")?;
                }
                f.write_str(error.kind.as_str())?;
                if let Some(cause) = error.source() {
                    write!(f, " ({})", Causes(cause))?;
                }
                write!(f, ": {}", secrets::reason(error.kind).remedy())
            }
            Self::NoField => f.write_str("the value has no such field"),
            Self::Unusable => {
                f.write_str("is empty, or has no fields because it is not a JSON object")
            }
            Self::Placeholder => {
                f.write_str("holds a placeholder instead of a secret; put the real value in")
            }
            Self::Shared(shared) => shared.fmt(f),
            Self::Setup(error) => Causes(error).fmt(f),
            Self::Issuer(error) => write!(f, "{}: {}", error.reason().label(), advice(error)),
        }
    }
}

/// Probes all of them. Fetches the secrets that the configuration refers to, and zeroes them at once.
pub(crate) async fn probe(
    config: &Config,
    backends: &Backends,
    clock: Arc<dyn Clock>,
) -> Vec<Probe> {
    let mut probes = probe_backends(config, backends).await;
    for shared in environments::shared(config, backends).await {
        probes.push(Probe::unmarked(
            "environments".to_owned(),
            true,
            Err(ProbeError::Shared(shared)),
        ));
    }
    for settings in &config.issuers {
        let subject = format!("issuer {}", settings.name);
        let issuer = match Issuer::new(IssuerSettings::clone(settings), Arc::clone(&clock)) {
            Ok(issuer) => issuer,
            Err(error) => {
                let outcome = Err(ProbeError::Setup(error));
                probes.push(Probe::unmarked(subject, false, outcome));
                continue;
            }
        };
        let discovered = issuer.discover().await;
        let outcome = discovered
            .map(|()| Finding::Endpoints)
            .map_err(ProbeError::Issuer);
        probes.push(Probe {
            warnings: unlisted(config, &issuer),
            ..Probe::unmarked(subject, false, outcome)
        });
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

/// Probes the backends at the same time, so that one that hangs delays no other. The backends come first in the result, then
/// the secrets.
async fn probe_backends(config: &Config, backends: &Backends) -> Vec<Probe> {
    let sources = backends.sources();
    let asked = sources
        .iter()
        .map(|(name, source)| probe_backend(config, backends, name, &**source));
    let (answers, secrets): (Vec<_>, Vec<_>) = join_all(asked).await.into_iter().unzip();
    answers
        .into_iter()
        .chain(secrets.into_iter().flatten())
        .collect()
}

/// Probes one backend, then each secret that the configuration refers to in it.
async fn probe_backend(
    config: &Config,
    backends: &Backends,
    name: &BackendName,
    source: &dyn SecretSource,
) -> (Probe, Vec<Probe>) {
    let outcome = source.probe().await;
    let answer = Probe::unmarked(
        format!("backend {name}"),
        true,
        outcome
            .map(|()| Finding::Answers)
            .map_err(ProbeError::Backend),
    );
    let mut secrets = Vec::new();
    for HeldReference { reference, .. } in config.references() {
        if reference.backend == *name {
            secrets.push(Probe {
                subject: format!("secret {reference}"),
                needed: true,
                outcome: secret(backends, &reference).await,
                warnings: Vec::new(),
                mark: mark(config, backends, &reference).await,
            });
        }
    }
    (answer, secrets)
}

/// The tokens whose scopes the issuer's metadata does not list, one line each. Issuers need not list every scope.
fn unlisted(config: &Config, issuer: &Issuer) -> Vec<String> {
    let Some(listed) = issuer.metadata().and_then(|metadata| metadata.used.scopes) else {
        return Vec::new();
    };
    let tokens = config.tokens.iter();
    tokens
        .filter(|token| token.client.issuer.name == *issuer.name())
        .filter_map(|token| {
            let scopes = token.scopes.iter();
            let missing: Vec<_> = scopes
                .filter(|scope| !listed.iter().any(|one| one == scope))
                .collect();
            (!missing.is_empty()).then(|| {
                format!(
                    "tokens.{} requests scopes that the issuer's metadata does not list, so check their spelling: {}",
                    token.name,
                    missing.join(" ")
                )
            })
        })
        .collect()
}

/// Whether a resource names the issuer.
async fn vouched(issuer: &Issuer, resource: &str) -> Result<Finding, ProbeError> {
    let verified = issuer.verify_resource(resource).await;
    verified
        .map(|()| Finding::Resource(Arc::clone(issuer.name())))
        .map_err(ProbeError::Issuer)
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

async fn secret(backends: &Backends, reference: &SecretRef) -> Result<Finding, ProbeError> {
    let (value, version) = fetch(backends, reference).await?;
    Ok(Finding::Secret {
        version,
        bytes: value.len(),
    })
}

/// Fetches a value as the daemon would use it.
pub(super) async fn fetch(
    backends: &Backends,
    reference: &SecretRef,
) -> Result<(Secret, VersionId), ProbeError> {
    let backend = backends.get(&reference.backend).ok_or_else(|| {
        let kind = Kind::Misconfigured;
        ProbeError::Backend(BackendError::new(kind, &reference.backend, "fetch"))
    })?;
    let fetched = backend
        .secrets
        .fetch(&reference.name, &reference.version)
        .await
        .map_err(ProbeError::Backend)?;
    let value = secrets::pick_one(&fetched.value, reference.field.as_ref()).map_err(|kind| {
        if kind == Kind::NotFound {
            ProbeError::NoField
        } else {
            ProbeError::Unusable
        }
    })?;
    #[expect(
        clippy::disallowed_methods,
        reason = "compares with known placeholders and drops it"
    )]
    let placeholder = config::is_placeholder(value.expose());
    if placeholder {
        return Err(ProbeError::Placeholder);
    }
    Ok((value, fetched.version))
}

/// The mark of a client's secret, if it is about the current version. Other probes report what cannot be read.
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

    use async_trait::async_trait;
    use claviger_backend::{Backend, Fetched, Secret, SecretName, VersionSelector};
    use claviger_runtime::clock::SteppedClock;
    use tokio::sync::watch;

    use super::*;

    const NAMES: [&str; 3] = ["a", "b", "hangs"];

    /// A backend that answers a probe once all of them are probed, or hangs.
    #[derive(Debug)]
    struct Together {
        name: String,
        probed: watch::Sender<BTreeSet<String>>,
        hangs: bool,
    }

    #[async_trait]
    impl SecretSource for Together {
        async fn fetch(
            &self,
            _name: &SecretName,
            _version: &VersionSelector,
        ) -> Result<Fetched, BackendError> {
            if self.hangs {
                std::future::pending::<()>().await;
            }
            Ok(Fetched {
                value: Secret::from_text("value".to_owned()),
                version: "1".parse().unwrap(),
                created: None,
            })
        }

        async fn probe(&self) -> Result<(), BackendError> {
            self.probed.send_modify(|probed| {
                probed.insert(self.name.clone());
            });
            let expected = if self.hangs { usize::MAX } else { NAMES.len() };
            let mut probed = self.probed.subscribe();
            probed
                .wait_for(|probed| probed.len() == expected)
                .await
                .unwrap();
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn backends_are_asked_at_the_same_time_and_reported_in_order() {
        let mut text = String::new();
        for name in NAMES {
            text.extend([format!(
                "[backends.{name}]\ntype = 'file'\ndirectory = '/{name}'\nkey_file = '/k'\n\
                 [secrets.of-{name}]\nreference = '{name}:it'\n"
            )]);
        }
        let config = Config::parse(&text, Path::new("claviger.toml"))
            .unwrap_or_else(|problems| panic!("{problems}"));
        let seen = watch::Sender::default();
        let mut backends = Backends::none(Arc::new(SteppedClock::new()));
        for (name, settings) in config.backends.clone() {
            let source = Together {
                name: name.to_string(),
                probed: seen.clone(),
                hangs: name.as_str() == "hangs",
            };
            let backend = Backend {
                kind: "together",
                secrets: Arc::new(source),
                versions: None,
                creator: None,
                rotator: None,
                register: None,
                keys: None,
            };
            backends = backends.with(name, settings, backend);
        }
        let probes = probe(&config, &backends, Arc::new(SteppedClock::new())).await;
        let verdicts: Vec<_> = probes
            .iter()
            .map(|probe| (probe.subject.as_str(), probe.outcome.is_ok()))
            .collect();
        assert_eq!(
            verdicts,
            [
                ("backend a", true),
                ("backend b", true),
                ("backend hangs", false),
                ("secret a:it", true),
                ("secret b:it", true),
                ("secret hangs:it", false),
            ]
        );
    }

    #[test]
    fn each_resource_with_verification_is_probed_once() {
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
