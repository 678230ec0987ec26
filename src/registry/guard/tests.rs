//! The guard under simulated time, against a backend that counts its calls, fails, and is slow.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use claviger_backend::{
    Algorithm, Backend, Fetched, KeySource, Loaded, PublicKey, Register, Revision, Secret,
    SecretCreator, SecretName, SecretRotator, SecretSource, SecretVersions, Signature, Staged,
    VersionId, VersionInfo, VersionSelector,
};
use claviger_core::secrets::{Secrets, Wanted};
use claviger_runtime::clock::SteppedClock;
use claviger_runtime::shutdown::Drain;
use tokio::runtime::Handle;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Fake {
    /// The failures of the next calls; `None` in the row is a success.
    failures: Mutex<Vec<Kind>>,
    /// The failure of every further call.
    failure: Mutex<Option<Kind>>,
    latency: Mutex<Duration>,
    calls: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Fake {
    async fn call<T>(&self, answer: T) -> Result<T, BackendError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let latency = *self.latency.lock().unwrap();
        tokio::time::sleep(latency).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        let failure = self.failures.lock().unwrap().pop();
        match failure.or(*self.failure.lock().unwrap()) {
            Some(kind) => Err(BackendError::new(kind, &backend_name(), "call")),
            None => Ok(answer),
        }
    }

    fn fail(&self, kind: impl Into<Option<Kind>>) {
        *self.failure.lock().unwrap() = kind.into();
    }

    fn slow(&self, latency: Duration) {
        *self.latency.lock().unwrap() = latency;
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl SecretSource for Fake {
    async fn fetch(
        &self,
        _name: &SecretName,
        _version: &VersionSelector,
    ) -> Result<Fetched, BackendError> {
        self.call(Fetched {
            value: Secret::from_text("x".to_owned()),
            version: version(),
            created: None,
        })
        .await
    }

    async fn probe(&self) -> Result<(), BackendError> {
        self.call(()).await
    }
}

#[async_trait]
impl SecretVersions for Fake {
    async fn versions(&self, _name: &SecretName) -> Result<Vec<VersionInfo>, BackendError> {
        self.call(Vec::new()).await
    }
}

#[async_trait]
impl SecretCreator for Fake {
    async fn create(&self, _name: &SecretName, _value: Secret) -> Result<VersionId, BackendError> {
        self.call(version()).await
    }
}

#[async_trait]
impl SecretRotator for Fake {
    async fn stage(&self, _name: &SecretName, _staged: Staged) -> Result<VersionId, BackendError> {
        self.call(version()).await
    }

    async fn promote(
        &self,
        _name: &SecretName,
        _from: &VersionId,
        _to: &VersionId,
    ) -> Result<(), BackendError> {
        self.call(()).await
    }

    async fn retire(&self, _name: &SecretName, _version: &VersionId) -> Result<(), BackendError> {
        self.call(()).await
    }
}

#[async_trait]
impl Register for Fake {
    async fn load(&self, _name: &SecretName) -> Result<Option<Loaded>, BackendError> {
        self.call(None).await
    }

    async fn swap(
        &self,
        _name: &SecretName,
        _expected: Option<&Revision>,
        _document: &[u8],
    ) -> Result<Revision, BackendError> {
        self.call(Revision::new("1")).await
    }
}

#[async_trait]
impl KeySource for Fake {
    async fn sign(
        &self,
        _key: &SecretName,
        _algorithm: Algorithm,
        _message: &[u8],
    ) -> Result<Signature, BackendError> {
        let bytes = Vec::new();
        let version = version();
        self.call(Signature { bytes, version }).await
    }

    async fn public_key(
        &self,
        _key: &SecretName,
        _version: &VersionSelector,
    ) -> Result<PublicKey, BackendError> {
        let (spki, version) = (Vec::new(), version());
        self.call(PublicKey { spki, version }).await
    }
}

fn backend_name() -> BackendName {
    "prod".parse().unwrap()
}

fn version() -> VersionId {
    "1".parse().unwrap()
}

/// The fake behind a guard, by a clock that follows the paused timer.
struct World {
    fake: Arc<Fake>,
    guard: Arc<Guard>,
    backend: Backend,
    clock: Arc<dyn Clock>,
}

impl World {
    fn new() -> Self {
        fastrand::seed(7);
        let fake = Arc::new(Fake::default());
        let clock: Arc<dyn Clock> = Arc::new(SteppedClock::new());
        let guard = Arc::new(Guard::new(backend_name(), Arc::clone(&clock)));
        let bare = Backend {
            kind: "fake",
            secrets: Arc::<Fake>::clone(&fake),
            versions: Some(Arc::<Fake>::clone(&fake)),
            creator: Some(Arc::<Fake>::clone(&fake)),
            rotator: Some(Arc::<Fake>::clone(&fake)),
            register: Some(Arc::<Fake>::clone(&fake)),
            keys: Some(Arc::<Fake>::clone(&fake)),
        };
        Self {
            backend: guarded(bare, &guard),
            fake,
            guard,
            clock,
        }
    }

    /// Calls one method by its name.
    async fn call(&self, method: &str) -> Result<(), BackendError> {
        let Backend {
            kind: _,
            secrets,
            versions,
            creator,
            rotator,
            register,
            keys,
        } = &self.backend;
        let (versions, creator) = (versions.as_ref().unwrap(), creator.as_ref().unwrap());
        let (rotator, register) = (rotator.as_ref().unwrap(), register.as_ref().unwrap());
        let keys = keys.as_ref().unwrap();
        let name: SecretName = "s".parse().unwrap();
        let (value, id) = (Secret::from_text("x".to_owned()), version());
        let operation = "operation-0123456789abcdef-0123456789".parse().unwrap();
        match method {
            "fetch" => secrets
                .fetch(&name, &VersionSelector::Current)
                .await
                .map(drop),
            "probe" => secrets.probe().await,
            "versions" => versions.versions(&name).await.map(drop),
            "create" => creator.create(&name, value).await.map(drop),
            "stage" => rotator
                .stage(&name, Staged { value, operation })
                .await
                .map(drop),
            "promote" => rotator.promote(&name, &id, &id).await,
            "retire" => rotator.retire(&name, &id).await,
            "load" => register.load(&name).await.map(drop),
            "swap" => register.swap(&name, None, b"{}").await.map(drop),
            "sign" => keys.sign(&name, Algorithm::Es256, b"m").await.map(drop),
            "public_key" => keys
                .public_key(&name, &VersionSelector::Current)
                .await
                .map(drop),
            other => panic!("{other}"),
        }
    }

    fn secrets(&self, count: usize, previous: Option<&Secrets>) -> Arc<Secrets> {
        let wanted = (0..count).map(|number| Wanted {
            reference: format!("prod:s/{number}").parse().unwrap(),
            refresh: SECOND * 300,
            max_stale: SECOND * 1500,
            name: None,
        });
        Secrets::start(
            BTreeMap::from([(backend_name(), Arc::clone(&self.backend.secrets))]),
            wanted.collect(),
            Arc::clone(&self.clock),
            Drain::new(Handle::current()),
            previous,
        )
    }
}

const READS: [&str; 6] = ["fetch", "probe", "versions", "load", "sign", "public_key"];
const WRITES: [&str; 5] = ["create", "stage", "promote", "retire", "swap"];

#[tokio::test(start_paused = true)]
async fn a_read_is_sent_twice_and_a_write_once() {
    for (method, calls) in READS
        .map(|read| (read, 2))
        .into_iter()
        .chain(WRITES.map(|write| (write, 1)))
    {
        let world = World::new();
        world.fake.failures.lock().unwrap().push(Kind::Unavailable);
        let outcome = world.call(method).await;
        assert_eq!(world.fake.calls(), calls, "{method}");
        assert_eq!(outcome.is_ok(), calls == 2, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_authoritative_failure_is_not_repeated() {
    for kind in [Kind::NotFound, Kind::Conflict, Kind::InvalidResponse] {
        let world = World::new();
        world.fake.fail(kind);
        assert_eq!(world.call("fetch").await.unwrap_err().kind, kind);
        assert_eq!(world.fake.calls(), 1);
        assert!(world.guard.health("fake").reachable);
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_waits_as_long_as_the_backend_asks_unless_that_is_long() {
    for (seconds, calls) in [(1, 2), (2, 1)] {
        let world = World::new();
        world.fake.fail(Kind::RateLimited {
            retry_after: Some(SECOND * seconds),
        });
        let begun = world.clock.now();
        let error = world.call("fetch").await.unwrap_err();
        assert_eq!((world.fake.calls(), error.blocked()), (calls, None));
        assert_eq!(world.clock.now().since(begun) >= SECOND, calls == 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_hangs_ends_a_read_in_time_and_leaves_a_write_in_doubt() {
    for (methods, kind, calls) in [
        (&READS[..], Kind::Timeout, 2),
        (&WRITES[..], Kind::InDoubt, 1),
    ] {
        for method in methods {
            let world = World::new();
            world.fake.slow(SECOND * 3600);
            let begun = world.clock.now();
            let error = world.call(method).await.unwrap_err();
            assert_eq!((error.kind, error.blocked()), (kind, None), "{method}");
            assert!(world.clock.now().since(begun) <= SECOND * 11, "{method}");
            assert_eq!(world.fake.calls(), calls, "{method}");
            let health = world.guard.health("fake");
            assert_eq!(
                (health.reachable, health.last_error),
                (false, Some(Kind::Timeout))
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_breaker_is_shared_by_all_capabilities_and_says_when_to_retry() {
    let world = World::new();
    world.fake.fail(Kind::Unreachable);
    for method in ["create", "swap", "fetch", "sign", "versions"] {
        assert_eq!(world.call(method).await.unwrap_err().blocked(), None);
    }
    let calls = world.fake.calls();
    for method in READS.into_iter().chain(WRITES) {
        let error = world.call(method).await.unwrap_err();
        assert_eq!(error.kind, Kind::Unreachable, "{method}");
        let retry_in = error.blocked().expect("the breaker is open");
        assert!(retry_in <= SECOND * 5 && retry_in > SECOND * 4);
    }
    assert_eq!(world.fake.calls(), calls, "nothing was sent");

    world.fake.fail(None);
    tokio::time::sleep(SECOND * 5).await;
    world.call("retire").await.unwrap();
    let health = world.guard.health("fake");
    assert_eq!((health.reachable, health.last_error), (true, None));
    assert_eq!(health.last_success, Some(world.clock.now()));
    world.call("fetch").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn eight_requests_are_in_flight_and_a_hundred_are_sent_per_second() {
    let world = Arc::new(World::new());
    world.fake.slow(Duration::from_millis(1));
    let begun = world.clock.now();
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..500 {
        let world = Arc::clone(&world);
        let method = if number % 2 == 0 { "fetch" } else { "swap" };
        calls.spawn(async move { world.call(method).await.unwrap() });
    }
    calls.join_all().await;
    assert_eq!(world.fake.most.load(Ordering::SeqCst), 8);
    let took = world.clock.now().since(begun);
    assert!(took >= SECOND / 10 * 39 && took < SECOND * 5, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_breaker_stops_a_crowd_and_one_probe_ends_it() {
    let world = World::new();
    world.fake.fail(Kind::Unreachable);
    let secrets = world.secrets(100, None);
    assert!(secrets.first_round(SECOND * 30).await);
    // Eight at once, two attempts each; the fifth failure opens it before the next eight are let in.
    assert!(world.fake.calls() <= 32, "{}", world.fake.calls());
    assert!(world.fake.most.load(Ordering::SeqCst) <= 8);
    let before = world.fake.calls();
    tokio::time::sleep(SECOND * 600).await;
    let probes = (world.fake.calls() - before) / 2;
    assert!((4..=12).contains(&probes), "{probes} probes in ten minutes");
    world.fake.fail(None);
    tokio::time::sleep(SECOND * 320).await;
    assert!(
        secrets.is_ready(),
        "all are back once a probe has succeeded"
    );
    assert!(world.guard.health("fake").reachable);
}

#[tokio::test(start_paused = true)]
async fn reloads_during_an_outage_do_not_reset_the_breaker() {
    let world = World::new();
    world.fake.fail(Kind::Unreachable);
    let mut secrets = world.secrets(100, None);
    assert!(secrets.first_round(SECOND * 30).await);
    let before = world.fake.calls();
    for _ in 0..10 {
        secrets = world.secrets(100, Some(&secrets));
        assert!(!world.guard.health("fake").reachable);
        tokio::time::sleep(SECOND / 4).await;
    }
    let more = world.fake.calls() - before;
    assert!(more <= 2, "ten reloads in 2.5 s cost {more} calls");
}
