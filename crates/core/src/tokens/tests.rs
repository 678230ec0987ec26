//! The cache under simulated time, against an issuer that behaves: it gives tokens, repeats itself, is slow, and fails.

#![expect(clippy::disallowed_methods, reason = "tests look inside")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use async_trait::async_trait;
use bytes::Bytes;
use claviger_backend::Secret;
use tokio::runtime::Handle;

use super::*;
use crate::peer::Facts;
use crate::policy::{Policy, Rights, Rule, ScopeLimit, Selector};
use crate::tokens::room::MOST_ENTRIES;
use crate::tokens::source::{
    Ask, CredentialState, ErrorKind, Issued, Revocation, Urgency, Verdict,
};
use claviger_oauth_wire::Scopes;
use claviger_runtime::clock::SteppedClock;
use claviger_runtime::reason::{Detail, Reasoned as _};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// How the issuer behaves.
#[derive(Clone, Debug)]
struct Manners {
    lifetime: Duration,
    latency: Duration,
    failure: Option<ErrorKind>,
    /// What the source says a failure means, where it knows better than the kind.
    verdict: Option<Verdict>,
    /// Gives this very token, again and again.
    constant: Option<&'static str>,
    /// The constant token expires then, whenever it is asked for.
    constant_until: Option<Moment>,
    refresh_in: Option<Duration>,
    revocation: Revocation,
    has_credential: bool,
}

#[derive(Debug)]
struct Issuer {
    clock: Arc<SteppedClock>,
    manners: Mutex<Manners>,
    asked: Mutex<Vec<(Moment, Scopes)>>,
    revoked: Mutex<Vec<String>>,
    early: AtomicUsize,
    aboard: Mutex<BTreeSet<String>>,
    doubled: AtomicBool,
    given: AtomicUsize,
    credential: AtomicU64,
}

impl Issuer {
    fn be(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.manners.lock().unwrap());
    }

    fn fail(&self, kind: impl Into<Option<ErrorKind>>) {
        self.be(|manners| manners.failure = kind.into());
    }

    fn requests(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// Takes note of two requests for the same at once. A panic in a task of its own would not fail the test.
    fn enter(&self, scopes: &Scopes) -> Aboard<'_> {
        if !self.aboard.lock().unwrap().insert(scopes.to_string()) {
            self.doubled.store(true, Ordering::SeqCst);
        }
        Aboard(self, scopes.to_string())
    }
}

/// A request under way.
struct Aboard<'a>(&'a Issuer, String);

impl Drop for Aboard<'_> {
    fn drop(&mut self) {
        self.0.aboard.lock().unwrap().remove(&self.1);
    }
}

#[async_trait]
impl TokenSource for Issuer {
    async fn obtain(&self, ask: &Ask, urgency: Urgency) -> Result<Issued, source::Error> {
        if urgency == Urgency::Early {
            self.early.fetch_add(1, Ordering::SeqCst);
        }
        let scopes = &ask.scopes;
        let credential = self.credential.load(Ordering::SeqCst);
        let sent = self.clock.now();
        let _one = self.enter(scopes);
        self.asked.lock().unwrap().push((sent, scopes.clone()));
        let manners = self.manners.lock().unwrap().clone();
        tokio::time::sleep(manners.latency).await;
        if let Some(kind) = manners.failure {
            return Err(source::Error {
                detail: Detail::default(),
                kind,
                issuer: Arc::from("acme"),
                verdict: manners.verdict.unwrap_or(kind.verdict()),
                credential,
            });
        }
        let number = self.given.fetch_add(1, Ordering::SeqCst) + 1;
        let lifetime = manners
            .constant_until
            .map_or(manners.lifetime, |until| until.since(sent));
        Ok(Issued {
            access_token: Secret::from_text(
                manners
                    .constant
                    .map_or_else(|| format!("canary-{number}"), str::to_owned),
            ),
            binding: ask.binding,
            scopes: scopes.clone(),
            sent,
            lifetime,
            expires: sent.after(lifetime),
            refresh_in: manners.refresh_in,
            credential,
        })
    }

    async fn revoke(&self, token: &Secret) -> Revocation {
        let manners = self.manners.lock().unwrap().clone();
        tokio::time::sleep(manners.latency).await;
        let text = String::from_utf8(token.expose().to_vec()).unwrap();
        self.revoked.lock().unwrap().push(text);
        manners.revocation
    }

    fn credential(&self) -> CredentialState {
        CredentialState {
            number: self.credential.load(Ordering::SeqCst),
            is_available: self.manners.lock().unwrap().has_credential,
        }
    }
}

struct World {
    issuer: Arc<Issuer>,
    clock: Arc<SteppedClock>,
    drain: Drain,
    fingerprints: Arc<Fingerprints>,
    tokens: Arc<Tokens>,
}

fn set(text: &str) -> Scopes {
    Scopes::new(text.split_whitespace()).unwrap()
}

impl World {
    fn new(lifetime: u64) -> Self {
        Self::with(lifetime, "read write")
    }

    fn with(lifetime: u64, scopes: &str) -> Self {
        fastrand::seed(7);
        let clock = Arc::new(SteppedClock::new());
        let issuer = Arc::new(Issuer {
            clock: Arc::clone(&clock),
            manners: Mutex::new(Manners {
                lifetime: seconds(lifetime),
                latency: Duration::from_millis(50),
                failure: None,
                verdict: None,
                constant: None,
                constant_until: None,
                refresh_in: None,
                revocation: Revocation::Revoked,
                has_credential: true,
            }),
            asked: Mutex::default(),
            revoked: Mutex::default(),
            early: AtomicUsize::new(0),
            aboard: Mutex::default(),
            doubled: AtomicBool::new(false),
            given: AtomicUsize::new(0),
            credential: AtomicU64::new(1),
        });
        let drain = Drain::new(Handle::current());
        let definition = define(&issuer, scopes);
        let shared = Arc::clone(&clock) as Arc<dyn Clock>;
        let fingerprints = Arc::new(Fingerprints::new().unwrap());
        let tokens = Tokens::new(
            vec![definition],
            Arc::clone(&fingerprints),
            shared,
            drain.clone(),
            None,
        );
        Self {
            issuer,
            clock,
            drain,
            fingerprints,
            tokens,
        }
    }

    fn reload(&self, scopes: &str, identity: &'static str) -> Arc<Tokens> {
        let definition = Definition {
            identity: Identity::new(identity),
            ..define(&self.issuer, scopes)
        };
        Tokens::new(
            vec![definition],
            Arc::clone(&self.fingerprints),
            Arc::clone(&self.clock) as Arc<dyn Clock>,
            self.drain.clone(),
            Some(&self.tokens),
        )
    }

    /// As a caller does: from the cache, or else by waiting.
    async fn call(&self) -> Result<Answer, Error> {
        let permit = permit();
        match self.tokens.cached(&permit) {
            Some(answer) => Ok(answer),
            None => self.get(Want::default()).await,
        }
    }

    async fn get(&self, want: Want) -> Result<Answer, Error> {
        self.tokens.get(&permit(), &want, &free).await
    }

    fn watch(&self) -> Result<Watch, Error> {
        self.tokens.watch(&permit(), &free)
    }

    /// Moves on by `time` since the start of the test, in one step, with the background at work.
    async fn until(&self, start: Moment, time: Duration) {
        let spent = self.clock.now().since(start);
        tokio::time::sleep(time.saturating_sub(spent)).await;
    }

    fn status(&self) -> EntryStatus {
        self.tokens.status().remove(0).entries.remove(0)
    }
}

fn define(issuer: &Arc<Issuer>, scopes: &str) -> Definition {
    Definition {
        name: Arc::from("billing-api"),
        issuer: Arc::from("acme"),
        client: Arc::from("billing"),
        scopes: set(scopes),
        idle: DEFAULT_IDLE,
        identity: Identity::new("v1"),
        source: Arc::clone(issuer) as Arc<dyn TokenSource>,
    }
}

/// A caller with budget.
#[expect(clippy::unnecessary_wraps, reason = "other callers have none")]
fn free(_now: Moment) -> Result<(), Duration> {
    Ok(())
}

fn permit() -> TokenPermit {
    permit_for("", None)
}

fn permit_for(requested: &str, limit: Option<&str>) -> TokenPermit {
    let rights = rights(limit);
    rights.token("billing-api", &set(requested)).unwrap()
}

fn rights(limit: Option<&str>) -> Rights {
    let name = Arc::<str>::from("billing-api");
    let rule = Rule {
        selector: Selector {
            user: Some(1000),
            ..Selector::default()
        },
        tokens: vec![Arc::clone(&name)],
        scopes: limit.map_or(ScopeLimit::Definition, |limit| ScopeLimit::Only(set(limit))),
        secrets: vec![Arc::clone(&name)],
    };
    let facts = Facts {
        uid: 1000,
        ..Facts::default()
    };
    Policy::new(vec![rule]).rights(&facts)
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.token.access_token().expose().to_vec()).unwrap()
}

fn force() -> Want {
    Want {
        force_refresh: true,
        ..Want::default()
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_call_asks_and_the_next_is_answered_from_memory() {
    let world = World::new(3600);
    assert!(world.tokens.cached(&permit()).is_none());
    let first = world.call().await.unwrap();
    assert_eq!(
        (text(&first).as_str(), first.freshness),
        ("canary-1", Freshness::Refreshed)
    );
    let second = world.tokens.cached(&permit()).unwrap();
    assert_eq!(second.freshness, Freshness::Fresh);
    assert!(Arc::ptr_eq(&first.token, &second.token));
    assert_eq!(second.lifetime_left, Duration::from_millis(3_599_950));
    assert_eq!(
        (second.token.token_type(), second.token.generation()),
        ("Bearer", 1)
    );
    assert_eq!(*second.token.scopes(), set("read write"));
    assert_eq!((world.status().state, world.status().hits), ("fresh", 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_rendered_is_made_once_per_token() {
    let world = World::new(3600);
    let answer = world.call().await.unwrap();
    let first = answer
        .token
        .rendered(|held| Bytes::from(held.fingerprint().to_owned()));
    assert_eq!(first, answer.token.fingerprint());
    let again = world.call().await.unwrap();
    assert_eq!(
        again.token.rendered(|_| Bytes::from_static(b"other")),
        first
    );
    assert!(!format!("{answer:?} {:?} {:?}", world.tokens, world.status()).contains("canary"));
}

#[tokio::test(start_paused = true)]
async fn a_token_of_an_hour_is_renewed_in_its_last_five_minutes() {
    let world = World::new(3600);
    let start = world.clock.now();
    world.call().await.unwrap();
    world.until(start, seconds(3269)).await;
    assert_eq!(text(&world.call().await.unwrap()), "canary-1");
    world.until(start, seconds(3301)).await;
    let renewed = world.call().await.unwrap();
    assert_eq!(
        (text(&renewed).as_str(), renewed.token.generation()),
        ("canary-2", 2)
    );
    assert_eq!(world.issuer.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_the_background_the_next_call_renews() {
    let world = World::new(3600);
    world.call().await.unwrap();
    // The timer stands still in suspend, so nothing has been renewed when the machine wakes up.
    world.clock.suspend(seconds(3301));
    let renewed = world.call().await.unwrap();
    assert_eq!(
        (text(&renewed).as_str(), renewed.freshness),
        ("canary-2", Freshness::Refreshed)
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_of_a_minute_costs_a_request_in_48_seconds_under_load() {
    let world = World::new(60);
    let start = world.clock.now();
    while world.clock.now().since(start) < MINUTE * 20 {
        let answer = world.call().await.unwrap();
        assert!(answer.lifetime_left > seconds(6), "never below its floor");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let requests = world.issuer.requests();
    assert!(
        (25..=27).contains(&requests),
        "{requests} requests in 20 minutes"
    );
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_repeats_itself_is_asked_every_five_seconds_at_most() {
    for constant_until in [None, Some(30_u64)] {
        let world = World::new(20);
        let start = world.clock.now();
        let end = constant_until.map(|after| Moment {
            boot: start.boot + seconds(after),
            wall: start.wall + seconds(after),
        });
        world.issuer.be(|manners| {
            manners.constant = Some("the-same-again");
            manners.constant_until = end;
            manners.latency = Duration::ZERO;
        });
        let horizon = end.map_or(MINUTE * 5, |_| seconds(29));
        while world.clock.now().since(start) < horizon {
            let answer = world.call().await.unwrap();
            assert_eq!(
                answer.token.generation(),
                1,
                "the same token is no new generation"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let asked = world.issuer.asked.lock().unwrap();
        assert!(asked.len() >= 3, "{asked:?}");
        for pair in asked.windows(2) {
            assert!(pair[1].0.since(pair[0].0) >= seconds(5), "{asked:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_down_is_bridged_to_the_floor_of_the_token() {
    let world = World::new(3600);
    world.issuer.be(|manners| manners.latency = Duration::ZERO);
    let start = world.clock.now();
    world.call().await.unwrap();
    world.until(start, seconds(3200)).await;
    world.issuer.fail(ErrorKind::Unreachable);
    world.until(start, seconds(3301)).await;
    let (mut stale, mut last) = (0, Duration::ZERO);
    while world.clock.now().since(start) < seconds(3569) {
        let answer = world.call().await.unwrap();
        assert_eq!(text(&answer), "canary-1");
        stale += usize::from(answer.freshness == Freshness::Stale);
        last = world.clock.now().since(start);
        tokio::time::sleep(SECOND).await;
    }
    assert!(stale > 200 && last >= seconds(3567), "{stale}, {last:?}");
    assert_eq!(world.status().state, "stale");
    world.until(start, seconds(3571)).await;
    let error = world.call().await.unwrap_err();
    assert_eq!(error.reason().label(), "unreachable");
    assert!(error.retry_in().unwrap() <= MINUTE);
    assert_eq!(
        (world.status().state, world.tokens.is_ready()),
        ("failed", false)
    );
    let requests = world.issuer.requests();
    assert!(
        requests < 40,
        "{requests} requests in five minutes of outage"
    );
    world.issuer.fail(None);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(text(&world.call().await.unwrap()), "canary-2");
    assert!(world.tokens.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_slow_issuer_costs_two_seconds_once_while_the_old_token_is_good() {
    let world = World::new(3600);
    world.call().await.unwrap();
    world.issuer.be(|manners| manners.latency = seconds(20));
    world.clock.suspend(seconds(3400));
    let before = world.clock.now();
    let first = world.call().await.unwrap();
    assert_eq!(
        (text(&first).as_str(), first.freshness),
        ("canary-1", Freshness::Stale)
    );
    assert_eq!(world.clock.now().since(before), seconds(2));
    let second = world.call().await.unwrap();
    assert_eq!(second.freshness, Freshness::Stale);
    assert_eq!(
        world.clock.now().since(before),
        seconds(2),
        "the next ones do not wait again"
    );
    tokio::time::sleep(seconds(19)).await;
    assert_eq!(text(&world.call().await.unwrap()), "canary-2");
    assert_eq!(world.issuer.requests(), 2);
}

async fn crowd(world: &World, size: usize, want: Want) -> Vec<Result<Answer, Error>> {
    let callers: Vec<_> = (0..size)
        .map(|_| {
            let tokens = Arc::clone(&world.tokens);
            tokio::spawn(async move { tokens.get(&permit(), &want, &free).await })
        })
        .collect();
    let mut results = Vec::new();
    for caller in callers {
        results.push(caller.await.unwrap());
    }
    results
}

#[tokio::test(start_paused = true)]
async fn a_crowd_on_a_cold_entry_costs_one_request() {
    for (size, latency) in [(1000, Duration::ZERO), (500, SECOND)] {
        let world = World::new(3600);
        world.issuer.be(|manners| manners.latency = latency);
        let answers = crowd(&world, size, Want::default()).await;
        assert!(
            answers
                .iter()
                .all(|answer| text(answer.as_ref().unwrap()) == "canary-1")
        );
        assert_eq!(world.issuer.requests(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_crowd_shares_a_failure_too() {
    let world = World::new(3600);
    world.issuer.fail(ErrorKind::Timeout);
    let answers = crowd(&world, 500, Want::default()).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.as_ref().unwrap_err().reason().label() == "timeout")
    );
    assert_eq!(world.issuer.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_secret_costs_two_requests_in_a_minute_and_a_new_one_is_tried_at_once() {
    let world = World::new(3600);
    world.issuer.fail(ErrorKind::InvalidClient);
    let start = world.clock.now();
    for _ in 0..1000 {
        let error = world.call().await.unwrap_err();
        assert_eq!(error.reason().label(), "invalid_client");
        assert!(error.retry_in().unwrap() <= MINUTE);
        tokio::time::sleep(Duration::from_millis(62)).await;
    }
    assert!(world.clock.now().since(start) > MINUTE);
    assert_eq!(world.issuer.requests(), 2);
    assert_eq!(world.status().state, "refused");
    world.issuer.fail(None);
    assert!(world.call().await.is_err(), "the refusal is believed");
    world.issuer.credential.store(2, Ordering::SeqCst);
    assert_eq!(text(&world.call().await.unwrap()), "canary-1");
}

#[tokio::test(start_paused = true)]
async fn an_unused_token_is_renewed_for_as_long_as_its_definition_says() {
    for (idle, requests) in [(MINUTE * 30, 4), (MINUTE * 10, 2), (MINUTE * 90, 10)] {
        let world = World::new(600);
        let definition = Definition {
            idle,
            ..define(&world.issuer, "read write")
        };
        let tokens = Tokens::new(
            vec![definition],
            Arc::clone(&world.fingerprints),
            Arc::clone(&world.clock) as Arc<dyn Clock>,
            world.drain.clone(),
            Some(&world.tokens),
        );
        tokens
            .get(&permit(), &Want::default(), &free)
            .await
            .unwrap();
        tokio::time::sleep(MINUTE * 75).await;
        assert_eq!(world.issuer.requests(), requests, "{idle:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_that_may_pass_are_retried_ever_more_slowly() {
    let world = World::new(3600);
    world.issuer.fail(ErrorKind::Unavailable {
        status: 503,
        retry_after: None,
    });
    let start = world.clock.now();
    while world.clock.now().since(start) < MINUTE * 30 {
        assert!(world.call().await.is_err());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let requests = world.issuer.requests();
    // Full jitter: half a minute on average once the ceiling is reached.
    assert!(
        (40..120).contains(&requests),
        "{requests} requests in half an hour"
    );

    let patient = World::new(3600);
    patient.issuer.fail(ErrorKind::RateLimited {
        retry_after: Some(seconds(90)),
    });
    let error = patient.call().await.unwrap_err();
    assert_eq!(error.retry_in(), Some(seconds(90)));
    tokio::time::sleep(seconds(89)).await;
    assert!(patient.call().await.is_err());
    assert_eq!(patient.issuer.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_reports_about_one_token_cost_one_renewal() {
    let world = World::new(3600);
    let first = world.call().await.unwrap();
    let fingerprint = first.token.fingerprint().to_owned();
    let reports: Vec<_> = (0..100)
        .map(|_| world.tokens.report(&permit(), &fingerprint))
        .collect();
    assert_eq!(
        reports
            .iter()
            .filter(|report| **report == Report::Dropped)
            .count(),
        1
    );
    assert_eq!(
        reports
            .iter()
            .filter(|report| **report == Report::Superseded)
            .count(),
        99
    );
    assert!(world.tokens.cached(&permit()).is_none());
    let second = crowd(&world, 100, Want::default()).await.remove(0).unwrap();
    assert_eq!(
        (text(&second).as_str(), second.token.generation()),
        ("canary-2", 2)
    );
    assert_eq!(
        world.tokens.report(&permit(), &fingerprint),
        Report::Superseded
    );
    assert_eq!(
        world.tokens.report(&permit(), "hmac-sha256:00"),
        Report::Superseded
    );
    assert_eq!(text(&world.call().await.unwrap()), "canary-2");
    assert_eq!(world.issuer.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_refuses_everything_sees_two_tokens_and_no_loop() {
    let world = World::new(3600);
    let mut seen = BTreeSet::new();
    // A client that never gives up: every call is refused, reported, and tried again.
    for _ in 0..50 {
        let answer = world.call().await.unwrap();
        seen.insert(text(&answer));
        let report = world.tokens.report(&permit(), answer.token.fingerprint());
        assert_eq!(report == Report::Dropped, seen.len() == 1, "{report:?}");
        tokio::time::sleep(SECOND).await;
    }
    assert_eq!((seen.len(), world.issuer.requests()), (2, 2));
    tokio::time::sleep(seconds(11)).await;
    let later = world.call().await.unwrap();
    assert_eq!(
        world.tokens.report(&permit(), later.token.fingerprint()),
        Report::Dropped
    );
}

#[tokio::test(start_paused = true)]
async fn forced_renewals_are_limited() {
    let world = World::new(3600);
    for number in 1..=10 {
        let answer = world.get(force()).await.unwrap();
        assert_eq!(answer.token.generation(), number);
    }
    let error = world.get(force()).await.unwrap_err();
    assert!(matches!(error, Error::Limited { retry_in } if retry_in <= MINUTE));
    assert_eq!(world.issuer.requests(), 10);
    assert_eq!(text(&world.call().await.unwrap()), "canary-10");
    tokio::time::sleep(MINUTE).await;
    assert!(world.get(force()).await.is_ok());
    // Those who force at the same time share one renewal.
    let before = world.issuer.requests();
    assert!(crowd(&world, 50, force()).await.iter().all(Result::is_ok));
    assert_eq!(world.issuer.requests(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_may_want_more_lifetime_than_is_left() {
    let world = World::new(600);
    world.issuer.be(|manners| manners.latency = Duration::ZERO);
    world.call().await.unwrap();
    tokio::time::sleep(seconds(20)).await;
    let want = |remaining| Want {
        min_remaining: seconds(remaining),
        ..Want::default()
    };
    assert_eq!(text(&world.get(want(570)).await.unwrap()), "canary-1");
    let renewed = world.get(want(590)).await.unwrap();
    assert_eq!(
        (text(&renewed).as_str(), renewed.lifetime_left),
        ("canary-2", seconds(600))
    );
    for _ in 0..100 {
        let error = world.get(want(601)).await.unwrap_err();
        assert!(matches!(error, Error::TooShort { longest } if longest == seconds(600)));
    }
    assert_eq!(
        world.issuer.requests(),
        2,
        "what is known not to help is not tried"
    );

    let cold = World::new(600);
    let error = cold.get(want(601)).await.unwrap_err();
    assert_eq!(error.reason().label(), "lifetime_too_short");
    assert_eq!(
        text(&cold.call().await.unwrap()),
        "canary-1",
        "what came is kept for others"
    );
}

#[tokio::test(start_paused = true)]
async fn an_old_token_that_fell_short_while_waiting_is_not_handed_out() {
    let world = World::new(600);
    let first = world.call().await.unwrap();
    world.issuer.be(|manners| manners.latency = seconds(20));
    world.clock.suspend(seconds(500));
    let left = first.token.expires().left(world.clock.now());
    let want = Want {
        min_remaining: left.saturating_sub(SECOND),
        deadline: seconds(4),
        ..Want::default()
    };
    assert_eq!(
        world.get(want).await.unwrap_err().reason().label(),
        "pending"
    );
    let modest = world.get(Want::default()).await.unwrap();
    assert_eq!(modest.freshness, Freshness::Stale);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_lives_for_no_time_is_served_once_and_never_in_a_loop() {
    let world = World::new(0);
    world.issuer.be(|manners| manners.latency = Duration::ZERO);
    let together = crowd(&world, 100, Want::default()).await;
    for answer in &together {
        let answer = answer.as_ref().unwrap();
        assert_eq!(
            (text(answer).as_str(), answer.lifetime_left),
            ("canary-1", Duration::ZERO)
        );
    }
    assert!(world.tokens.cached(&permit()).is_none());
    let start = world.clock.now();
    for _ in 0..5 {
        world.call().await.unwrap();
    }
    assert!(world.clock.now().since(start) >= seconds(5));
    assert_eq!(world.issuer.requests(), 6, "one a second");
    tokio::time::sleep(MINUTE).await;
    assert_eq!(world.issuer.requests(), 6, "and none without a caller");
}

#[tokio::test(start_paused = true)]
async fn an_impatient_caller_is_told_to_come_back_and_the_request_goes_on() {
    let world = World::new(3600);
    world.issuer.be(|manners| manners.latency = seconds(10));
    let want = Want {
        deadline: SECOND,
        ..Want::default()
    };
    let error = world.get(want).await.unwrap_err();
    assert_eq!(error.reason().label(), "pending");
    let gone = world.get(Want::default());
    assert!(
        tokio::time::timeout(Duration::from_millis(10), gone)
            .await
            .is_err()
    );
    tokio::time::sleep(seconds(9)).await;
    assert_eq!(text(&world.tokens.cached(&permit()).unwrap()), "canary-1");
    assert_eq!(world.issuer.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn steps_of_the_wall_clock_never_extend_a_token_and_a_suspend_counts() {
    for (step, suspended, renewed) in [(-3600, 0, false), (3600, 0, true), (0, 3600, true)] {
        let world = World::new(3600);
        world.issuer.be(|manners| manners.latency = Duration::ZERO);
        let start = world.clock.now();
        world.call().await.unwrap();
        world.clock.step_wall(step);
        world.clock.suspend(seconds(suspended));
        let answer = world.call().await.unwrap();
        assert_eq!(
            text(&answer) == "canary-2",
            renewed,
            "step {step}, suspend {suspended}"
        );
        world.issuer.fail(ErrorKind::Unreachable);
        world.until(start, seconds(3600 + suspended)).await;
        if step < 0 {
            assert!(
                world.call().await.is_err(),
                "an hour has passed, whatever the wall says"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_used_token_is_kept_warm_and_an_unused_one_lapses() {
    let world = World::new(600);
    let narrow = permit_for("read", None);
    world.call().await.unwrap();
    world
        .tokens
        .get(&narrow, &Want::default(), &free)
        .await
        .unwrap();
    let held = Arc::downgrade(&world.tokens.cached(&narrow).unwrap().token);
    for _ in 0..12 * 6 {
        tokio::time::sleep(seconds(300)).await;
        assert!(
            world.tokens.cached(&permit()).is_some(),
            "six hours without a wait"
        );
    }
    let asked = world.issuer.asked.lock().unwrap().clone();
    let narrow_asked = asked.iter().filter(|(_, scopes)| *scopes == set("read"));
    assert!(
        (2..=5).contains(&narrow_asked.count()),
        "renewed for half an hour"
    );
    assert!(held.upgrade().is_none());
    assert_eq!(
        world.tokens.status().remove(0).entries.len(),
        1,
        "and forgotten"
    );
}

#[tokio::test(start_paused = true)]
async fn a_new_credential_is_proven_while_the_old_token_is_good() {
    let world = World::new(3600);
    world.call().await.unwrap();
    world.issuer.credential.store(2, Ordering::SeqCst);
    tokio::time::sleep(seconds(40)).await;
    assert_eq!(text(&world.call().await.unwrap()), "canary-2");
    // One that does not work leaves the token in service, and is not tried in a loop.
    world.issuer.fail(ErrorKind::InvalidClient);
    world.issuer.credential.store(3, Ordering::SeqCst);
    tokio::time::sleep(seconds(40)).await;
    let answer = world.call().await.unwrap();
    assert_eq!(text(&answer), "canary-2");
    assert_eq!(world.issuer.requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn narrower_rules_never_get_wider_tokens() {
    let world = World::new(3600);
    for (requested, limit, expected) in [
        ("", None, "read write"),
        ("read", None, "read"),
        ("", Some("read"), "read"),
        ("", Some("read write other"), "read write"),
        ("write read", None, "read write"),
        ("write", Some("write other"), "write"),
    ] {
        let permit = permit_for(requested, limit);
        let answer = world
            .tokens
            .get(&permit, &Want::default(), &free)
            .await
            .unwrap();
        assert_eq!(
            *answer.token.scopes(),
            set(expected),
            "{requested:?} {limit:?}"
        );
        let cached = world.tokens.cached(&permit).unwrap();
        assert!(Arc::ptr_eq(&cached.token, &answer.token));
    }
    assert_eq!(world.issuer.requests(), 3, "one for each distinct set");
    for (requested, limit) in [
        ("other", None),
        ("", Some("other")),
        ("other", Some("other")),
    ] {
        let permit = permit_for(requested, limit);
        let error = world
            .tokens
            .get(&permit, &Want::default(), &free)
            .await
            .unwrap_err();
        assert_eq!(error.reason().label(), "scopes_not_configured");
        assert!(world.tokens.cached(&permit).is_none());
    }
    assert_eq!(world.issuer.requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_scope_sets_do_not_grow_the_cache() {
    let world = World::with(3600, "");
    world.issuer.be(|manners| manners.latency = Duration::ZERO);
    world.call().await.unwrap();
    for number in 0..10_000 {
        let permit = permit_for("", Some(&format!("scope{number}")));
        world
            .tokens
            .get(&permit, &Want::default(), &free)
            .await
            .unwrap();
        let entries = world.tokens.supplies["billing-api"].len();
        assert!(entries <= MOST_ENTRIES, "{entries}");
    }
    assert!(
        world.tokens.cached(&permit()).is_some(),
        "the definition's own entry stays"
    );
    let newest = permit_for("", Some("scope9999"));
    assert!(world.tokens.cached(&newest).is_some());
}

#[tokio::test(start_paused = true)]
async fn revocation_is_local_first_and_says_what_the_issuer_did() {
    let world = World::new(3600);
    let revoke = rights(None).revocation("billing-api", &set("")).unwrap();
    assert_eq!(world.tokens.revoke(&revoke).await, Revoked::NothingHeld);
    let until = world.call().await.unwrap().token.expires();
    assert_eq!(world.tokens.revoke(&revoke).await, Revoked::Revoked);
    assert_eq!(*world.issuer.revoked.lock().unwrap(), ["canary-1"]);
    assert_eq!(world.tokens.revoke(&revoke).await, Revoked::NothingHeld);
    let error = source::Error {
        kind: ErrorKind::InvalidClient,
        issuer: "acme".into(),
        verdict: Verdict::Terminal,
        credential: 1,
        detail: Detail::default(),
    };
    for (manner, outcome) in [
        (Revocation::Unsupported, "Unsupported"),
        (Revocation::Refused(error.clone()), "Refused"),
        (Revocation::Failed(error.clone()), "Failed"),
    ] {
        let held = world.call().await.unwrap();
        assert!(held.token.expires().wall() >= until.wall());
        world.issuer.be(|manners| manners.revocation = manner);
        let revoked = world.tokens.revoke(&revoke).await;
        assert!(format!("{revoked:?}").starts_with(outcome), "{revoked:?}");
    }
    // A caller that goes away does not stop it.
    let last = world.call().await.unwrap();
    world.issuer.be(|manners| manners.latency = seconds(5));
    assert!(
        tokio::time::timeout(SECOND, world.tokens.revoke(&revoke))
            .await
            .is_err()
    );
    assert!(world.tokens.cached(&permit()).is_none());
    tokio::time::sleep(seconds(5)).await;
    assert_eq!(
        world.issuer.revoked.lock().unwrap().last(),
        Some(&text(&last))
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_sees_each_new_token_once() {
    let world = World::new(600);
    let mut watch = world.watch().unwrap();
    assert_eq!(text(&watch.next().await.unwrap()), "canary-1");
    let start = world.clock.now();
    for number in 2..10 {
        // No other caller asks: a watched entry counts as used.
        let next = watch.next().await.unwrap();
        assert_eq!(text(&next), format!("canary-{number}"));
        assert_eq!(next.freshness, Freshness::Refreshed);
        assert!(next.lifetime_left > seconds(590), "as soon as it is there");
    }
    assert!(world.clock.now().since(start) > MINUTE * 60);

    let held = world.call().await.unwrap();
    assert_eq!(
        world.tokens.report(&permit(), held.token.fingerprint()),
        Report::Dropped
    );
    assert_eq!(
        text(&watch.next().await.unwrap()),
        "canary-10",
        "a refused one is replaced"
    );

    world.issuer.fail(ErrorKind::Unreachable);
    let before = world.clock.now();
    assert_eq!(
        watch.next().await.unwrap_err().reason().label(),
        "unreachable"
    );
    assert!(
        world.clock.now().since(before) >= seconds(569),
        "not before the floor"
    );
    for _ in 0..10 {
        assert!(watch.next().await.is_err());
    }
    assert!(
        world.clock.now().since(before) >= seconds(579),
        "it paces itself"
    );
    world.issuer.fail(None);
    loop {
        if let Ok(answer) = watch.next().await {
            assert_eq!(text(&answer), "canary-11");
            break;
        }
    }
    world.drain.begin();
    assert!(matches!(watch.next().await, Err(Error::Stopping)));
}

#[tokio::test(start_paused = true)]
async fn following_counts_as_using() {
    let world = World::new(7200);
    let mut watch = world.watch().unwrap();
    let mut before = watch.next().await.unwrap();
    for _ in 0..5 {
        let next = watch.next().await.unwrap();
        let left = before.token.expires().left(world.clock.now());
        assert!(
            left > seconds(290),
            "renewed ahead of its expiry, with {left:?} left"
        );
        before = next;
    }
    drop(watch);
    tokio::time::sleep(seconds(4 * 7200)).await;
    assert_eq!(world.issuer.requests(), 6, "and not any more afterwards");
}

#[tokio::test(start_paused = true)]
async fn an_operator_renews_all_entries_at_once() {
    let world = World::new(3600);
    world.issuer.fail(ErrorKind::InvalidClient);
    assert!(world.call().await.is_err());
    world.issuer.fail(None);
    let narrow = permit_for("read", None);
    world
        .tokens
        .get(&narrow, &Want::default(), &free)
        .await
        .unwrap();
    let results = world.tokens.refresh("billing-api").await;
    assert!(
        matches!(results.as_slice(), [Ok(true), Ok(true)]),
        "{results:?}"
    );
    assert!(
        world.call().await.is_ok(),
        "what was remembered of the failure is gone"
    );
    world.issuer.fail(ErrorKind::Timeout);
    let results = world.tokens.refresh("billing-api").await;
    assert!(
        results
            .iter()
            .all(|result| result.as_ref().unwrap_err().reason().label() == "timeout")
    );
    assert_eq!(
        world.call().await.unwrap().freshness,
        Freshness::Fresh,
        "what is held is as good as before"
    );
    assert_eq!(world.status().last_error, Some("timeout"));
    assert!(matches!(
        world.tokens.refresh("other").await[..],
        [Err(Error::Unknown)]
    ));
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_the_tokens_of_definitions_that_did_not_change() {
    let world = World::new(3600);
    world.call().await.unwrap();
    let mut watch = world.watch().unwrap();
    watch.next().await.unwrap();
    let same = world.reload("write read", "v1");
    assert_eq!(text(&same.cached(&permit()).unwrap()), "canary-1");
    assert!(matches!(watch.next().await, Err(Error::Stopping)));
    for (scopes, identity) in [("read", "v1"), ("read write", "v2")] {
        let other = world.reload(scopes, identity);
        assert!(other.cached(&permit()).is_none(), "{scopes} {identity}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopping_daemon_serves_what_it_holds_and_asks_for_nothing() {
    let world = World::new(3600);
    world.issuer.be(|manners| manners.latency = seconds(3));
    let tokens = Arc::clone(&world.tokens);
    let flying = tokio::spawn(async move { tokens.get(&permit(), &Want::default(), &free).await });
    tokio::time::sleep(SECOND).await;
    assert_eq!(world.drain.finish(seconds(10)).await, 0);
    assert!(flying.await.unwrap().is_ok(), "what flies lands");
    world.clock.suspend(seconds(3400));
    let last = world.call().await.unwrap();
    assert_eq!(
        (text(&last).as_str(), last.freshness),
        ("canary-1", Freshness::Stale)
    );
    world.clock.suspend(seconds(300));
    assert!(matches!(world.call().await, Err(Error::Stopping)));
    assert_eq!(world.issuer.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn starting_a_request_costs_and_joining_one_does_not() {
    let world = World::new(3600);
    let broke = |_now| Err(Duration::from_secs(7));
    let want = Want::default();
    let error = world
        .tokens
        .get(&permit(), &want, &broke)
        .await
        .unwrap_err();
    assert_eq!(error.retry_in(), Some(Duration::from_secs(7)));
    let permit = permit();
    let (starts, joins) = tokio::join!(
        world.tokens.get(&permit, &want, &free),
        world.tokens.get(&permit, &want, &broke),
    );
    assert!(starts.is_ok() && joins.is_ok());
    assert!(
        world.tokens.get(&permit, &want, &broke).await.is_ok(),
        "the cache is free"
    );
    assert!(world.tokens.watch(&permit, &broke).is_ok());

    // Following starts a request as well, if nothing is held.
    let cold = World::new(3600);
    let error = cold.tokens.watch(&permit, &broke).unwrap_err();
    assert_eq!(error.reason().label(), "rate_limited");
    let narrow = permit_for("read", None);
    assert!(cold.tokens.watch(&narrow, &broke).is_err());
    let mut watch = cold.tokens.watch(&permit, &free).unwrap();
    let (first, second) = tokio::join!(watch.next(), async {
        cold.tokens.watch(&permit, &broke).map(drop)
    });
    assert!(first.is_ok() && second.is_ok(), "joining is free");
}

#[tokio::test(start_paused = true)]
async fn a_caller_without_budget_evicts_no_entries() {
    let world = World::with(3600, "");
    world.issuer.be(|manners| manners.latency = Duration::ZERO);
    let scoped = |name: String| permit_for("", Some(&name));
    let want = Want::default();
    let honest: Vec<_> = (0..MOST_ENTRIES)
        .map(|n| scoped(format!("honest{n}")))
        .collect();
    for permit in &honest {
        world.tokens.get(permit, &want, &free).await.unwrap();
    }
    tokio::time::sleep(MINUTE).await;
    let broke = |_now| Err(SECOND);
    for number in 0..100 {
        let permit = scoped(format!("greedy{number}"));
        let error = world.tokens.get(&permit, &want, &broke).await;
        assert_eq!(error.unwrap_err().reason().label(), "rate_limited");
    }
    let held = |permit: &TokenPermit| world.tokens.cached(permit).is_some();
    assert!(honest.iter().all(held));
    // Callers within their budget who get nothing for it evict one batch at most: entries without a token go first.
    world
        .issuer
        .fail(ErrorKind::RateLimited { retry_after: None });
    for number in 0..100 {
        let permit = scoped(format!("greedy{number}"));
        assert!(world.tokens.get(&permit, &want, &free).await.is_err());
    }
    let left = honest.iter().filter(|permit| held(permit)).count();
    assert_eq!(left, MOST_ENTRIES - MOST_ENTRIES / 64);
}

#[tokio::test(start_paused = true)]
async fn following_a_token_that_lives_for_no_time_is_no_loop() {
    let world = World::new(0);
    world.issuer.be(|manners| manners.latency = Duration::ZERO);
    let mut watch = world.tokens.watch(&permit(), &free).unwrap();
    let start = world.clock.now();
    for number in 1..=10 {
        let answer = watch.next().await.unwrap();
        assert_eq!(text(&answer), format!("canary-{number}"));
    }
    let spent = world.clock.now().since(start);
    assert!(spent >= MINUTE * 9, "ten tokens in {spent:?}");
}

#[tokio::test(start_paused = true)]
async fn a_new_credential_whose_tokens_live_for_no_time_is_no_loop() {
    let world = World::new(3600);
    world.call().await.unwrap();
    world.issuer.be(|manners| manners.lifetime = Duration::ZERO);
    world.issuer.credential.store(2, Ordering::SeqCst);
    tokio::time::sleep(MINUTE * 5).await;
    assert_eq!(text(&world.call().await.unwrap()), "canary-1");
    assert_eq!(world.issuer.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn only_what_is_not_needed_yet_is_asked_for_early() {
    let world = World::new(3600);
    let early = || world.issuer.early.load(Ordering::SeqCst);
    world.get(force()).await.unwrap();
    assert_eq!(early(), 0, "none was held");
    world.get(force()).await.unwrap();
    let want = Want {
        min_remaining: seconds(3600),
        ..Want::default()
    };
    assert!(world.get(want).await.is_err(), "some of it is over already");
    assert_eq!(early(), 2);
    // That one failed changes nothing about that.
    world
        .issuer
        .fail(ErrorKind::RateLimited { retry_after: None });
    assert!(world.get(force()).await.is_err());
    tokio::time::sleep(MINUTE).await;
    world.issuer.fail(None);
    world.get(force()).await.unwrap();
    assert_eq!(
        (early(), world.status().state),
        (world.issuer.requests() - 1, "fresh")
    );
    // A renewal that is due is needed, whichever caller causes it, and so is an operator's.
    let before = early();
    assert!(world.tokens.refresh("billing-api").await.remove(0).unwrap());
    world.clock.suspend(seconds(3400));
    world.get(force()).await.unwrap();
    world.clock.suspend(seconds(3600));
    world.get(force()).await.unwrap();
    let held = world.call().await.unwrap();
    world.tokens.report(&permit(), held.token.fingerprint());
    world.call().await.unwrap();
    assert_eq!(early(), before);
}

/// What an issuer may come up with next.
fn moods(manners: &mut Manners) {
    let failures = [
        ErrorKind::InvalidClient,
        ErrorKind::Timeout,
        ErrorKind::Unavailable {
            status: 503,
            retry_after: Some(seconds(fastrand::u64(0..90))),
        },
        ErrorKind::RateLimited { retry_after: None },
    ];
    let pick = |from: &[u64]| seconds(from[fastrand::usize(..from.len())]);
    *manners = Manners {
        lifetime: pick(&[0, 1, 4, 29, 31, 60, 300, 3600, u64::MAX / 4]),
        latency: Duration::from_millis(fastrand::u64(0..1000)) * fastrand::u32(0..25),
        verdict: None,
        failure: fastrand::bool().then(|| failures[fastrand::usize(..failures.len())]),
        constant: fastrand::bool().then_some("the-same-again"),
        constant_until: None,
        refresh_in: fastrand::bool().then(|| pick(&[0, 1, 100, u64::MAX / 4])),
        revocation: Revocation::Revoked,
        has_credential: true,
    };
}

/// One random action. Returns the answer, if there is one.
async fn doing(world: &World, tokens: &Arc<Tokens>) -> Option<Result<Answer, Error>> {
    let permit = [permit(), permit_for("read", None)];
    let permit = &permit[fastrand::usize(..2)];
    let want = Want {
        min_remaining: seconds(fastrand::u64(0..2) * fastrand::u64(0..4000)),
        force_refresh: fastrand::u8(..8) == 0,
        deadline: seconds(fastrand::u64(0..6)),
    };
    match fastrand::u8(..12) {
        0 => world.issuer.be(moods),
        1 => {
            world.issuer.credential.fetch_add(1, Ordering::SeqCst);
        }
        2 => world.clock.step_wall(fastrand::i64(-90..90)),
        3 => world.clock.suspend(seconds(fastrand::u64(0..900))),
        4 => {
            if let Some(answer) = tokens.cached(permit) {
                let fingerprint = answer.token.fingerprint().to_owned();
                let report = tokens.report(permit, &fingerprint);
                let gone = tokens.cached(permit).is_none();
                assert_eq!(gone, report == Report::Dropped);
            }
        }
        5 => drop(tokio::time::timeout(SECOND, tokens.refresh("billing-api")).await),
        6 => {
            let mut watch = tokens.watch(permit, &free).unwrap();
            drop(tokio::time::timeout(seconds(9), watch.next()).await);
        }
        _ => return Some(tokens.get(permit, &want, &free).await),
    }
    tokens.cached(permit).map(Ok)
}

#[tokio::test(start_paused = true)]
async fn random_actions_never_serve_a_bad_token_or_hammer_the_issuer() {
    for seed in 0..60 {
        let mut world = World::new(3600);
        // Latencies, moods and the cache's own luck, all from here.
        fastrand::seed(seed);
        for _ in 0..120 {
            let (called, asked) = (world.clock.now(), world.issuer.requests());
            let answer = doing(&world, &Arc::clone(&world.tokens)).await;
            let now = world.clock.now();
            if let Some(Ok(answer)) = answer {
                let held = &answer.token;
                let good = held.life.serves(now) && !held.expires.passed(now);
                assert!(
                    good || answer.freshness == Freshness::Refreshed,
                    "seed {seed}: {answer:?}"
                );
            }
            if fastrand::u8(..10) == 0 {
                world.tokens = world.reload("read write", "v1");
            }
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..20_000))).await;
            let spent = world.clock.now().since(called).as_secs();
            let asked = world.issuer.requests() - asked;
            assert!(
                asked as u64 <= 6 + spent,
                "seed {seed}: {asked} requests in {spent} s"
            );
        }
        assert!(!world.issuer.doubled.load(Ordering::SeqCst), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_without_a_request_is_ready_with_its_credential() {
    let world = World::new(3600);
    let ready = || {
        let readiness = world.tokens.readiness();
        assert_eq!((readiness.len(), &*readiness[0].0), (1, "billing-api"));
        assert_eq!(readiness[0].1, world.tokens.is_ready());
        readiness[0].1
    };
    world.issuer.be(|manners| manners.has_credential = false);
    assert!(!ready(), "without a credential there will be no token");
    world.issuer.be(|manners| manners.has_credential = true);
    assert!(ready());
    assert_eq!(world.tokens.contact(), Contact::Unknown, "no request yet");
    world.call().await.unwrap();
    assert_eq!(world.tokens.contact(), Contact::Connected);
    world.issuer.be(|manners| manners.has_credential = false);
    assert!(ready(), "what is held can be handed out");
    let wait = ErrorKind::NoCredential {
        retry_after: SECOND,
    };
    world.issuer.fail(wait);
    tokio::time::sleep(Duration::from_hours(2)).await;
    assert!(world.call().await.is_err());
    assert!(!ready());
    world.issuer.be(|manners| manners.has_credential = true);
    assert!(ready(), "what was lacking is there");
    assert_eq!(world.issuer.requests(), 2, "checking sends no request");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_counts_until_the_credential_changes_and_an_outage_while_callers_ask() {
    let world = World::new(3600);
    world.issuer.fail(ErrorKind::InvalidClient);
    assert!(world.call().await.is_err());
    assert!(!world.tokens.is_ready());
    assert_eq!(world.tokens.contact(), Contact::Disconnected);
    tokio::time::sleep(Duration::from_hours(24)).await;
    assert!(!world.tokens.is_ready(), "nothing has changed");
    world.issuer.credential.store(2, Ordering::SeqCst);
    assert!(world.tokens.is_ready(), "there was no request for this one");
    world.issuer.fail(ErrorKind::Unreachable);
    assert!(world.call().await.is_err());
    tokio::time::sleep(MINUTE * 29).await;
    assert!(!world.tokens.is_ready());
    tokio::time::sleep(MINUTE * 2).await;
    assert!(world.tokens.is_ready(), "half an hour ago it failed");
    let watch = world.watch().unwrap();
    assert!(!world.tokens.is_ready(), "a caller waits for it");
    drop(watch);
    assert!(world.call().await.is_err());
    assert!(!world.tokens.is_ready(), "it still does");
    assert_eq!(world.issuer.requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_definition_that_only_narrower_rules_use_is_judged_by_what_they_get() {
    let world = World::new(3600);
    let ask = async |scopes: &str| {
        let permit = permit_for(scopes, None);
        let answer = world.tokens.get(&permit, &Want::default(), &free).await;
        answer.is_ok()
    };
    world.issuer.fail(ErrorKind::InvalidClient);
    assert!(!ask("read").await);
    assert!(!world.tokens.is_ready(), "all that is known is a refusal");
    world.issuer.fail(None);
    assert!(ask("write").await);
    assert!(world.tokens.is_ready(), "one scope of two is refused");
    world.issuer.fail(ErrorKind::InvalidClient);
    assert!(world.call().await.is_err());
    assert!(
        !world.tokens.is_ready(),
        "the definition's own scopes decide"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_may_heal_is_not_remembered_for_a_minute() {
    let world = World::new(3600);
    world.issuer.fail(ErrorKind::InvalidClient);
    let denial = world.call().await.unwrap_err();
    assert!(denial.retry_in().unwrap() > seconds(50));
    world.issuer.credential.store(2, Ordering::SeqCst);
    world
        .issuer
        .be(|manners| manners.verdict = Some(Verdict::Transient { retry_after: None }));
    let denial = world.call().await.unwrap_err();
    assert_eq!(denial.reason().label(), "invalid_client");
    let pause = denial.retry_in().unwrap();
    assert!(pause <= SECOND, "{pause:?}");
    tokio::time::sleep(pause).await;
    world.issuer.fail(None);
    world.call().await.unwrap();
}
