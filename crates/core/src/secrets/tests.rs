//! The life of secrets under simulated time, against a backend that behaves: it holds versions, fails, and is slow.

#![expect(clippy::disallowed_methods, reason = "tests look inside")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use claviger_backend::{BackendError, Fetched, Secret, SecretName, VersionId, VersionSelector};
use proptest::prelude::*;
use tokio::runtime::Handle;

use super::*;
use crate::peer::Facts;
use crate::policy::{Policy, Rule, ScopeLimit, Selector};
use claviger_runtime::clock::SteppedClock;
use claviger_runtime::reason::Reasoned as _;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const REFRESH: Duration = Duration::from_mins(5);
const STALE: Duration = Duration::from_mins(25);

/// A backend in memory.
#[derive(Debug, Default)]
struct Shelf {
    values: Mutex<BTreeMap<String, (String, Vec<u8>)>>,
    failure: Mutex<Option<Kind>>,
    /// Whether a failure is one of the guard, and for how long.
    blocked: Mutex<Option<Duration>>,
    latency: Mutex<Duration>,
    calls: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Shelf {
    fn put(&self, name: &str, version: &str, value: &str) {
        let value = (version.to_owned(), value.as_bytes().to_vec());
        self.values.lock().unwrap().insert(name.to_owned(), value);
    }

    fn remove(&self, name: &str) {
        self.values.lock().unwrap().remove(name);
    }

    fn fail(&self, kind: impl Into<Option<Kind>>) {
        *self.failure.lock().unwrap() = kind.into();
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl SecretSource for Shelf {
    async fn fetch(
        &self,
        name: &SecretName,
        version: &VersionSelector,
    ) -> Result<Fetched, BackendError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let latency = *self.latency.lock().unwrap();
        tokio::time::sleep(latency).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        let error = |kind| BackendError::new(kind, &"prod".parse().unwrap(), "fetch");
        if let Some(kind) = *self.failure.lock().unwrap() {
            return Err(match *self.blocked.lock().unwrap() {
                Some(retry_in) => error(kind).not_sent(retry_in),
                None => error(kind),
            });
        }
        let values = self.values.lock().unwrap();
        let (held, value) = values
            .get(name.as_str())
            .ok_or_else(|| error(Kind::NotFound))?;
        if let VersionSelector::Exact(wanted) = version
            && wanted.as_str() != held
        {
            return Err(error(Kind::NotFound));
        }
        Ok(Fetched {
            value: Secret::new(value.clone()),
            version: held.parse().unwrap(),
            created: None,
        })
    }

    async fn probe(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

struct World {
    shelf: Arc<Shelf>,
    clock: Arc<SteppedClock>,
    drain: Drain,
}

impl World {
    fn new() -> Self {
        fastrand::seed(7);
        let shelf = Arc::new(Shelf::default());
        shelf.put(
            "oauth/billing",
            "3",
            r#"{"client_id":"b","client_secret":"s3\n"}"#,
        );
        Self {
            shelf,
            clock: Arc::new(SteppedClock::new()),
            drain: Drain::new(Handle::current()),
        }
    }

    fn start(&self, references: &[&str], previous: Option<&Secrets>) -> Arc<Secrets> {
        let wanted = references.iter().map(|text| Wanted {
            reference: text.parse().unwrap(),
            refresh: REFRESH,
            max_stale: STALE,
            name: Some(Arc::from("billing-secret")).filter(|_| text.ends_with("client_secret")),
        });
        let source = Arc::clone(&self.shelf) as Arc<dyn SecretSource>;
        Secrets::start(
            BTreeMap::from([("prod".parse().unwrap(), source)]),
            wanted.collect(),
            Arc::clone(&self.clock) as Arc<dyn Clock>,
            self.drain.clone(),
            previous,
        )
    }

    async fn started(&self, references: &[&str]) -> Arc<Secrets> {
        let secrets = self.start(references, None);
        assert!(secrets.first_round(SECOND * 30).await);
        secrets
    }

    fn now(&self) -> Moment {
        self.clock.now()
    }
}

const ID: &str = "prod:oauth/billing#client_id";
const SECRET: &str = "prod:oauth/billing#client_secret";

fn reference(text: &str) -> SecretRef {
    text.parse().unwrap()
}

fn permit() -> SecretPermit {
    let name = Arc::<str>::from("billing-secret");
    let rule = Rule {
        selector: Selector {
            user: Some(1000),
            ..Selector::default()
        },
        tokens: vec![Arc::clone(&name)],
        scopes: ScopeLimit::Definition,
        secrets: vec![Arc::clone(&name)],
    };
    let facts = Facts {
        uid: 1000,
        ..Facts::default()
    };
    let rights = Policy::new(vec![rule]).rights(&facts);
    rights.secret(&name).unwrap()
}

fn text(version: &Version) -> &str {
    std::str::from_utf8(version.value.expose()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn fields_of_one_secret_come_with_one_request_and_are_read_with_a_permit() {
    let world = World::new();
    let secrets = world.started(&[ID, SECRET]).await;
    assert_eq!(world.shelf.calls(), 1);
    let reading = secrets.read(&permit(), world.now()).unwrap();
    assert_eq!(text(&reading.version), "s3", "the newline is cut off");
    assert_eq!(
        (reading.version.id.as_str(), reading.version.generation),
        ("3", 1)
    );
    assert_eq!(
        (reading.freshness, reading.lifetime_left),
        (Freshness::Fresh, STALE)
    );
    let id = secrets.live(&reference(ID));
    assert_eq!(text(&id.current(world.now()).unwrap()), "b");
    assert!(secrets.is_ready());

    assert!(
        secrets
            .live(&reference("prod:other"))
            .current(world.now())
            .is_err()
    );
    assert_eq!(*secrets.find("billing-secret").unwrap(), reference(SECRET));
    assert_eq!(*secrets.find(ID).unwrap(), reference(ID));
    assert!(secrets.find("prod:other").is_none() && secrets.find("no name").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_day_without_the_backend_serves_within_the_stale_bound_and_nothing_after_it() {
    let world = World::new();
    let secrets = world.started(&[SECRET]).await;
    let permit = permit();
    let confirmed = secrets.read(&permit, world.now()).unwrap().confirmed;
    world.shelf.fail(Kind::Unreachable);
    let (mut served, mut stale, mut refused) = (0, 0, 0);
    for _ in 0..24 * 60 {
        tokio::time::advance(SECOND * 60).await;
        tokio::task::yield_now().await;
        let now = world.now();
        let age = now.since(confirmed);
        match secrets.read(&permit, now) {
            Ok(reading) => {
                assert!(age < STALE, "served {age:?} after its confirmation");
                assert_eq!(
                    (reading.age, reading.lifetime_left),
                    (age, STALE.saturating_sub(age))
                );
                served += 1;
                stale += usize::from(reading.freshness == Freshness::Stale);
            }
            Err(error) => {
                assert!(age >= STALE, "refused {age:?} after its confirmation");
                assert!(error.retry_in().unwrap() <= SECOND * 200, "{error:?}");
                refused += 1;
            }
        }
    }
    assert_eq!((served, refused), (24, 24 * 60 - 24));
    assert_eq!(stale, 19, "stale from the sixth minute");
    let status = secrets.status().remove(0);
    assert_eq!(status.state, State::Expired);
    assert!(status.failures > 100 && status.version.is_none());
    assert!(!secrets.is_ready());
    // The backoff ends at one fetch in two to three minutes.
    assert!(
        world.shelf.calls() < 24 * 60 / 2 + 40,
        "{}",
        world.shelf.calls()
    );

    world.shelf.fail(None);
    tokio::time::sleep(SECOND * 200).await;
    let back = secrets.read(&permit, world.now()).unwrap();
    assert_eq!((text(&back.version), back.version.generation), ("s3", 1));
    assert_eq!(secrets.status().remove(0).failures, 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_version_wakes_watchers_and_a_confirmation_does_not() {
    let world = World::new();
    let secrets = world.started(&[SECRET]).await;
    let mut watcher = secrets.watch(&permit()).unwrap();
    let first = watcher.next().await.unwrap();
    assert_eq!(
        (text(&first.version), first.freshness),
        ("s3", Freshness::Fresh)
    );
    let quiet = tokio::time::timeout(HOUR, watcher.next()).await;
    assert!(quiet.is_err(), "an hour of confirmations is no news");
    assert!(
        (11..=14).contains(&world.shelf.calls()),
        "{}",
        world.shelf.calls()
    );

    world.shelf.put(
        "oauth/billing",
        "4",
        r#"{"client_id":"b","client_secret":"s4"}"#,
    );
    let second = watcher.next().await.unwrap();
    assert_eq!(
        (text(&second.version), second.version.generation),
        ("s4", 2)
    );
    assert_eq!(second.freshness, Freshness::Refreshed);

    world.shelf.remove("oauth/billing");
    let gone = watcher.next().await.unwrap_err();
    assert_eq!(gone.reason().label(), "not_found");
    world.drain.begin();
    assert_eq!(watcher.next().await.unwrap_err(), Error::Stopping);
}

#[tokio::test(start_paused = true)]
async fn each_class_of_failure_has_its_effect_on_the_cached_value() {
    for (kind, evicts) in [
        (Kind::NotFound, true),
        (Kind::Gone, true),
        (Kind::PermissionDenied, true),
        (Kind::Misconfigured, false),
        (Kind::Conflict, false),
        (Kind::Unauthenticated, false),
        (Kind::NoCredentials, false),
        (Kind::RateLimited { retry_after: None }, false),
        (Kind::Quota, false),
        (Kind::Timeout, false),
        (Kind::Unreachable, false),
        (Kind::Unavailable, false),
        (Kind::InvalidResponse, false),
        (Kind::Undecryptable, false),
        (Kind::InDoubt, false),
    ] {
        let world = World::new();
        let secrets = world.started(&[SECRET]).await;
        world.shelf.fail(kind);
        let refreshed = secrets.refresh(&reference(SECRET), Older::Refuse).await;
        assert_eq!(refreshed.unwrap_err().reason().label(), kind.as_str());
        let held = secrets.read(&permit(), world.now());
        assert_eq!(held.is_err(), evicts, "{kind:?}");
        if let Err(error) = held {
            assert_eq!(error.reason().label(), kind.as_str());
            assert_eq!(secrets.status().remove(0).state, State::Missing);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_authoritative_failure_is_cached_for_five_seconds_except_for_operators() {
    let world = World::new();
    world.shelf.remove("oauth/billing");
    let secrets = world.started(&[SECRET]).await;
    assert_eq!(world.shelf.calls(), 1, "an authoritative failure is cached");
    let read = || secrets.read(&permit(), world.now());
    tokio::time::sleep(SECOND * 4).await;
    for _ in 0..100 {
        assert_eq!(read().unwrap_err().reason().label(), "not_found");
    }
    assert_eq!(world.shelf.calls(), 1);
    // An operator who has just created the secret need not wait.
    world
        .shelf
        .put("oauth/billing", "1", r#"{"client_secret":"s1"}"#);
    let refreshed = secrets.refresh(&reference(SECRET), Older::Refuse).await;
    assert_eq!((refreshed, world.shelf.calls()), (Ok(true), 2));
    assert_eq!(text(&read().unwrap().version), "s1");
    // A watcher gets it by the schedule.
    world.shelf.remove("oauth/billing");
    let gone = secrets.refresh(&reference(SECRET), Older::Refuse).await;
    assert_eq!(gone.unwrap_err().reason().label(), "not_found");
    world
        .shelf
        .put("oauth/billing", "2", r#"{"client_secret":"s2"}"#);
    tokio::time::sleep(SECOND * 7).await;
    assert_eq!(text(&read().unwrap().version), "s2");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_waiters_share_one_request() {
    let world = World::new();
    let secrets = world.started(&[ID, SECRET]).await;
    *world.shelf.latency.lock().unwrap() = SECOND * 2;
    let before = world.shelf.calls();
    world.shelf.put(
        "oauth/billing",
        "4",
        r#"{"client_id":"b","client_secret":"s4"}"#,
    );
    let waiters: Vec<_> = (0..1000)
        .map(|number| {
            let (secrets, wish) = (
                Arc::clone(&secrets),
                if number % 2 == 0 { ID } else { SECRET },
            );
            tokio::spawn(async move { secrets.refresh(&reference(wish), Older::Refuse).await })
        })
        .collect();
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), Ok(true));
    }
    assert_eq!(world.shelf.calls(), before + 1);
    assert_eq!(
        secrets.refresh(&reference(ID), Older::Refuse).await,
        Ok(false)
    );
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_stops_waiting_does_not_stop_the_fetch() {
    let world = World::new();
    let secrets = world.started(&[SECRET]).await;
    *world.shelf.latency.lock().unwrap() = SECOND * 2;
    world
        .shelf
        .put("oauth/billing", "4", r#"{"client_secret":"s4"}"#);
    let target = reference(SECRET);
    let impatient = secrets.refresh(&target, Older::Refuse);
    assert!(tokio::time::timeout(SECOND, impatient).await.is_err());
    let mut live = secrets.live(&target);
    live.changed().await;
    assert_eq!(text(&live.current(world.now()).unwrap()), "s4");
}

#[tokio::test(start_paused = true)]
async fn a_backend_is_fetched_from_eight_times_at_once() {
    let world = World::new();
    let references: Vec<_> = (0..100).map(|number| format!("prod:s/{number}")).collect();
    let references: Vec<_> = references.iter().map(String::as_str).collect();
    for name in 0..100 {
        world.shelf.put(&format!("s/{name}"), "1", "x");
    }
    *world.shelf.latency.lock().unwrap() = SECOND;
    drop(world.started(&references).await);
    assert_eq!(world.shelf.calls(), 100);
    assert_eq!(world.shelf.most.load(Ordering::SeqCst), 8);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_the_guard_blocks_is_tried_again_when_the_guard_says() {
    let world = World::new();
    let secrets = world.started(&[SECRET]).await;
    *world.shelf.blocked.lock().unwrap() = Some(SECOND * 40);
    world.shelf.fail(Kind::Unreachable);
    let blocked = secrets.refresh(&reference(SECRET), Older::Refuse).await;
    let Err(Error::Failed { kind, retry_in }) = blocked else {
        panic!("{blocked:?}")
    };
    assert_eq!(kind, Kind::Unreachable);
    assert!(retry_in >= SECOND * 40 && retry_in <= SECOND * 41);
    let status = secrets.status().remove(0);
    assert_eq!(
        (status.failures, status.next_refresh),
        (0, retry_in),
        "the backend itself was not called"
    );
}

#[tokio::test(start_paused = true)]
async fn a_backends_retry_after_is_respected() {
    let world = World::new();
    world.shelf.fail(Kind::RateLimited {
        retry_after: Some(SECOND * 100),
    });
    let secrets = world.started(&[SECRET]).await;
    assert_eq!(
        world.shelf.calls(),
        1,
        "no second attempt within the flight"
    );
    assert!(secrets.status().remove(0).next_refresh > SECOND * 99);
    tokio::time::sleep(SECOND * 99).await;
    assert_eq!(world.shelf.calls(), 1);
    world.shelf.fail(None);
    tokio::time::sleep(SECOND * 3).await;
    assert!(secrets.is_ready());
}

#[tokio::test(start_paused = true)]
async fn an_older_version_is_refused_until_an_operator_accepts_it() {
    let world = World::new();
    let secrets = world.started(&[SECRET]).await;
    let target = reference(SECRET);
    let held = || secrets.live(&target).current(world.now()).unwrap();
    world
        .shelf
        .put("oauth/billing", "10", r#"{"client_secret":"s10"}"#);
    assert_eq!(
        secrets.refresh(&target, Older::Refuse).await,
        Ok(true),
        "10 is more than 3"
    );
    world
        .shelf
        .put("oauth/billing", "9", r#"{"client_secret":"s9"}"#);
    let refused = secrets.refresh(&target, Older::Refuse).await.unwrap_err();
    assert_eq!(
        (refused.reason().label(), text(&held())),
        ("invalid_value", "s10")
    );
    assert_eq!(secrets.refresh(&target, Older::Accept).await, Ok(true));
    assert_eq!((text(&held()), held().generation), ("s9", 3));
    // Identifiers that are no numbers have no order.
    world
        .shelf
        .put("oauth/billing", "b", r#"{"client_secret":"sb"}"#);
    assert_eq!(secrets.refresh(&target, Older::Refuse).await, Ok(true));
    world
        .shelf
        .put("oauth/billing", "a", r#"{"client_secret":"sa"}"#);
    assert_eq!(secrets.refresh(&target, Older::Refuse).await, Ok(true));
}

/// Where versions are counted from 1, two stores have the same ones.
#[tokio::test(start_paused = true)]
async fn another_value_under_the_same_version_is_accepted() {
    let world = World::new();
    let first = world.started(&[SECRET]).await;
    let target = reference(SECRET);
    let put = |shelf: &Shelf, value: &str| {
        shelf.put(
            "oauth/billing",
            "3",
            &format!(r#"{{"client_secret":"{value}"}}"#),
        );
    };
    let mut watcher = first.watch(&permit()).unwrap();
    watcher.next().await.unwrap();
    // The store was recreated.
    put(&world.shelf, "anew");
    assert_eq!(first.refresh(&target, Older::Refuse).await, Ok(true));
    let seen = watcher.next().await.unwrap().version;
    assert_eq!((text(&seen), seen.generation), ("anew", 2));
    assert_eq!(first.refresh(&target, Older::Refuse).await, Ok(false));

    // The name stands for another backend from now on.
    let elsewhere = World::new();
    put(&elsewhere.shelf, "elsewhere");
    let second = elsewhere.start(&[SECRET], Some(&first));
    assert_eq!(second.refresh(&target, Older::Refuse).await, Ok(true));
    let held = second.live(&target).current(world.now()).unwrap();
    assert_eq!((text(&held), held.generation), ("elsewhere", 3));

    // It was removed, and recreated with its old version number.
    elsewhere.shelf.remove("oauth/billing");
    assert!(second.refresh(&target, Older::Refuse).await.is_err());
    put(&elsewhere.shelf, "again");
    tokio::time::sleep(SECOND * 7).await;
    let held = second.live(&target).current(world.now()).unwrap();
    assert_eq!((text(&held), held.generation), ("again", 4));
}

#[tokio::test(start_paused = true)]
async fn a_denial_does_not_make_an_older_version_acceptable() {
    for (kind, taken) in [
        (Kind::PermissionDenied, false),
        (Kind::Gone, false),
        (Kind::NotFound, true),
    ] {
        let world = World::new();
        let secrets = world.started(&[SECRET]).await;
        world.shelf.fail(kind);
        let denied = secrets.refresh(&reference(SECRET), Older::Refuse).await;
        assert_eq!(denied.unwrap_err().reason().label(), kind.as_str());
        world
            .shelf
            .put("oauth/billing", "2", r#"{"client_secret":"s2"}"#);
        world.shelf.fail(None);
        tokio::time::sleep(SECOND * 7).await;
        let held = secrets.read(&permit(), world.now());
        assert_eq!(held.is_ok(), taken, "{kind:?}");
        let accepted = secrets.refresh(&reference(SECRET), Older::Accept).await;
        assert_eq!(accepted, Ok(!taken));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_a_backend_offers_versions_never_go_back(offers in proptest::collection::vec(0_u64..8, 1..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let world = World::new();
            let secrets = world.started(&[SECRET]).await;
            let (target, mut newest) = (reference(SECRET), 3);
            for offer in offers {
                let value = format!(r#"{{"client_secret":"s{offer}"}}"#);
                world.shelf.put("oauth/billing", &offer.to_string(), &value);
                let result = secrets.refresh(&target, Older::Refuse).await;
                assert_eq!(result.is_ok(), offer >= newest, "{offer} after {newest}");
                newest = newest.max(offer);
                let held = secrets.live(&target).current(world.now()).unwrap();
                assert_eq!(held.id.as_str(), newest.to_string());
                assert_eq!(text(&held), format!("s{newest}"));
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn an_exact_version_is_fetched_until_it_exists() {
    let world = World::new();
    let exact = "prod:oauth/billing@4#client_secret";
    let secrets = world.started(&[exact]).await;
    assert!(!secrets.is_ready());
    world
        .shelf
        .put("oauth/billing", "4", r#"{"client_secret":"s4"}"#);
    tokio::time::sleep(SECOND * 200).await;
    let live = secrets.live(&reference(exact));
    assert_eq!(text(&live.current(world.now()).unwrap()), "s4");
}

#[tokio::test(start_paused = true)]
async fn a_field_that_is_missing_fails_alone() {
    let world = World::new();
    let lacking = "prod:oauth/billing#nothing";
    let secrets = world.started(&[ID, lacking]).await;
    let (id, field) = (reference(ID), reference(lacking));
    let calls = world.shelf.calls();
    let results = tokio::join!(
        secrets.refresh(&id, Older::Refuse),
        secrets.refresh(&field, Older::Refuse)
    );
    assert_eq!(results.0, Ok(false));
    assert_eq!(results.1.unwrap_err().reason().label(), "not_found");
    assert_eq!(world.shelf.calls(), calls + 1, "one request for both");
    let states: Vec<_> = secrets
        .status()
        .iter()
        .map(|status| status.state.as_str())
        .collect();
    assert_eq!(states, ["fresh", "missing"]);
}

#[tokio::test(start_paused = true)]
async fn a_reload_during_an_outage_keeps_cached_values_and_their_handles() {
    let world = World::new();
    let first = world.started(&[ID, SECRET]).await;
    let mut old_handle = first.live(&reference(SECRET));
    let mut watcher = first.watch(&permit()).unwrap();
    watcher.next().await.unwrap();
    let confirmed = first.read(&permit(), world.now()).unwrap().confirmed;
    world.shelf.fail(Kind::Unavailable);
    tokio::time::sleep(SECOND * 100).await;

    let second = world.start(&[SECRET, "prod:other"], Some(&first));
    drop(first);
    assert_eq!(watcher.next().await.unwrap_err(), Error::Stopping);
    let held = second.read(&permit(), world.now()).unwrap();
    assert_eq!((text(&held.version), held.confirmed), ("s3", confirmed));
    assert!(second.live(&reference(ID)).current(world.now()).is_err());

    world
        .shelf
        .put("oauth/billing", "4", r#"{"client_secret":"s4"}"#);
    world.shelf.fail(None);
    old_handle.changed().await;
    let followed = old_handle.current(world.now()).unwrap();
    assert_eq!((text(&followed), followed.generation), ("s4", 2));
}

#[tokio::test(start_paused = true)]
async fn watches_of_a_configuration_last_as_long_as_it_is_active() {
    let world = World::new();
    let first = world.started(&[SECRET]).await;
    let mut watcher = first.watch(&permit()).unwrap();
    watcher.next().await.unwrap();
    // The next configuration begins to fetch, and is not active yet.
    let second = world.start(&[SECRET], Some(&first));
    world
        .shelf
        .put("oauth/billing", "4", r#"{"client_secret":"s4"}"#);
    second
        .refresh(&reference(SECRET), Older::Refuse)
        .await
        .unwrap();
    assert_eq!(text(&watcher.next().await.unwrap().version), "s4");
    // Reads do not keep its watches alive.
    first.end();
    second
        .refresh(&reference(SECRET), Older::Refuse)
        .await
        .unwrap();
    assert_eq!(watcher.next().await.unwrap_err(), Error::Stopping);
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_the_configuration_before_changes_nothing() {
    let world = World::new();
    let first = world.started(&[SECRET]).await;
    *world.shelf.latency.lock().unwrap() = SECOND * 5;
    world.shelf.fail(Kind::NotFound);
    let late = Arc::clone(&first);
    let late = tokio::spawn(async move { late.refresh(&reference(SECRET), Older::Refuse).await });
    tokio::time::sleep(SECOND).await;
    let second = world.start(&[SECRET], Some(&first));
    assert_eq!(late.await.unwrap(), Err(Error::Stopping));
    assert!(
        second.is_ready(),
        "the new configuration fetches for itself"
    );
}

#[tokio::test(start_paused = true)]
async fn reloads_do_not_extend_the_stale_bound() {
    let world = World::new();
    let mut secrets = world.started(&[SECRET]).await;
    world.shelf.fail(Kind::Unavailable);
    for _ in 0..14 {
        tokio::time::sleep(SECOND * 100).await;
        secrets = world.start(&[SECRET], Some(&secrets));
        assert!(secrets.is_ready());
    }
    tokio::time::sleep(SECOND * 101).await;
    assert!(!secrets.is_ready(), "past the bound, reloads or not");
}

#[tokio::test(start_paused = true)]
async fn steps_of_the_wall_clock_never_extend_and_a_suspend_counts() {
    for (step, suspended) in [(-7200, 0), (7200, 0), (0, 7200)] {
        let world = World::new();
        let secrets = world.started(&[SECRET]).await;
        world.shelf.fail(Kind::Unavailable);
        world.clock.step_wall(step);
        world.clock.suspend(SECOND * suspended);
        let now = world.now();
        let served = secrets.read(&permit(), now).is_ok();
        assert_eq!(served, step < 0, "step {step}, suspend {suspended}");
        tokio::time::sleep(STALE).await;
        assert!(secrets.read(&permit(), world.now()).is_err());
        world.shelf.fail(None);
        tokio::time::sleep(SECOND * 200).await;
        assert!(secrets.is_ready(), "step {step}, suspend {suspended}");
    }
}

#[tokio::test(start_paused = true)]
async fn values_are_wiped_when_they_are_replaced_and_when_they_expire() {
    let world = World::new();
    let secrets = world.started(&[SECRET]).await;
    let target = reference(SECRET);
    let live = secrets.live(&target);
    let first = Arc::downgrade(&live.current(world.now()).unwrap());
    world
        .shelf
        .put("oauth/billing", "4", r#"{"client_secret":"s4"}"#);
    secrets.refresh(&target, Older::Refuse).await.unwrap();
    assert!(
        first.upgrade().is_some(),
        "the replaced version is kept until its bound"
    );
    tokio::time::sleep(STALE + SECOND).await;
    assert!(
        first.upgrade().is_none(),
        "the replaced version is dropped at its bound"
    );
    let second = Arc::downgrade(&live.current(world.now()).unwrap());
    world.shelf.fail(Kind::Unavailable);
    tokio::time::sleep(STALE + SECOND).await;
    assert!(second.upgrade().is_none(), "the expired version is dropped");
}

#[tokio::test(start_paused = true)]
async fn nothing_starts_after_the_drain_and_a_flight_under_way_ends() {
    let world = World::new();
    let secrets = world.started(&[SECRET]).await;
    *world.shelf.latency.lock().unwrap() = SECOND * 2;
    let flying = Arc::clone(&secrets);
    drop(tokio::spawn(async move {
        flying.refresh(&reference(SECRET), Older::Refuse).await
    }));
    tokio::task::yield_now().await;
    assert_eq!(world.drain.finish(SECOND * 10).await, 0);
    let late = secrets.refresh(&reference(SECRET), Older::Refuse).await;
    assert_eq!(late, Err(Error::Stopping));
    let calls = world.shelf.calls();
    tokio::time::sleep(HOUR).await;
    assert_eq!(world.shelf.calls(), calls);
}

#[tokio::test(start_paused = true)]
async fn debug_output_and_errors_hold_no_value() {
    let world = World::new();
    world.shelf.put(
        "oauth/billing",
        "1",
        r#"{"client_secret":"canary-7f3a","client_id":"b"}"#,
    );
    let secrets = world.started(&[SECRET]).await;
    let reading = secrets.read(&permit(), world.now()).unwrap();
    let status = secrets.status();
    assert!(!format!("{secrets:?} {reading:?} {status:?}").contains("canary"));
}

#[tokio::test(start_paused = true)]
async fn another_version_with_the_same_value_is_another_version() {
    let world = World::new();
    let secrets = world.started(&[SECRET]).await;
    let id = secrets.status().remove(0).version.unwrap();
    assert_eq!(id, "3".parse::<VersionId>().unwrap());
    world
        .shelf
        .put("oauth/billing", "5", r#"{"client_secret":"s3"}"#);
    assert_eq!(
        secrets.refresh(&reference(SECRET), Older::Refuse).await,
        Ok(true)
    );
}

/// On real threads, because the moment between two of them is what matters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_first_round_everything_is_there() {
    let world = World::new();
    let names: Vec<String> = (0..50).map(|number| format!("f{number}")).collect();
    let fields = names.iter().map(|name| format!(r#""{name}":"v""#));
    let value = format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
    world.shelf.put("many", "1", &value);
    let references: Vec<String> = names
        .iter()
        .map(|name| format!("prod:many#{name}"))
        .collect();
    let references: Vec<&str> = references.iter().map(String::as_str).collect();
    for _ in 0..200 {
        assert!(world.started(&references).await.is_ready());
    }
}

#[tokio::test(start_paused = true)]
async fn a_handle_reads_again_once_in_ten_seconds_with_all_others() {
    let world = World::new();
    let secrets = world.started(&[ID, SECRET]).await;
    let live = secrets.live(&reference(SECRET));
    let before = world.shelf.calls();
    assert_eq!(live.reread(Pace::Limited).await, Reread::Unchanged);
    assert_eq!(world.shelf.calls(), before + 1);

    world
        .shelf
        .put("oauth/billing", "4", r#"{"client_secret":"s4"}"#);
    let other = secrets.live(&reference(ID));
    for handle in [&live, &other] {
        assert_eq!(handle.reread(Pace::Limited).await, Reread::Skipped);
    }
    assert_eq!(world.shelf.calls(), before + 1);
    tokio::time::sleep(SECOND * 10).await;
    *world.shelf.latency.lock().unwrap() = SECOND;
    let (one, two) = tokio::join!(live.reread(Pace::Limited), live.reread(Pace::Limited));
    assert_eq!((one, two), (Reread::Changed, Reread::Changed));
    assert_eq!(
        world.shelf.calls(),
        before + 2,
        "the second joins the first"
    );
    assert_eq!(text(&live.current(world.now()).unwrap()), "s4");
}

#[tokio::test(start_paused = true)]
async fn a_handle_does_not_read_again_while_fetches_fail_or_after_the_end() {
    let world = World::new();
    let secrets = world.started(&[SECRET]).await;
    let live = secrets.live(&reference(SECRET));
    world.shelf.fail(Kind::RateLimited {
        retry_after: Some(SECOND * 100),
    });
    assert_eq!(
        live.reread(Pace::Limited).await,
        Reread::Unchanged,
        "one fetch failed"
    );
    let before = world.shelf.calls();
    tokio::time::sleep(SECOND * 50).await;
    assert_eq!(live.reread(Pace::Limited).await, Reread::Skipped);
    assert_eq!(world.shelf.calls(), before);

    world.shelf.fail(None);
    tokio::time::sleep(SECOND * 60).await;
    let next = world.start(&[SECRET], Some(&secrets));
    drop(secrets);
    assert_eq!(
        live.reread(Pace::Limited).await,
        Reread::Unchanged,
        "by the next one"
    );
    world.drain.begin();
    assert_eq!(live.reread(Pace::Limited).await, Reread::Skipped);
    drop(next);
    let fixed = Live::fixed(
        reference(SECRET),
        Secret::from_text("x".to_owned()),
        "1".parse().unwrap(),
    );
    assert_eq!(fixed.reread(Pace::Limited).await, Reread::Skipped);
}

#[tokio::test(start_paused = true)]
async fn the_version_before_is_known_until_its_bound_or_the_end_of_the_secret() {
    let world = World::new();
    let secrets = world.started(&[SECRET]).await;
    let live = secrets.live(&reference(SECRET));
    let previous = || {
        live.previous(world.now())
            .map(|version| text(&version).to_owned())
    };
    let target = reference(SECRET);
    let refresh = || secrets.refresh(&target, Older::Refuse);
    assert_eq!(previous(), None);
    for (version, before) in [("4", "s3"), ("5", "s4")] {
        let value = format!(r#"{{"client_secret":"s{version}"}}"#);
        world.shelf.put("oauth/billing", version, &value);
        refresh().await.unwrap();
        assert_eq!(previous().as_deref(), Some(before));
        refresh().await.unwrap();
        assert_eq!(
            previous().as_deref(),
            Some(before),
            "a confirmation keeps it"
        );
    }
    let weak = Arc::downgrade(&live.previous(world.now()).unwrap());
    tokio::time::sleep(STALE.saturating_sub(SECOND)).await;
    assert_eq!(previous().as_deref(), Some("s4"));
    tokio::time::sleep(SECOND * 2).await;
    assert_eq!(previous(), None);
    assert!(weak.upgrade().is_none(), "wiped, not only hidden");

    world
        .shelf
        .put("oauth/billing", "6", r#"{"client_secret":"s6"}"#);
    refresh().await.unwrap();
    world.shelf.remove("oauth/billing");
    refresh().await.unwrap_err();
    assert_eq!(previous(), None);
}
