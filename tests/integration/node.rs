//! A node: a folder with a sealed store and a configuration, and an issuer on loopback.

use std::fs::{self, Permissions};
use std::future::Future;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use claviger::testing::file_store::{
    Expected, FileSettings, FileStore, StoreKey, generate_key_file,
};
use claviger_backend::Secret;
use claviger_demo::issuer::Issuer;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The time after which a test counts as hanging.
const PATIENCE: Duration = Duration::from_mins(1);

/// The value of the secret `password`: deliberately not UTF-8.
pub(crate) const PASSWORD: &[u8] = b"p\xffw\x00\r\n\xc3\x28";

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
});

/// Runs a test's asynchronous part; fails it if it hangs.
pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    RUNTIME.block_on(async {
        tokio::time::timeout(PATIENCE, work)
            .await
            .expect("the test hangs")
    })
}

/// The user that the tests run as.
pub(crate) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A folder with the files that a daemon needs.
pub(crate) struct Node {
    folder: TempDir,
    store: FileStore,
    pub(crate) issuer: Issuer,
    /// The lines of `[server.limits]`.
    pub(crate) limits: String,
    /// The rules; by default this user may read everything.
    pub(crate) rules: String,
    /// Further sections.
    pub(crate) more: String,
    /// The whole configuration, replacing the fields above.
    pub(crate) instead: Option<String>,
}

impl Node {
    /// A store with the issuer's client and a secret, and an issuer without a request so far.
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Other users must be able to reach the broker socket and nothing else.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
        let key = folder.path().join("store.key");
        generate_key_file(&key).unwrap();
        let settings = FileSettings {
            directory: folder.path().join("store"),
            key: StoreKey::KeyFile(key),
        };
        let store = FileStore::init(settings).unwrap();
        let issuer = Issuer::start().await.unwrap();
        let rules = format!(
            "[[allow]]\nuser = {}\ntokens = [\"api\", \"wide\"]\nsecrets = [\"password\"]\n",
            own_uid()
        );
        let node = Self {
            folder,
            store,
            issuer,
            limits: String::new(),
            rules,
            more: String::new(),
            instead: None,
        };
        let secret = String::from_utf8(node.issuer.client_secret().expose().to_vec()).unwrap();
        node.put_client_secret(&secret);
        node.put("password", PASSWORD);
        node
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("run/broker.sock")
    }

    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.path("run/admin/admin.sock")
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.path("claviger.toml")
    }

    /// Writes a value to the store.
    pub(crate) fn put(&self, name: &str, value: &[u8]) {
        let value = Secret::new(value.to_vec());
        self.store
            .put(&name.parse().unwrap(), &value, &Expected::Anything)
            .unwrap();
    }

    /// Writes the client's identifier and this secret to the store.
    pub(crate) fn put_client_secret(&self, secret: &str) {
        self.put("oauth/demo", self.client(secret).as_bytes());
    }

    /// The value with the client's identifier and this secret.
    pub(crate) fn client(&self, secret: &str) -> String {
        serde_json::json!({
            "client_id": self.issuer.client_id(), "client_secret": secret,
        })
        .to_string()
    }

    /// The text of the configuration.
    pub(crate) fn configuration(&self) -> String {
        if let Some(text) = &self.instead {
            return text.clone();
        }
        let folder = self.folder.path().display();
        format!(
            r#"mode = "dev"
[server]
socket = "{folder}/run/broker.sock"
[server.limits]
{limits}
[backends.local]
type = "file"
directory = "{folder}/store"
key_file = "{folder}/store.key"
[issuers.demo]
issuer = "{issuer}"
[clients.demo]
issuer = "demo"
id = "local:oauth/demo#client_id"
auth = {{ method = "client_secret_basic", secret = "local:oauth/demo#client_secret" }}
[tokens.api]
client = "demo"
grant = "client_credentials"
scopes = ["read:demo", "write:demo"]
[tokens.wide]
client = "demo"
grant = "client_credentials"
scopes = ["read:demo"]
[tokens.payroll]
client = "demo"
grant = "client_credentials"
scopes = ["read:payroll"]
[secrets.password]
reference = "local:password"
{more}
{rules}"#,
            limits = self.limits,
            issuer = self.issuer.url(),
            more = self.more,
            rules = self.rules,
        )
    }

    /// Writes the configuration.
    pub(crate) fn write_configuration(&self) -> PathBuf {
        self.write("claviger.toml", &self.configuration())
    }

    /// Writes a file that only this user can read.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Every text that must never leak: the client's secret, the store's key, and the password as text.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let client = String::from_utf8(self.issuer.client_secret().expose().to_vec()).unwrap();
        let key = fs::read_to_string(self.path("store.key"))
            .unwrap()
            .trim()
            .to_owned();
        vec![client, key]
    }

    /// The path of the folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}
