//! The server over its own sockets, in front of an operator that does as the test says.

use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use async_trait::async_trait;
use claviger_proto::v1::{ReloadRequest, admin_client::AdminClient};
use claviger_proto::{REQUEST_HEADER, REQUEST_HEADER_VALUE};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};
use tonic::transport::{Channel, Endpoint};

use super::*;
use crate::broker::{BudgetSettings, World};
use crate::clock::SystemClock;
use crate::policy::Policy;
use crate::secrets::Secrets;
use crate::tokens::{self, Tokens};

/// What became of a reload.
#[derive(Debug, PartialEq, Eq)]
enum Reload {
    Begun,
    Done,
    CutOff,
}

/// Reloads when it is let.
#[derive(Debug)]
struct Patient {
    go: Arc<Notify>,
    tell: mpsc::UnboundedSender<Reload>,
}

/// Says that a reload was cut off, unless it was done.
struct Watched<'a>(&'a Patient, bool);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        let end = if self.1 { Reload::Done } else { Reload::CutOff };
        self.0.tell.send(end).unwrap();
    }
}

#[async_trait]
impl Operator for Patient {
    fn overview(&self) -> Overview {
        Overview {
            started: SystemTime::UNIX_EPOCH,
            config_path: PathBuf::new(),
            config_digest: String::new(),
            config_loaded: SystemTime::UNIX_EPOCH,
            ready: true,
            backend_kinds: Vec::new(),
            issuers: Vec::new(),
            protections: Vec::new(),
            warnings: Vec::new(),
        }
    }

    async fn reload(&self, _dry_run: bool) -> Result<Vec<String>, Vec<String>> {
        let mut watched = Watched(self, false);
        self.tell.send(Reload::Begun).unwrap();
        self.go.notified().await;
        watched.1 = true;
        Ok(Vec::new())
    }
}

fn parts(operator: Arc<dyn Operator>) -> Parts {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let drain = Drain::new(Handle::current());
    let (none, now) = (Vec::new(), Arc::clone(&clock));
    let world = World {
        policy: Policy::new(Vec::new()),
        tokens: Tokens::new(none, tokens::Settings::default(), now, drain.clone(), None).unwrap(),
        secrets: Secrets::start(
            [].into(),
            Vec::new(),
            Arc::clone(&clock),
            drain.clone(),
            None,
        ),
    };
    let budget = BudgetSettings {
        per_second: 10,
        burst: 20,
    };
    Parts {
        broker: Arc::new(Broker::new(world, budget, Arc::clone(&clock))),
        operator,
        peers: Arc::default(),
        clock,
        drain,
        threads: 1,
    }
}

fn settings(folder: &Path) -> Settings {
    Settings {
        socket: folder.join("broker.sock"),
        admin_socket: folder.join("admin.sock"),
        socket_group: None,
        limits: Limits::default(),
    }
}

/// Starts a server on sockets in `folder`.
fn serve(folder: &Path, operator: Arc<dyn Operator>) -> (Server, Settings) {
    let settings = settings(folder);
    let listen = |path| StdListener::bind(path).unwrap();
    let listeners = vec![listen(&settings.socket), listen(&settings.admin_socket)];
    let sockets = Sockets::inherit(listeners, "broker:admin").unwrap();
    let server = Server::start(sockets, &settings, &parts(operator)).unwrap();
    (server, settings)
}

async fn connect(socket: &Path) -> Channel {
    let mut stream = Some(UnixStream::connect(socket).await.unwrap());
    let connector = tower::service_fn(move |_uri| {
        let stream = stream.take().ok_or(io::ErrorKind::ConnectionAborted);
        std::future::ready(stream.map(TokioIo::new).map_err(io::Error::from))
    });
    let endpoint = Endpoint::from_static("http://claviger");
    endpoint.connect_with_connector(connector).await.unwrap()
}

/// A reload that stops half-way would leave the old configuration in force without the loops that keep its secrets fresh.
#[tokio::test]
async fn a_reload_goes_on_when_its_operator_goes_away() {
    let folder = tempfile::tempdir().unwrap();
    let go = Arc::new(Notify::new());
    let (tell, mut told) = mpsc::unbounded_channel();
    let patient = Patient {
        go: Arc::clone(&go),
        tell,
    };
    let (server, settings) = serve(folder.path(), Arc::new(patient));
    let mut operator = AdminClient::new(connect(&settings.admin_socket).await);
    let mut request = tonic::Request::new(ReloadRequest { dry_run: false });
    let header = REQUEST_HEADER_VALUE.parse().unwrap();
    request.metadata_mut().insert(REQUEST_HEADER, header);
    let asking = tokio::spawn(async move { operator.reload(request).await });
    assert_eq!(told.recv().await, Some(Reload::Begun));
    asking.abort();
    while server.metrics().open() > 0 {
        tokio::task::yield_now().await;
    }
    go.notify_one();
    assert_eq!(told.recv().await, Some(Reload::Done));
}
