//! From a configuration to a world: which component gets which.
//!
//! Owns the order in which components are built, and the one adapter between two of them that do not know each other: the
//! OAuth engine as the source of the token cache. Checks nothing that the configuration has checked already.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Config, PeerConfig};
use crate::daemon::identity::TokenIdentity;
use crate::registry::Backends;
use claviger_core::broker::World;
use claviger_core::peer::{self, ProcExecutable};
use claviger_core::policy::Policy;
use claviger_core::secrets::{Secrets, Wanted};
use claviger_core::tokens::source::Identity;
use claviger_core::tokens::{self, Definition, Tokens};
use claviger_oauth::{self, Credential, Issuer, IssuerSettings, TokenClient, TokenSettings};
use claviger_runtime::clock::Clock;
use claviger_runtime::shutdown::Drain;

/// A world, and the parts of it that are not reached through the broker.
#[derive(Clone, Debug)]
pub(super) struct Assembled {
    pub(super) world: World,
    pub(super) issuers: Vec<Arc<Issuer>>,
}

/// What a world is built on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ground<'a> {
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) drain: &'a Drain,
    /// The world before it. Whatever did not change is carried over: held secrets, cached tokens, metadata.
    pub(super) previous: Option<&'a Assembled>,
}

/// Begins to fetch the secrets of a configuration. Comes after [`issuers`], which can fail, and before [`assemble`].
pub(super) fn secrets(config: &Config, backends: &Backends, ground: Ground<'_>) -> Arc<Secrets> {
    Secrets::start(
        backends.sources(),
        wanted(config),
        Arc::clone(ground.clock),
        ground.drain.clone(),
        ground.previous.map(|previous| &*previous.world.secrets),
    )
}

/// Builds a world. The tokens of a previous one are not renewed any more from here on, so it must be put into force at once.
///
/// # Errors
/// Every reason why the components refuse the configuration.
pub(super) fn assemble(
    config: &Config,
    issuers: &Issuers,
    secrets: Arc<Secrets>,
    ground: Ground<'_>,
) -> Result<Assembled, Vec<String>> {
    let tokens = Tokens::new(
        definitions(config, issuers, &secrets),
        tokens::Settings::default(),
        Arc::clone(ground.clock),
        ground.drain.clone(),
        ground.previous.map(|previous| &*previous.world.tokens),
    )
    .map_err(|error| vec![error.to_string()])?;
    let policy = Policy::new(config.rules.clone());
    let world = World {
        policy,
        tokens,
        secrets,
    };
    Ok(Assembled {
        world,
        issuers: issuers.values().map(Arc::clone).collect(),
    })
}

/// How peers are identified.
pub(super) fn peers(config: PeerConfig) -> peer::Settings {
    peer::Settings {
        allow_legacy_pid_attestation: config.allow_legacy_pid_attestation,
        attestors: vec![Arc::new(ProcExecutable)],
    }
}

/// What must be kept live: everything that is referred to, and under its name what peers may ask for.
fn wanted(config: &Config) -> Vec<Wanted> {
    let held = config.references().into_iter().map(|held| Wanted {
        reference: held.reference,
        refresh: held.refresh.interval,
        max_stale: held.refresh.max_stale,
        name: None,
    });
    let named = config.secrets.iter().map(|secret| Wanted {
        reference: secret.reference.clone(),
        refresh: secret.refresh.interval,
        max_stale: secret.refresh.max_stale,
        name: Some(Arc::clone(&secret.name)),
    });
    held.chain(named).collect()
}

/// The issuers, by name.
pub(super) type Issuers = BTreeMap<Arc<str>, Arc<Issuer>>;

/// Makes the issuers of a configuration.
///
/// # Errors
/// Every reason why one cannot be made.
pub(super) fn issuers(config: &Config, ground: Ground<'_>) -> Result<Issuers, Vec<String>> {
    let mut issuers = Issuers::new();
    let mut problems = Vec::new();
    for settings in &config.issuers {
        let made =
            Issuer::new(IssuerSettings::clone(settings), Arc::clone(ground.clock)).map(Arc::new);
        // Of two that are alike the old one knows more: metadata, and how far the limits are used up. But certificates are
        // read in any case, so that a reload takes back the trust in those that are gone.
        let issuer = made.map(|made| {
            let mut known = ground.previous.iter().flat_map(|world| &world.issuers);
            let kept = known.find(|known| known.is_like(&made)).map(Arc::clone);
            kept.unwrap_or(made)
        });
        match issuer {
            Ok(issuer) => drop(issuers.insert(Arc::clone(&settings.name), issuer)),
            Err(error) => problems.push(format!("issuers.{}: {error}", settings.name)),
        }
    }
    if problems.is_empty() {
        Ok(issuers)
    } else {
        Err(problems)
    }
}

/// One definition per token. Each token has its issuer among those of its own configuration.
fn definitions(config: &Config, issuers: &Issuers, secrets: &Secrets) -> Vec<Definition> {
    issuers
        .values()
        .flat_map(|issuer| {
            config
                .tokens
                .iter()
                .filter(|token| token.client.issuer.name == *issuer.name())
                .map(|token| definition(config, issuer, token, secrets))
        })
        .collect()
}

fn definition(
    config: &Config,
    issuer: &Arc<Issuer>,
    token: &TokenSettings,
    secrets: &Secrets,
) -> Definition {
    let credential = Credential::new(&token.client, |reference| secrets.live(reference));
    let source = TokenClient::new(Arc::clone(issuer), token.clone(), credential);
    Definition {
        name: Arc::clone(&token.name),
        issuer: Arc::clone(issuer.name()),
        client: Arc::clone(&token.client.name),
        scopes: token.scopes.clone(),
        identity: Identity::new(TokenIdentity::new(config, token)),
        source: Arc::new(source),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::runtime::Handle;

    use super::*;
    use claviger_runtime::clock::SystemClock;

    fn config(text: &str) -> Config {
        let config = Config::parse(text, Path::new("claviger.toml"));
        config.unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn certificate(name: &str) -> String {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]);
        made.unwrap().cert.pem()
    }

    #[tokio::test]
    async fn a_reload_reads_certificates_again_and_keeps_the_issuer_if_they_are_the_same() {
        let ca = tempfile::NamedTempFile::new().unwrap();
        let (one, two) = (certificate("a.example"), certificate("b.example"));
        std::fs::write(ca.path(), format!("{one}{two}")).unwrap();
        let config = config(&format!(
            "[issuers.acme]\nissuer = 'https://auth.example'\nca = '{}'\n",
            ca.path().display()
        ));
        let (clock, drain) = (
            Arc::new(SystemClock) as Arc<dyn Clock>,
            Drain::new(Handle::current()),
        );
        let mut ground = Ground {
            clock: &clock,
            drain: &drain,
            previous: None,
        };
        let first = issuers(&config, ground).unwrap();
        let secrets = secrets(&config, &Backends::default(), ground);
        let world = assemble(&config, &first, secrets, ground).unwrap();
        ground.previous = Some(&world);
        let acme = |issuers: &Issuers| Arc::clone(&issuers["acme"]);

        let again = issuers(&config, ground).unwrap();
        assert!(Arc::ptr_eq(&acme(&again), &acme(&first)));
        // The same two the other way around.
        std::fs::write(ca.path(), format!("{two}{one}")).unwrap();
        let again = issuers(&config, ground).unwrap();
        assert!(Arc::ptr_eq(&acme(&again), &acme(&first)));

        std::fs::write(ca.path(), &two).unwrap();
        let without = issuers(&config, ground).unwrap();
        assert!(!Arc::ptr_eq(&acme(&without), &acme(&first)), "one is gone");
        std::fs::write(ca.path(), "").unwrap();
        let problems = issuers(&config, ground).unwrap_err();
        assert!(
            problems[0].starts_with("issuers.acme: ca: "),
            "{problems:?}"
        );
    }
}
