//! The release build of claviger, with an embedded issuer.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use claviger_demo::issuer::Issuer;
use claviger_proto::v1::GetTokenResponse;

use crate::load;

const CLAVIGER: &str = env!("CARGO_BIN_EXE_claviger");

/// A running daemon and its issuer.
pub(crate) struct Subject {
    folder: tempfile::TempDir,
    issuer: Issuer,
    daemon: Child,
}

impl Subject {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let issuer = Issuer::start().await.unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let (store, key) = (at("store"), at("store.key"));
        feed(
            &["file", "init", "--store", &store, "--generate-key", &key],
            b"",
        );
        let put = [
            "file",
            "put",
            "client",
            "--store",
            &store,
            "--key-file",
            &key,
        ];
        feed(&put, issuer.client_secret().expose());
        let config = config(folder.path(), &issuer);
        std::fs::write(at("claviger.toml"), config).unwrap();
        let ready = UnixDatagram::bind(at("notify")).unwrap();
        let daemon = Command::new(CLAVIGER)
            .args(["run", "--config", &at("claviger.toml")])
            .env("NOTIFY_SOCKET", at("notify"))
            .stderr(File::create(at("log")).unwrap())
            .spawn()
            .unwrap();
        ready
            .set_read_timeout(Some(std::time::Duration::from_secs(10)))
            .unwrap();
        ready.recv(&mut [0; 64]).expect("the daemon becomes ready");
        Self {
            folder,
            issuer,
            daemon,
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("run/broker.sock")
    }

    pub(crate) fn issuer_requests(&self) -> usize {
        self.issuer.requests()
    }

    /// Has `callers` request, at the same time, a token that is not yet cached.
    pub(crate) async fn cold(&self, callers: usize) {
        let mut clients = Vec::new();
        for _ in 0..32 {
            clients.push(load::connect(&self.socket()).await);
        }
        let calls = (0..callers).map(|caller| {
            let mut client = clients[caller % clients.len()].clone();
            tokio::spawn(async move { client.get_token(load::request()).await })
        });
        let calls: Vec<_> = calls.collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
    }

    /// The response that the load gets.
    pub(crate) async fn cached(&self) -> GetTokenResponse {
        load::answer(&self.socket()).await
    }

    /// Resident memory of the daemon.
    pub(crate) fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.daemon.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        drop(self.daemon.kill());
        drop(self.daemon.wait());
    }
}

fn feed(arguments: &[&str], value: &[u8]) {
    let mut child = Command::new(CLAVIGER)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(value).unwrap();
    assert!(child.wait().unwrap().success(), "{arguments:?}");
}

/// A configuration with one token, which this user may request.
fn config(folder: &Path, issuer: &Issuer) -> String {
    format!(
        r#"
mode = "dev"
[server]
socket = "{root}/run/broker.sock"
[backends.local]
type = "file"
directory = "{store}"
key_file = "{key}"
[issuers.bench]
issuer = "{issuer}"
[clients.bench]
issuer = "bench"
id = {{ literal = "demo-client" }}
auth = {{ method = "client_secret_basic", secret = "local:client" }}
[tokens.bench]
client = "bench"
grant = "client_credentials"
scopes = ["read:large"]
[[allow]]
user = {uid}
tokens = ["bench"]
"#,
        root = folder.display(),
        store = folder.join("store").display(),
        key = folder.join("store.key").display(),
        issuer = issuer.url(),
        uid = rustix::process::geteuid().as_raw(),
    )
}
