//! The server on its sockets, with a broker of one token and doubles of the daemon above it.

use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use claviger_backend::Secret;
use claviger_core::broker::{BudgetSettings, CurrentWorld, World};
use claviger_core::peer::{AttestError, Attestor, Evidence, Facts};
use claviger_core::policy::{Policy, Rule, ScopeLimit, Selector};
use claviger_core::secrets::Secrets;
use claviger_core::tokens::source::{
    self, Ask, CredentialState, Identity, Issued, Revocation, TokenSource, Urgency,
};
use claviger_core::tokens::{self, Definition, Fingerprints, Tokens};
use claviger_oauth_wire::Scopes;
use claviger_proto::v1::{self, admin_client::AdminClient, tokens_client::TokensClient};
use claviger_proto::{REQUEST_HEADER, REQUEST_HEADER_VALUE};
use claviger_runtime::clock::{SteppedClock, SystemClock};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

use super::*;

/// An issuer that always has a token.
#[derive(Debug)]
struct Issuer;

#[async_trait]
impl TokenSource for Issuer {
    async fn obtain(&self, ask: &Ask, _urgency: Urgency) -> Result<Issued, source::Error> {
        let sent = SystemClock.now();
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
        CredentialState {
            number: 1,
            is_available: true,
        }
    }
}

#[derive(Debug)]
struct OneWorld(Arc<World>);

impl CurrentWorld for OneWorld {
    fn world(&self) -> Arc<World> {
        Arc::clone(&self.0)
    }
}

/// A daemon without anything to report.
#[derive(Debug)]
struct Idle;

#[async_trait]
impl Operator for Idle {
    fn overview(&self) -> Overview {
        Overview {
            started: SystemTime::UNIX_EPOCH,
            config_path: PathBuf::new(),
            config_digest: String::new(),
            config_loaded: SystemTime::UNIX_EPOCH,
            ready: true,
            backends: Vec::new(),
            issuers: Vec::new(),
            resources: Vec::new(),
            protections: Vec::new(),
            warnings: Vec::new(),
        }
    }

    async fn reload(self: Arc<Self>, _dry_run: bool) -> Result<Reloaded, ReloadRefused> {
        Ok(Reloaded::default())
    }

    async fn refresh_issuer(&self, _name: &str) -> Result<bool, IssuerNotRefreshed> {
        Err(IssuerNotRefreshed::Unknown)
    }
}

static ALONE: Mutex<()> = Mutex::new(());

/// A directory for the sockets of one test, one test at a time: sockets are bound under a file mode mask, which belongs to the
/// process, and `tracing` caches for the whole process whether any thread wants the records of a place in the code.
pub(crate) struct Folder {
    directory: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            directory: tempfile::tempdir().unwrap(),
            _alone: alone,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// A server on sockets of its own, served on the runtime of the test. This process may have the token `api`.
struct Stage {
    folder: Folder,
    _server: Server,
}

impl Stage {
    fn new(attestors: Vec<Arc<dyn Attestor>>) -> Self {
        let folder = Folder::new();
        let (clock, drain) = (Arc::new(SystemClock), Drain::new(Handle::current()));
        let world = World {
            generation: 1,
            policy: Policy::new(vec![rule()]),
            tokens: cache(&drain),
            secrets: Secrets::start(
                [].into(),
                Vec::new(),
                Arc::clone(&clock) as _,
                drain.clone(),
                None,
            ),
        };
        let budget = BudgetSettings {
            per_second: 20,
            burst: 20,
        };
        let world = Arc::new(OneWorld(Arc::new(world)));
        let parts = Parts {
            broker: Arc::new(Broker::new(world, budget, Arc::clone(&clock) as _)),
            operator: Arc::new(Idle),
            peers: Arc::new(peer::Settings {
                attestors,
                ..peer::Settings::default()
            }),
            clock,
            drain: drain.clone(),
            threads: 0,
        };
        let settings = Settings {
            socket: folder.path().join("broker.sock"),
            admin_socket: folder.path().join("admin/admin.sock"),
            socket_group: None,
            limits: Limits::DEFAULT,
        };
        let sockets = Sockets::bind(&settings).unwrap();
        let server = Server::start(sockets, &settings, &parts).unwrap();
        Self {
            folder,
            _server: server,
        }
    }

    async fn connect(&self, socket: &str) -> UnixStream {
        UnixStream::connect(self.folder.path().join(socket))
            .await
            .unwrap()
    }

    async fn channel(&self, socket: &str) -> Channel {
        let mut stream = Some(TokioIo::new(self.connect(socket).await));
        Endpoint::from_static("http://claviger")
            .connect_with_connector(tower::service_fn(move |_uri| {
                let stream = stream.take();
                std::future::ready(stream.ok_or(io::Error::from(io::ErrorKind::ConnectionAborted)))
            }))
            .await
            .unwrap()
    }
}

/// That this process may have the token.
fn rule() -> Rule {
    let facts = Facts::of_this_process().unwrap();
    Rule {
        selector: Selector {
            user: Some(facts.uid),
            container: facts.cgroup.and_then(|cgroup| cgroup.container),
            ..Selector::default()
        },
        tokens: vec!["api".into()],
        scopes: ScopeLimit::Definition,
        secrets: Vec::new(),
    }
}

fn cache(drain: &Drain) -> Arc<Tokens> {
    let definition = Definition {
        name: "api".into(),
        issuer: "acme".into(),
        client: "client".into(),
        scopes: Scopes::none(),
        idle: tokens::DEFAULT_IDLE,
        identity: Identity::new("v1"),
        source: Arc::new(Issuer),
    };
    let fingerprints = Arc::new(Fingerprints::new().unwrap());
    Tokens::new(
        vec![definition],
        fingerprints,
        Arc::new(SystemClock),
        drain.clone(),
        None,
    )
}

/// A message with the header that each request needs.
fn meant<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = REQUEST_HEADER_VALUE.parse().unwrap();
    request.metadata_mut().insert(REQUEST_HEADER, value);
    request
}

/// Sends one request of HTTP/1.1 and returns what comes until the end of the connection.
async fn get(mut stream: UnixStream, path: &str) -> String {
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: claviger\r\nconnection: close\r\n{REQUEST_HEADER}: {REQUEST_HEADER_VALUE}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// What is logged on this thread.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn start(level: tracing::Level) -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// The spans that ended since the last call, one a line.
    fn spans(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8(bytes)
            .unwrap()
            .lines()
            .filter(|line| line.contains("claviger::request: request answered"))
            .map(str::to_owned)
            .collect()
    }
}

/// Makes one request of each kind: a watch, operators' requests, refusals of both dialects.
async fn requests(stage: &Stage) {
    let broker = stage.channel("broker.sock").await;
    let mut programs = TokensClient::new(broker);
    let watched = |name: &str| {
        meant(v1::WatchTokenRequest {
            name: name.to_owned(),
            scopes: Vec::new(),
        })
    };
    let mut watch = programs
        .watch_token(watched("api"))
        .await
        .unwrap()
        .into_inner();
    assert!(watch.message().await.unwrap().is_some());
    let denied = programs.watch_token(watched("other")).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let get_token = v1::GetTokenRequest {
        name: "api".to_owned(),
        ..v1::GetTokenRequest::default()
    };
    programs.get_token(meant(get_token.clone())).await.unwrap();
    programs
        .get_token(Request::new(get_token))
        .await
        .unwrap_err();
    let mut operators = AdminClient::new(stage.channel("admin/admin.sock").await);
    let refresh = v1::RefreshRequest {
        names: vec!["api".to_owned()],
        issuers: vec!["acme".to_owned()],
    };
    operators.refresh(meant(refresh)).await.unwrap();
    let explain = v1::ExplainRequest {
        action: "token".to_owned(),
        ..v1::ExplainRequest::default()
    };
    operators.explain(meant(explain)).await.unwrap_err();
    get(stage.connect("broker.sock").await, "/v1/secret/password").await;
    get(stage.connect("broker.sock").await, "/health").await;
}

#[tokio::test]
async fn each_request_is_one_span_with_its_method_name_and_outcome_at_debug_alone() {
    let stage = Stage::new(Vec::new());
    let (log, guard) = Log::start(tracing::Level::DEBUG);
    requests(&stage).await;
    let spans = log.spans();
    let expected: [(&str, Option<&str>, Option<&str>, &str); 8] = [
        (
            "/claviger.v1.Tokens/WatchToken",
            Some("api"),
            None,
            "answered",
        ),
        (
            "/claviger.v1.Tokens/WatchToken",
            Some("other"),
            None,
            "denied",
        ),
        (
            "/claviger.v1.Tokens/GetToken",
            Some("api"),
            Some("fresh"),
            "answered",
        ),
        (
            "/claviger.v1.Tokens/GetToken",
            None,
            None,
            "not_for_claviger",
        ),
        (
            "/claviger.v1.Admin/Refresh",
            Some("acme api"),
            None,
            "answered",
        ),
        ("/claviger.v1.Admin/Explain", None, None, "invalid_request"),
        ("GET /v1/secret/NAME", Some("password"), None, "denied"),
        ("GET /health", None, None, "answered"),
    ];
    assert_eq!(spans.len(), expected.len(), "{spans:#?}");
    let pid = std::process::id();
    for (span, (method, name, cache, outcome)) in spans.iter().zip(expected) {
        let quoted = |field: &str, value: Option<&str>| {
            value.map_or_else(String::new, |value| format!(" {field}={value:?}"))
        };
        let fields = format!(
            "peer.pid={pid} method={method:?}{}{}{}}}",
            quoted("name", name),
            quoted("cache", cache),
            quoted("outcome", Some(outcome)),
        );
        assert!(span.contains(&fields), "{fields}: {span}");
    }
    drop(guard);
    let (log, _guard) = Log::start(tracing::Level::INFO);
    requests(&stage).await;
    assert_eq!(log.spans(), Vec::<String>::new());
}

/// Hangs for the first peer, and has no evidence about the others.
#[derive(Debug, Default)]
struct HangsOnce {
    asked: AtomicBool,
    hangs: Notify,
}

#[async_trait]
impl Attestor for HangsOnce {
    async fn attest(&self, _: &Facts, _: BorrowedFd<'_>) -> Result<Evidence, AttestError> {
        if !self.asked.swap(true, Ordering::Relaxed) {
            self.hangs.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(Evidence::default())
    }
}

#[tokio::test(start_paused = true)]
async fn an_attestor_that_hangs_delays_one_connection_until_its_deadline() {
    let attestor = Arc::new(HangsOnce::default());
    let stage = Stage::new(vec![Arc::clone(&attestor) as _]);
    let clock = SteppedClock::default();
    let start = clock.now();
    let mut hanging = stage.connect("broker.sock").await;
    attestor.hangs.notified().await;
    let answer = get(stage.connect("broker.sock").await, "/health").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert_eq!(
        clock.now().since(start),
        Duration::ZERO,
        "answered meanwhile"
    );
    assert_eq!(hanging.read(&mut [0]).await.unwrap(), 0, "closed");
    let deadline = Limits::DEFAULT.preface;
    assert!((deadline..deadline * 2).contains(&clock.now().since(start)));
}
