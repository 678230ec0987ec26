//! A credential that changes, in the backend and at the issuer, in either order; and an issuer that does not respond.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use claviger_backend::{
    BackendError, BackendName, Fetched, Secret, SecretName, SecretSource, VersionSelector,
};
use tokio::runtime::Handle;

use super::support::*;
use crate::*;
use claviger_core::secrets::{Secrets, Wanted};
use claviger_core::tokens::source::{Ask, TokenSource as _, Urgency};
use claviger_outbound::http::Error as Lost;
use claviger_runtime::clock::{Clock, Moment};
use claviger_runtime::shutdown::Drain;

const SECOND: Duration = Duration::from_secs(1);
const REFUSED: &str = r#"{"error":"invalid_client"}"#;

/// A backend with one secret.
#[derive(Debug)]
struct Store(Mutex<(u32, &'static str)>);

#[async_trait]
impl SecretSource for Store {
    async fn fetch(
        &self,
        _name: &SecretName,
        _version: &VersionSelector,
    ) -> Result<Fetched, BackendError> {
        let (version, value) = *self.0.lock().unwrap();
        let document = format!(r#"{{"client_secret":"{value}"}}"#);
        Ok(Fetched {
            value: Secret::from_text(document),
            version: version.to_string().parse().unwrap(),
            created: None,
        })
    }

    async fn probe(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

/// A client whose secret lives in a store, confirmed once an hour.
struct World {
    rig: Rig,
    store: Arc<Store>,
    _secrets: Arc<Secrets>,
    client: TokenClient,
}

impl World {
    async fn new() -> Self {
        let rig = Rig::new();
        let store = Arc::new(Store(Mutex::new((1, "old"))));
        let settings = client_settings();
        let reference = settings.auth.secret().clone();
        let name: BackendName = reference.backend.clone();
        let source = Arc::clone(&store) as Arc<dyn SecretSource>;
        let secrets = Secrets::start(
            BTreeMap::from([(name, source)]),
            vec![Wanted {
                reference,
                refresh: Duration::from_hours(1),
                max_stale: Duration::from_hours(4),
                name: None,
            }],
            Arc::clone(&rig.clock) as Arc<dyn Clock>,
            Drain::new(Handle::current()),
            None,
        );
        assert!(secrets.first_round(SECOND).await);
        let credential = Credential::new(&settings, |reference| secrets.live(reference));
        let client = TokenClient::new(Arc::clone(&rig.issuer), token_settings(), credential);
        assert_ne!(client.credential().number, 0);
        Self {
            rig,
            store,
            _secrets: secrets,
            client,
        }
    }

    fn put(&self, version: u32, value: &'static str) {
        *self.store.0.lock().unwrap() = (version, value);
    }

    /// The issuer refuses the next requests.
    fn refuses(&self, requests: usize) -> &Self {
        for _ in 0..requests {
            self.rig.script.then(Ok(answer(401, REFUSED)));
        }
        self
    }

    fn gives(&self) -> &Self {
        self.rig.script.then_token("");
        self
    }

    async fn token(&self) -> Result<Issued, Error> {
        self.client.token(&scopes("read")).await
    }

    /// The secrets that were presented since the last time, in order.
    fn presented(&self) -> Vec<String> {
        use base64::Engine as _;
        let engine = base64::engine::general_purpose::STANDARD;
        let asked = std::mem::take(&mut *self.rig.script.asked.lock().unwrap());
        asked
            .into_iter()
            .map(|asked| {
                let header = asked.authorization.unwrap();
                let pair = engine
                    .decode(header.strip_prefix("Basic ").unwrap())
                    .unwrap();
                let pair = String::from_utf8(pair).unwrap();
                pair.rsplit_once(':').unwrap().1.to_owned()
            })
            .collect()
    }

    fn now(&self) -> Moment {
        self.rig.clock.now()
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_secret_that_was_replaced_in_its_store_is_read_and_used_at_once() {
    let world = World::new().await;
    world.put(2, "new");
    let before = world.client.credential().number;
    world.refuses(1).gives();
    let issued = world.token().await.unwrap();
    assert_eq!(world.presented(), ["old", "new"]);
    assert_ne!(issued.credential, before);
    assert_eq!(issued.credential, world.client.credential().number);
}

#[tokio::test(start_paused = true)]
async fn a_new_secret_that_the_issuer_does_not_know_yet_gives_way_to_the_one_before() {
    let (log, _guard) = Captured::start();
    let world = World::new().await;
    world.put(2, "new");
    world.refuses(1).gives();
    world.token().await.unwrap();
    drop(world.presented());
    tokio::time::sleep(SECOND * 11).await;
    world.refuses(1).gives();
    let issued = world.token().await.unwrap();
    assert_eq!(world.presented(), ["new", "old"]);
    assert!(log.text().contains("previous_credential_used"));
    // The token counts as obtained with the newest: otherwise the cache would renew it again and again.
    assert_eq!(issued.credential, world.client.credential().number);
    world.gives();
    world.token().await.unwrap();
    assert_eq!(world.presented(), ["new"], "the newest is tried first");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_final_only_when_the_credential_has_not_just_changed() {
    let world = World::new().await;
    world.refuses(1);
    let error = world.token().await.unwrap_err();
    assert_eq!(
        (error.kind, error.verdict),
        (ErrorKind::InvalidClient, Verdict::Terminal)
    );
    assert_eq!(world.presented(), ["old"], "there is no other one");
    tokio::time::sleep(SECOND * 11).await;
    world.put(2, "new");
    world.refuses(2);
    let error = world.token().await.unwrap_err();
    assert_eq!(world.presented(), ["old", "new"]);
    let passing = Verdict::Transient { retry_after: None };
    assert_eq!(
        (error.kind, error.verdict),
        (ErrorKind::InvalidClient, passing)
    );
    assert_eq!(error.credential, world.client.credential().number);
    tokio::time::sleep(SECOND * 61).await;
    world.refuses(2);
    let error = world.token().await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Terminal);
}

#[tokio::test(start_paused = true)]
async fn while_the_credential_is_refused_callers_have_it_read_again() {
    let world = World::new().await;
    world.refuses(1);
    let before = world.token().await.unwrap_err().credential;
    world.put(2, "new");
    for _ in 0..9 {
        tokio::time::sleep(SECOND).await;
        assert_eq!(world.client.credential().number, before, "too early");
    }
    tokio::time::sleep(SECOND * 2).await;
    assert_eq!(
        world.client.credential().number,
        before,
        "read in the background"
    );
    tokio::time::sleep(SECOND).await;
    assert_ne!(world.client.credential().number, before);
}

#[tokio::test(start_paused = true)]
async fn an_operator_has_the_secret_read_first() {
    let world = World::new().await;
    let ask = Ask::client(scopes("read"));
    for version in 2..5 {
        world.put(version, "new");
        world.gives();
        let issued = world.client.obtain(&ask, Urgency::Ordered).await.unwrap();
        assert_eq!(issued.credential, world.client.credential().number);
        assert_eq!(world.presented(), ["new"]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_does_not_respond_is_probed_by_one_request_at_a_time() {
    let world = World::new().await;
    let script = &world.rig.script;
    for _ in 0..15 {
        script.then(Err(Lost::Refused));
    }
    let mut last = None;
    for _ in 0..5 {
        // With room in the client's limit.
        tokio::time::sleep(Duration::from_mins(1)).await;
        last = Some(world.token().await.unwrap_err());
    }
    assert_eq!(script.requests(), 15, "five requests with two retries each");
    let last = last.unwrap();
    // Every token of every client at this issuer waits now, whatever its own schedule.
    let other = token_settings_of(ClientSettings {
        name: "other".into(),
        ..client_settings()
    });
    let other = client_of(&world.rig.issuer, other);
    for client in [&world.client, &other] {
        let error = client.token(&scopes("write")).await.unwrap_err();
        assert_eq!(error.kind, last.kind, "with the cause");
        let Verdict::Transient {
            retry_after: Some(wait),
        } = error.verdict
        else {
            panic!("{error:?}")
        };
        assert!(wait > SECOND * 4 && wait <= SECOND * 5, "{wait:?}");
    }
    assert_eq!(script.requests(), 15);
    // An operator is not held back.
    tokio::time::sleep(SECOND).await;
    world.gives();
    let before = world.now();
    let ask = Ask::client(scopes("read"));
    other.obtain(&ask, Urgency::Ordered).await.unwrap();
    assert!(world.now().since(before) < SECOND);
    world.gives();
    world.token().await.unwrap();
}
