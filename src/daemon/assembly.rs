//! From a configuration to a world: which component gets which.
//!
//! Owns the order in which components are built, and the one adapter between two of them that do not know each other: the
//! OAuth engine as the source of the token cache. Checks nothing that the configuration has checked already.

use std::collections::BTreeMap;
use std::sync::Arc;

use claviger_backend::SecretRef;

use crate::config::{Config, PeerConfig};
use crate::daemon::identity::TokenIdentity;
use crate::registry::Backends;
use claviger_core::broker::World;
use claviger_core::peer::{self, ProcExecutable};
use claviger_core::policy::Policy;
use claviger_core::secrets::{Secrets, Wanted};
use claviger_core::tokens::source::Identity;
use claviger_core::tokens::{self, Definition, Tokens};
use claviger_oauth::{AuthMethod, ClientId, ClientSettings, Credential, Issuer, TokenClient};
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
        definitions(config, issuers, &secrets)?,
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
        let made = Issuer::new(settings.clone(), Arc::clone(ground.clock)).map(Arc::new);
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

/// One definition per token. Names were checked when the configuration was read; what is missing all the same is a defect,
/// and is reported as a problem of the token rather than passed over.
fn definitions(
    config: &Config,
    issuers: &Issuers,
    secrets: &Secrets,
) -> Result<Vec<Definition>, Vec<String>> {
    let mut definitions = Vec::new();
    let mut problems = Vec::new();
    for token in &config.tokens {
        let parts = || {
            let client = config
                .clients
                .iter()
                .find(|client| client.name == token.client)?;
            let issuer = issuers.get(&*client.issuer)?;
            let credential = Credential::new(client, |reference| secrets.live(reference))?;
            Some((client, issuer, credential))
        };
        let Some((client, issuer, credential)) = parts() else {
            problems.push(format!(
                "tokens.{}: its client or issuer is not configured",
                token.name
            ));
            continue;
        };
        let source = TokenClient::new(Arc::clone(issuer), client, token.clone(), credential);
        let identity = TokenIdentity::new(token, origin(config, issuer, client));
        definitions.push(Definition {
            name: Arc::clone(&token.name),
            issuer: Arc::clone(&client.issuer),
            client: Arc::clone(&token.client),
            scopes: token.scopes.clone(),
            identity: Identity::new(identity),
            source: Arc::new(source),
        });
    }
    if problems.is_empty() {
        Ok(definitions)
    } else {
        Err(problems)
    }
}

/// All that a token's issuer and client are: tokens survive a reload only if it is the same. That includes the backends that
/// the client is kept in, because a reference means another client once its backend is another store. Settings hold no
/// secret, and their `Debug` names everything that they say.
fn origin(config: &Config, issuer: &Issuer, client: &ClientSettings) -> Arc<str> {
    let id = match &client.id {
        ClientId::Literal(_) => None,
        ClientId::Reference(reference) => Some(reference),
    };
    let (AuthMethod::Basic { secret, .. } | AuthMethod::Post { secret }) = &client.auth;
    let kept_in = |reference: &SecretRef| {
        let mut backends = config.backends.iter();
        backends.find(|(name, _)| *name == reference.backend)
    };
    let (id, secret) = (id.and_then(kept_in), kept_in(secret));
    format!("{:?} {client:?} {id:?} {secret:?}", issuer.settings()).into()
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

    #[tokio::test]
    async fn a_reference_into_another_store_is_another_client() {
        let text = "[backends.one]\ntype = 'file'\ndirectory = '/one'\nkey_file = '/key'\n\
            [backends.two]\ntype = 'file'\ndirectory = '/two'\nkey_file = '/key'\n\
            [backends.other]\ntype = 'file'\ndirectory = '/other'\nkey_file = '/key'\n\
            [issuers.acme]\nissuer = 'https://127.0.0.1'\n\
            [clients.billing]\nissuer = 'acme'\nid = 'one:id'\n\
            auth = { method = 'client_secret_basic', secret = 'two:secret' }\n";
        let origin = |from: &str, to: &str| {
            let config = config(&text.replace(from, to));
            let settings = config.issuers[0].clone();
            let issuer = Issuer::new(settings, Arc::new(SystemClock)).ok()?;
            Some(origin(&config, &issuer, &config.clients[0]))
        };
        // Systems without CA certificates have no issuers to compare.
        let Some(before) = origin("", "") else { return };
        for (from, to, same) in [
            ("'/one'", "'/one'", true),
            ("'/other'", "'/another'", true),
            ("'/one'", "'/moved'", false),
            ("'/two'", "'/moved'", false),
        ] {
            let after = origin(from, to).unwrap();
            assert_eq!(after == before, same, "{from} becomes {to}");
        }
    }
}
