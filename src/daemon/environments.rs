//! One credential, one environment.
//!
//! Owns the check that tokens of different environments do not use the same client: an attacker who steals the credential of
//! a test system would have that of production. `config` compares the references; this module compares the values, because
//! the same credential is easily copied under two names. Reads nothing unless there are two environments, and keeps nothing.
//! Values of a backend that does not answer within the deadlines of its guard are not compared, and the start goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use claviger_backend::{Secret, SecretRef};
use tokio::task::JoinSet;

use crate::config::{Config, Problem, Problems};
use crate::registry::Backends;
use claviger_core::secrets;
use claviger_oauth::{ClientId, ClientSettings};

/// Two tokens of different environments that share a part of their client. Prints one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SharedClient {
    /// Each token, and its environment.
    tokens: [TokenOf; 2],
    /// Which part: `identifier` or `secret`.
    part: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct TokenOf {
    token: String,
    environment: String,
}

impl fmt::Display for SharedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [one, other] = &self.tokens;
        write!(
            f,
            "tokens.{} ({}) and tokens.{} ({}) use the same client {}; register a client for each environment",
            one.token, one.environment, other.token, other.environment, self.part
        )
    }
}

/// Checks that no tokens share an identifier or a secret across environments.
///
/// # Errors
/// One problem for each pair that does.
pub(super) async fn check(config: &Config, backends: &Backends) -> Result<(), Problems> {
    let shared = shared(config, backends).await;
    let problems = shared
        .iter()
        .map(|shared| Problem::at("", shared.to_string()));
    Problems::check(&config.origin, problems.collect())
}

/// The tokens that share an identifier or a secret across environments.
pub(super) async fn shared(config: &Config, backends: &Backends) -> Vec<SharedClient> {
    let mut used = Vec::new();
    for token in &config.tokens {
        if let Some(environment) = token.environment.as_deref() {
            used.extend(identities(&token.client).map(|(word, identity)| Use {
                token: &token.name,
                environment,
                word,
                identity,
            }));
        }
    }
    let environments: BTreeSet<_> = used.iter().map(|one| one.environment).collect();
    if environments.len() < 2 {
        return Vec::new();
    }
    let values = read(&used, backends).await;
    let mut shared = Vec::new();
    for (number, one) in used.iter().enumerate() {
        for other in used.iter().take(number) {
            let both = (one.value(&values), other.value(&values));
            let differ = one.word == other.word && one.environment != other.environment;
            if let (true, (Some(value), Some(other_value))) = (differ, both)
                && value.same_as(other_value)
            {
                shared.push(SharedClient {
                    tokens: [one.token_of(), other.token_of()],
                    part: one.word,
                });
            }
        }
    }
    shared
}

/// A token's use of something that two environments must not share.
struct Use<'a> {
    token: &'a str,
    environment: &'a str,
    word: &'static str,
    identity: Identity<'a>,
}

enum Identity<'a> {
    Literal(Secret),
    Reference(&'a SecretRef),
}

impl Use<'_> {
    fn token_of(&self) -> TokenOf {
        TokenOf {
            token: self.token.to_owned(),
            environment: self.environment.to_owned(),
        }
    }

    fn value<'a>(&'a self, values: &'a BTreeMap<SecretRef, Secret>) -> Option<&'a Secret> {
        match &self.identity {
            Identity::Literal(value) => Some(value),
            Identity::Reference(reference) => values.get(*reference),
        }
    }
}

fn identities(client: &ClientSettings) -> [(&'static str, Identity<'_>); 2] {
    let id = match &client.id {
        ClientId::Literal(id) => Identity::Literal(Secret::from_text(id.clone())),
        ClientId::Reference(reference) => Identity::Reference(reference),
    };
    let secret = Identity::Reference(client.auth.secret());
    [("identifier", id), ("secret", secret)]
}

/// The values of all references, fetched once each. A value that cannot be fetched is not compared.
async fn read(used: &[Use<'_>], backends: &Backends) -> BTreeMap<SecretRef, Secret> {
    let wanted = used.iter().filter_map(|one| match one.identity {
        Identity::Literal(_) => None,
        Identity::Reference(reference) => Some(reference),
    });
    let mut reading = JoinSet::new();
    for reference in wanted.collect::<BTreeSet<_>>() {
        let Some(backend) = backends.get(&reference.backend) else {
            continue;
        };
        let (reference, source) = (reference.clone(), Arc::clone(&backend.secrets));
        reading.spawn(async move {
            let fetched = source.fetch(&reference.name, &reference.version).await;
            let value = secrets::pick_one(&fetched.ok()?.value, reference.field.as_ref()).ok()?;
            Some((reference, value))
        });
    }
    let mut values = BTreeMap::new();
    while let Some(read) = reading.join_next().await {
        values.extend(read.ok().flatten());
    }
    values
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use async_trait::async_trait;
    use claviger_backend::{
        Backend, BackendError, Fetched, Kind, SecretName, SecretSource, VersionSelector,
    };
    use claviger_runtime::clock::SteppedClock;

    use super::*;

    /// A source with fixed values; a fetch of any other name hangs.
    #[derive(Debug)]
    struct Shelf(&'static [(&'static str, &'static str)]);

    #[async_trait]
    impl SecretSource for Shelf {
        async fn fetch(
            &self,
            name: &SecretName,
            _version: &VersionSelector,
        ) -> Result<Fetched, BackendError> {
            let found = self.0.iter().find(|(known, _)| *known == name.as_str());
            let Some((_, value)) = found else {
                return std::future::pending().await;
            };
            Ok(Fetched {
                value: Secret::from_text((*value).to_owned()),
                version: "1".parse().unwrap(),
                created: None,
            })
        }

        async fn probe(&self) -> Result<(), BackendError> {
            Err(BackendError::new(
                Kind::Unavailable,
                &"b".parse().unwrap(),
                "probe",
            ))
        }
    }

    async fn found(values: &'static [(&'static str, &'static str)]) -> Vec<String> {
        let mut text = "[backends.b]\ntype = 'file'\ndirectory = '/d'\nkey_file = '/k'\n\
             [issuers.i]\nissuer = 'https://i.example'\n"
            .to_owned();
        for name in ["one", "two"] {
            text.extend([format!(
                "[clients.{name}]\nissuer = 'i'\nid = 'b:{name}-id'\n\
                 auth = {{ method = 'client_secret_post', secret = 'b:{name}-secret' }}\n\
                 [tokens.{name}]\nclient = '{name}'\ngrant = 'client_credentials'\nenvironment = '{name}'\n"
            )]);
        }
        let config = Config::parse(&text, Path::new("claviger.toml"));
        let config = config.unwrap_or_else(|problems| panic!("{problems}"));
        let (name, settings) = config.backends[0].clone();
        let backend = Backend {
            kind: "shelf",
            secrets: Arc::new(Shelf(values)),
            versions: None,
            creator: None,
            rotator: None,
            register: None,
            keys: None,
        };
        let clock = Arc::new(SteppedClock::new());
        let backends = Backends::none(clock).with(name, settings, backend);
        let shared = shared(&config, &backends).await;
        shared.iter().map(ToString::to_string).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn values_that_two_environments_share_are_found_and_a_silent_backend_stops_nothing() {
        const APART: &[(&str, &str)] = &[
            ("one-id", "a"),
            ("one-secret", "x"),
            ("two-id", "b"),
            ("two-secret", "y"),
        ];
        const SAME_ID: &[(&str, &str)] = &[("one-id", "a"), ("two-id", "a")];
        const SAME_SECRET: &[(&str, &str)] = &[("one-secret", "x"), ("two-secret", "x")];
        const CROSSED: &[(&str, &str)] = &[("one-id", "x"), ("two-secret", "x")];
        assert_eq!(found(APART).await, [""; 0]);
        for (values, word) in [(SAME_ID, "identifier"), (SAME_SECRET, "secret")] {
            let problems = found(values).await;
            let [problem] = problems.as_slice() else {
                panic!("{problems:?}")
            };
            assert!(
                problem.contains(&format!("the same client {word}")),
                "{problem}"
            );
            assert!(problem.contains("tokens.one (one)") && problem.contains("tokens.two (two)"));
        }
        assert_eq!(found(CROSSED).await, [""; 0]);
    }
}
