//! One secret, one environment.
//!
//! Owns the check that tokens of different environments do not use the same credential: whoever steals the one of a test
//! system would hold the one of production. References are compared when the configuration is read; here the values are,
//! because the same secret is easily copied under two names. Reads nothing unless there are two environments, and keeps
//! nothing. A backend that does not answer proves nothing, so it stops nobody.

use std::collections::BTreeSet;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use claviger_backend::{Secret, SecretRef};

use crate::config::Config;
use crate::oauth::AuthMethod;
use crate::registry::Backends;
use crate::secrets;

/// Says which tokens share a credential across environments.
pub(super) async fn shared(config: &Config, backends: &Backends) -> Vec<String> {
    let environments: BTreeSet<_> = config
        .tokens
        .iter()
        .filter_map(|token| token.environment.as_deref())
        .collect();
    if environments.len() < 2 {
        return Vec::new();
    }
    let mut seen = Vec::<(&str, &str, Secret)>::new();
    let mut problems = Vec::new();
    for token in &config.tokens {
        let Some(environment) = token.environment.as_deref() else {
            continue;
        };
        let client = config
            .clients
            .iter()
            .find(|client| client.name == token.client);
        let Some(AuthMethod::Basic { secret, .. } | AuthMethod::Post { secret }) =
            client.map(|client| &client.auth)
        else {
            continue;
        };
        let Some(value) = read(backends, secret).await else {
            continue;
        };
        for (other, other_environment, other_value) in &seen {
            if *other_environment != environment && same(&value, other_value) {
                problems.push(format!(
                    "tokens.{} ({environment}) and tokens.{other} ({other_environment}) use the same client secret; register a client for each environment",
                    token.name,
                ));
            }
        }
        seen.push((&token.name, environment, value));
    }
    problems
}

async fn read(backends: &Backends, reference: &SecretRef) -> Option<Secret> {
    let sources = backends.sources();
    let source = sources.get(&reference.backend)?;
    let fetched = source
        .fetch(&reference.name, &reference.version)
        .await
        .ok()?;
    secrets::pick_one(&fetched.value, reference.field.as_ref()).ok()
}

#[expect(
    clippy::disallowed_methods,
    reason = "compares two values in constant time and keeps neither"
)]
fn same(one: &Secret, other: &Secret) -> bool {
    verify_slices_are_equal(one.expose(), other.expose()).is_ok()
}
