//! From a configuration to a world: which component gets which.
//!
//! Owns the order in which components are built, and the one adapter between two of them that do not know each other: the
//! OAuth engine as the source of the token cache. Checks nothing that the configuration has checked already.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use claviger_backend::Secret;

use crate::broker::World;
use crate::clock::Clock;
use crate::config::{Config, PeerConfig};
use crate::oauth::wire::Scopes;
use crate::oauth::{self, Credential, Issued, Issuer, Revocation, TokenClient};
use crate::peer::{self, ProcExecutable};
use crate::policy::Policy;
use crate::registry::Backends;
use crate::secrets::{Secrets, Wanted};
use crate::shutdown::Drain;
use crate::tokens::{self, Definition, NeedsCredential, TokenSource, Tokens};

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
        let kept = ground.previous.and_then(|previous| {
            previous
                .issuers
                .iter()
                .find(|issuer| issuer.settings() == settings)
        });
        let issuer = match kept {
            Some(issuer) => Ok(Arc::clone(issuer)),
            None => Issuer::new(settings.clone(), Arc::clone(ground.clock)).map(Arc::new),
        };
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
        definitions.push(Definition {
            settings: token.clone(),
            issuer: Arc::clone(&client.issuer),
            // Settings hold no secret, and their `Debug` names everything that they say.
            origin: format!("{:?} {client:?}", issuer.settings()).into(),
            source: Arc::new(source),
        });
    }
    if problems.is_empty() {
        Ok(definitions)
    } else {
        Err(problems)
    }
}

impl NeedsCredential for TokenClient {
    fn has_credential(&self) -> bool {
        Self::has_credential(self)
    }
}

#[async_trait]
impl TokenSource for TokenClient {
    async fn obtain(&self, scopes: &Scopes) -> Result<Issued, oauth::Error> {
        Self::obtain(self, scopes).await
    }

    async fn revoke(&self, token: &Secret) -> Revocation {
        Self::revoke(self, token).await
    }

    fn credential(&self) -> u64 {
        Self::credential(self)
    }
}
