//! What is decided while something waits: reloads and budgets, with an issuer that answers when the test lets it.

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use claviger_backend::Secret;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::*;
use crate::peer::{self, Facts, Peer};
use crate::policy::{Action, Rule, ScopeLimit, Selector};
use crate::tokens::source::{
    self, Ask, CredentialState, Identity, Issued, Revocation, TokenSource, Urgency,
};
use crate::tokens::{self, Answer, Definition, Fingerprints, Report, Want};
use claviger_oauth_wire::Scopes;
use claviger_runtime::clock::{SteppedClock, SystemClock};
use claviger_runtime::reason::Reasoned as _;
use claviger_runtime::shutdown::Drain;

/// Gives a token for each answer that it is allowed.
#[derive(Debug)]
struct Issuer {
    asked: Semaphore,
    allowed: Semaphore,
    clock: SystemClock,
    /// How often readiness looked at the credential.
    looked_at: AtomicUsize,
}

#[async_trait]
impl TokenSource for Issuer {
    async fn obtain(&self, ask: &Ask, _urgency: Urgency) -> Result<Issued, source::Error> {
        self.asked.add_permits(1);
        self.allowed.acquire().await.unwrap().forget();
        let sent = self.clock.now();
        let lifetime = Duration::from_hours(1);
        Ok(Issued {
            access_token: Secret::from_text("canary".to_owned()),
            binding: ask.binding,
            scopes: ask.scopes.clone(),
            sent,
            lifetime,
            expires: sent.after(lifetime),
            refresh_in: None,
            credential: 1,
        })
    }

    async fn revoke(&self, _token: &Secret) -> Revocation {
        Revocation::Revoked
    }

    fn credential(&self) -> CredentialState {
        self.looked_at.fetch_add(1, Ordering::Relaxed);
        CredentialState {
            number: 1,
            is_available: true,
        }
    }
}

impl Issuer {
    /// Waits until it is asked.
    async fn is_asked(&self) {
        self.asked.acquire().await.unwrap().forget();
    }
}

/// A world that tests replace.
#[derive(Debug)]
struct Worlds(ArcSwap<World>);

impl CurrentWorld for Worlds {
    fn world(&self) -> Arc<World> {
        self.0.load_full()
    }
}

/// A broker, an issuer, and a session of this process.
struct Stage {
    issuer: Arc<Issuer>,
    worlds: Arc<Worlds>,
    broker: Arc<Broker>,
    session: Arc<Session>,
    drain: Drain,
}

fn set(text: &str) -> Scopes {
    Scopes::new(text.split_whitespace()).unwrap()
}

impl Stage {
    async fn new(burst: u32) -> Self {
        let issuer = Arc::new(Issuer {
            asked: Semaphore::new(0),
            allowed: Semaphore::new(0),
            clock: SystemClock,
            looked_at: AtomicUsize::new(0),
        });
        let drain = Drain::new(Handle::current());
        let socket = UnixStream::pair().unwrap().0;
        let peer = Peer::identify(&socket, &peer::Settings::default())
            .await
            .unwrap();
        let world = World {
            generation: 1,
            policy: Policy::new(vec![rule(peer.facts(), ScopeLimit::Definition)]),
            tokens: tokens(&issuer, &drain, None),
            secrets: Secrets::start(
                [].into(),
                Vec::new(),
                Arc::new(SystemClock),
                drain.clone(),
                None,
            ),
        };
        let budget = BudgetSettings {
            per_second: 1,
            burst,
        };
        let worlds = Arc::new(Worlds(ArcSwap::from_pointee(world)));
        let current = Arc::<Worlds>::clone(&worlds);
        let broker = Arc::new(Broker::new(current, budget, Arc::new(SystemClock)));
        let session = Arc::new(broker.session(Caller::Process(peer)));
        Self {
            issuer,
            worlds,
            broker,
            session,
            drain,
        }
    }

    /// What a reload to these rules puts into force.
    fn reload(&self, rules: Vec<Rule>) {
        let before = self.broker.world();
        self.install(World {
            policy: Policy::new(rules),
            tokens: tokens(&self.issuer, &self.drain, Some(&before.tokens)),
            ..World::clone(&before)
        });
    }

    fn install(&self, world: World) {
        let generation = self.broker.world().generation + 1;
        let next = World {
            generation,
            ..world
        };
        self.worlds.0.store(Arc::new(next));
    }

    fn rule(&self, limit: ScopeLimit) -> Rule {
        rule(self.session.facts(), limit)
    }

    /// Asks for the token, in a task of its own.
    fn ask(&self) -> tokio::task::JoinHandle<Result<Released<Answer>, Error>> {
        let (broker, session) = (Arc::clone(&self.broker), Arc::clone(&self.session));
        let request = TokenRequest {
            name: "api".to_owned(),
            scopes: Scopes::none(),
            want: Want {
                deadline: Duration::from_mins(1),
                ..Want::default()
            },
        };
        tokio::spawn(async move { broker.token(&session, &request).await })
    }

    /// The operations that were requested, each with its answers, denials and failures.
    fn counted(&self) -> Vec<(&'static str, [u64; 3])> {
        self.broker
            .counts()
            .into_iter()
            .map(|of| (of.operation.as_str(), [of.answered, of.denied, of.failed]))
            .filter(|(_, counts)| *counts != [0, 0, 0])
            .collect()
    }

    async fn watch(&self, scopes: &str) -> Result<Following<tokens::Watch>, Error> {
        let scopes = set(scopes);
        self.broker.watch_token(&self.session, "api", &scopes).await
    }
}

/// That this process may have the token.
fn rule(facts: &Facts, limit: ScopeLimit) -> Rule {
    let container = facts
        .cgroup
        .as_ref()
        .and_then(|cgroup| cgroup.container.clone());
    Rule {
        selector: Selector {
            user: Some(facts.uid),
            container,
            ..Selector::default()
        },
        tokens: vec!["api".into()],
        scopes: limit,
        secrets: Vec::new(),
    }
}

fn tokens(issuer: &Arc<Issuer>, drain: &Drain, previous: Option<&Tokens>) -> Arc<Tokens> {
    let definition = Definition {
        name: "api".into(),
        issuer: "acme".into(),
        client: "client".into(),
        scopes: set("a b c"),
        idle: tokens::DEFAULT_IDLE,
        identity: Identity::new("v1"),
        source: Arc::clone(issuer) as Arc<dyn TokenSource>,
    };
    let fingerprints = Arc::new(Fingerprints::new().unwrap());
    let clock = Arc::new(SystemClock);
    Tokens::new(
        vec![definition],
        fingerprints,
        clock,
        drain.clone(),
        previous,
    )
}

#[tokio::test]
async fn a_waiting_request_is_judged_by_the_rules_at_the_release() {
    for (left, reason) in [
        (None, Err("denied")),
        (Some(ScopeLimit::Definition), Ok("a b c")),
        (Some(ScopeLimit::Only(set("a"))), Ok("a")),
    ] {
        let stage = Stage::new(20).await;
        let asking = stage.ask();
        stage.issuer.is_asked().await;
        stage.reload(left.into_iter().map(|limit| stage.rule(limit)).collect());
        stage.issuer.allowed.add_permits(2);
        let outcome = asking.await.unwrap();
        let outcome = outcome
            .map(|answer| answer.token.scopes().to_string())
            .map_err(|error| error.reason().label());
        assert_eq!(outcome, reason.map(str::to_owned));
    }
}

#[tokio::test]
async fn a_watch_releases_nothing_by_rules_that_are_not_in_force() {
    let stage = Stage::new(20).await;
    stage.issuer.allowed.add_permits(1);
    let mut following = stage.watch("").await.unwrap();
    let control = stage.watch("").await.unwrap().next().await;
    assert!(control.is_ok(), "{control:?}");
    // The same tokens under other rules, so that the watch itself notices nothing.
    let before = stage.broker.world();
    stage.install(World {
        policy: Policy::new(Vec::new()),
        ..World::clone(&before)
    });
    assert_eq!(
        following.next().await.unwrap_err().reason().label(),
        "stopping"
    );
    assert_eq!(
        stage.watch("").await.unwrap_err().reason().label(),
        "denied"
    );
}

#[tokio::test]
async fn a_watch_that_needs_the_issuer_is_charged_to_the_budget() {
    let stage = Stage::new(2).await;
    stage.issuer.allowed.add_permits(10);
    for scopes in ["a", "b"] {
        stage.watch(scopes).await.unwrap().next().await.unwrap();
    }
    let refused = stage.watch("c").await.unwrap_err();
    assert_eq!(refused.reason().label(), "rate_limited");
    let again = stage.watch("a").await.unwrap().next().await;
    assert!(again.is_ok(), "an answer from the cache is free");
}

#[tokio::test]
async fn each_release_is_counted_and_reloads_keep_the_counts() {
    let stage = Stage::new(20).await;
    stage.issuer.allowed.add_permits(1);
    stage.watch("").await.unwrap().next().await.unwrap();
    stage.ask().await.unwrap().unwrap();
    assert_eq!(
        stage.counted(),
        [("get_token", [1, 0, 0]), ("watch_token", [2, 0, 0])]
    );
    stage.reload(Vec::new());
    stage.ask().await.unwrap().unwrap_err();
    assert_eq!(
        stage.watch("").await.unwrap_err().reason().label(),
        "denied"
    );
    assert_eq!(
        stage.counted(),
        [("get_token", [1, 1, 0]), ("watch_token", [2, 1, 0])]
    );
}

#[tokio::test(start_paused = true)]
async fn readiness_is_computed_once_a_second_for_peers() {
    let stage = Stage::new(20).await;
    let clock = Arc::new(SteppedClock::default());
    let current = Arc::<Worlds>::clone(&stage.worlds);
    let budget = BudgetSettings::default();
    let broker = Broker::new(current, budget, Arc::clone(&clock) as _);
    let looked_at = || stage.issuer.looked_at.swap(0, Ordering::Relaxed);
    looked_at();
    assert!((0..100).all(|_| broker.recent_verdict().ready));
    let once = looked_at();
    assert!((1..100).contains(&once), "{once}");
    clock.suspend(Duration::from_secs(1));
    assert!((0..100).all(|_| broker.recent_verdict().ready));
    assert_eq!(looked_at(), once);
    stage.reload(Vec::new());
    looked_at();
    assert!((0..100).all(|_| broker.recent_verdict().ready));
    assert_eq!(looked_at(), once, "a reload counts at once");
    assert!((0..100).all(|_| broker.verdict().ready));
    assert_eq!(looked_at(), 100 * once);
}

#[tokio::test]
async fn an_operators_request_is_released_without_a_rule() {
    let stage = Stage::new(20).await;
    stage.reload(Vec::new());
    let question = Question {
        facts: stage.session.facts().clone(),
        action: Action::Token,
        name: "apo".to_owned(),
        scopes: Scopes::none(),
    };
    let explained = stage.broker.explain(&stage.session, &question).await;
    let unknown = explained.unwrap().into_inner().unknown;
    assert_eq!(
        unknown.and_then(|unknown| unknown.meant),
        None,
        "too short to be a typing mistake"
    );
    let names = ["api".to_owned(), "other".to_owned()];
    let refreshed = stage.broker.refresh(&stage.session, &names);
    stage.issuer.allowed.add_permits(1);
    let refreshed = refreshed.await.unwrap();
    let outcomes: Vec<_> = refreshed
        .iter()
        .map(|one| {
            let outcome = one.outcome.as_ref().map_err(|error| error.reason().label());
            (one.name.as_str(), outcome.copied())
        })
        .collect();
    assert_eq!(outcomes, [("api", Ok(true)), ("other", Err("unknown"))]);
    assert_eq!(
        stage.counted(),
        [("explain", [1, 0, 0]), ("refresh", [1, 0, 0])]
    );
}

#[tokio::test]
async fn a_report_drops_the_token_only_if_a_newer_one_could_help() {
    let stage = Stage::new(20).await;
    stage.issuer.allowed.add_permits(1);
    let answer = stage.ask().await.unwrap().unwrap();
    let rejection = |challenge: &str| Rejection {
        name: "api".to_owned(),
        scopes: Scopes::none(),
        fingerprint: answer.token.fingerprint().to_owned(),
        http_status: 401,
        challenge: challenge.to_owned(),
    };
    for (challenge, outcome) in [
        ("Bearer error=\"insufficient_scope\"", Report::NotTheToken),
        ("Bearer error=\"invalid_token\"", Report::Dropped),
        ("Bearer error=\"invalid_token\"", Report::Superseded),
    ] {
        let rejection = rejection(challenge);
        let report = stage.broker.report_rejected(&stage.session, &rejection);
        assert_eq!(*report.await.unwrap(), outcome, "{challenge}");
    }
    stage.reload(Vec::new());
    let rejection = rejection("Bearer error=\"insufficient_scope\"");
    let denied = stage.broker.report_rejected(&stage.session, &rejection);
    assert_eq!(denied.await.unwrap_err().reason().label(), "denied");
}
