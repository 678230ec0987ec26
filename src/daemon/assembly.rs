//! Builds a world from a configuration.
//!
//! Owns the order in which components are built, and connects the OAuth engine to the token cache as its source. Never
//! repeats a check of the configuration.

use std::sync::Arc;

use crate::config::{Config, PeerConfig, Problem, Problems};
use crate::daemon::current::InForce;
use crate::daemon::identity::TokenIdentity;
use crate::registry::Backends;
use claviger_core::broker::World;
use claviger_core::peer::{self, ProcExecutable};
use claviger_core::policy::Policy;
use claviger_core::secrets::{Secrets, Wanted};
use claviger_core::tokens::source::Identity;
use claviger_core::tokens::{Definition, Fingerprints, Tokens};
use claviger_oauth::{Credential, Issuer, IssuerSettings, TokenClient, TokenSettings};
use claviger_runtime::clock::Clock;
use claviger_runtime::shutdown::Drain;
use claviger_runtime::telemetry::Causes;

/// What every world of this daemon is built on.
#[derive(Clone, Debug)]
pub(super) struct Ground {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) drain: Drain,
    pub(super) fingerprints: Arc<Fingerprints>,
}

/// A configuration with every component whose construction can fail. None of it is in use yet, so it may be dropped.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) config: Config,
    pub(super) backends: Backends,
    pub(super) issuers: Vec<Arc<Issuer>>,
}

/// Begins to fetch the secrets of a configuration, and stops refreshing those of `previous`: from here on, nothing can fail,
/// and [`assemble`] must follow.
pub(super) fn secrets(
    prepared: &Prepared,
    ground: &Ground,
    previous: Option<&InForce>,
) -> Arc<Secrets> {
    Secrets::start(
        prepared.backends.sources(),
        wanted(&prepared.config),
        Arc::clone(&ground.clock),
        ground.drain.clone(),
        previous.map(|previous| &*previous.world.secrets),
    )
}

/// Builds the next state. Cached tokens and metadata of `previous` that did not change are carried over. Its tokens are no
/// longer renewed, so the result must be installed at once.
pub(super) fn assemble(
    prepared: Prepared,
    secrets: Arc<Secrets>,
    ground: &Ground,
    previous: Option<&InForce>,
) -> InForce {
    let tokens = Tokens::new(
        definitions(&prepared, &secrets),
        Arc::clone(&ground.fingerprints),
        Arc::clone(&ground.clock),
        ground.drain.clone(),
        previous.map(|previous| &*previous.world.tokens),
    );
    let Prepared {
        config,
        backends,
        issuers,
    } = prepared;
    let world = World {
        generation: previous.map_or(1, |previous| previous.world.generation.saturating_add(1)),
        policy: Policy::new(config.rules.clone()),
        tokens,
        secrets,
    };
    InForce {
        config,
        backends,
        issuers,
        world: Arc::new(world),
        loaded: ground.clock.now().system_time(),
    }
}

/// How peers are identified.
pub(super) fn peers(config: PeerConfig) -> peer::Settings {
    peer::Settings {
        allow_legacy_pid_attestation: config.allow_legacy_pid_attestation,
        attestors: vec![Arc::new(ProcExecutable)],
    }
}

/// The secrets to keep live: everything that the configuration refers to, and by name what peers may request.
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

/// Creates the issuers of a configuration. Equal ones of `known` are kept.
///
/// # Errors
/// One problem for each that cannot be created.
pub(super) fn issuers(
    config: &Config,
    clock: &Arc<dyn Clock>,
    known: &[Arc<Issuer>],
) -> Result<Vec<Arc<Issuer>>, Problems> {
    let mut issuers = Vec::new();
    let mut problems = Vec::new();
    for settings in &config.issuers {
        match Issuer::new(IssuerSettings::clone(settings), Arc::clone(clock)) {
            Ok(made) => {
                // Of two equal ones the old one has the metadata and the state of the limits. Certificates are read in any
                // case, so that a reload revokes trust in removed ones.
                let kept = known.iter().find(|known| known.is_like(&made));
                issuers.push(kept.map_or_else(|| Arc::new(made), Arc::clone));
            }
            Err(error) => problems.push(Problem::at(
                format!("issuers.{}", settings.name),
                Causes(&error).to_string(),
            )),
        }
    }
    Problems::check(&config.origin, problems)?;
    Ok(issuers)
}

/// One definition per token. Each token has its issuer among those of its own configuration.
fn definitions(prepared: &Prepared, secrets: &Secrets) -> Vec<Definition> {
    let Prepared {
        config, issuers, ..
    } = prepared;
    issuers
        .iter()
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
        idle: token.idle,
        identity: Identity::new(TokenIdentity::new(config, token)),
        source: Arc::new(source),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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

    #[test]
    fn a_reload_reads_certificates_again_and_keeps_the_issuer_if_they_are_the_same() {
        let ca = tempfile::NamedTempFile::new().unwrap();
        let (one, two) = (certificate("a.example"), certificate("b.example"));
        std::fs::write(ca.path(), format!("{one}{two}")).unwrap();
        let config = config(&format!(
            "[issuers.acme]\nissuer = 'https://auth.example'\nca = '{}'\n",
            ca.path().display()
        ));
        let clock = Arc::new(SystemClock) as Arc<dyn Clock>;
        let first = issuers(&config, &clock, &[]).unwrap();
        let is_kept = |issuers: &[Arc<Issuer>]| Arc::ptr_eq(&issuers[0], &first[0]);

        let again = issuers(&config, &clock, &first).unwrap();
        assert!(is_kept(&again));
        // The same two the other way around.
        std::fs::write(ca.path(), format!("{two}{one}")).unwrap();
        let again = issuers(&config, &clock, &first).unwrap();
        assert!(is_kept(&again));

        std::fs::write(ca.path(), &two).unwrap();
        let without = issuers(&config, &clock, &first).unwrap();
        assert!(!is_kept(&without), "one was removed");
        std::fs::write(ca.path(), "").unwrap();
        let problems = issuers(&config, &clock, &first).unwrap_err();
        let [problem] = problems.list() else {
            panic!("{problems}")
        };
        assert_eq!(problem.path, "issuers.acme");
        assert!(problem.message.starts_with("ca: "), "{problem}");
    }
}
