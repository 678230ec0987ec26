//! Whatever a peer sends, the daemon keeps serving other peers.
//!
//! One daemon serves the whole run, on a real socket, with a secret and a rule that allows it. Each input is sent on a new
//! connection, and the target waits until that is closed; then another peer requests the secret and must get it. The first byte
//! selects the socket: that for programs or that for operators.
#![no_main]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, mpsc};
use std::time::Duration;

use claviger::testing::{Backends, Config, Launch, open_all, start};
use claviger_backend::Secret;
use claviger_backend_file::{Expected, FileSettings, FileStore, StoreKey, generate_key_file};
use claviger_kernel as memory;
use claviger_runtime::clock::SystemClock;
use claviger_server::Sockets;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

/// Longer than any timeout of the daemon, with the limits below.
const PATIENCE: Duration = Duration::from_secs(10);
const VALUE: &str = "the value that every peer here may read";

struct World {
    folder: TempDir,
    healthy: std::sync::Mutex<Option<UnixStream>>,
}

static WORLD: LazyLock<World> = LazyLock::new(World::start);

impl World {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (ready, started) = mpsc::channel();
        let root = folder.path().to_owned();
        std::thread::spawn(move || serve(&root, &ready));
        started.recv().expect("the daemon starts");
        Self {
            folder,
            healthy: std::sync::Mutex::default(),
        }
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn connect(&self, name: &str) -> UnixStream {
        let stream = UnixStream::connect(self.socket(name)).expect("the daemon listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("settable");
        stream.set_write_timeout(Some(PATIENCE)).expect("settable");
        stream
    }

    /// Requests the secret on a kept connection, or on a new one if the daemon has closed that.
    fn ask(&self) {
        let mut kept = self.healthy.lock().expect("one thread");
        let answer = kept.as_mut().and_then(exchange);
        if answer.is_none() {
            let mut stream = self.connect("broker.sock");
            assert!(
                exchange(&mut stream).is_some(),
                "a healthy peer is not served"
            );
            *kept = Some(stream);
        }
    }
}

/// Runs the daemon for the rest of the process.
fn serve(root: &Path, ready: &mpsc::Sender<()>) {
    let key = root.join("key");
    generate_key_file(&key).expect("a new file");
    let settings = FileSettings {
        directory: root.join("store"),
        key: StoreKey::KeyFile(key.clone()),
    };
    let store = FileStore::init(settings).expect("a new store");
    let name = "value".parse().expect("a name");
    let value = Secret::from_text(VALUE.to_owned());
    store
        .put(&name, &value, &Expected::Nothing)
        .expect("writable");
    let root = root.display();
    let text = format!(
        r#"
[server]
socket = "{root}/broker.sock"
admin_socket = "{root}/admin/admin.sock"

[server.limits]
preface = "200ms"
request = "500ms"
requests_per_second = 10000
request_burst = 100000
connection_age = "1d"

[backends.local]
type = "file"
directory = "{root}/store"
key_file = "{root}/key"

[issuers.silent]
issuer = "https://127.0.0.1:1"
token_endpoint = "https://127.0.0.1:1/token"
requests_per_minute = 6000

[clients.one]
issuer = "silent"
id = {{ literal = "one" }}
auth = {{ method = "client_secret_basic", secret = "local:value" }}

[tokens.api]
client = "one"
grant = "client_credentials"

[secrets.value]
reference = "local:value"

[[allow]]
user = {uid}
tokens = ["api"]
secrets = ["value"]
"#,
        uid = claviger_fuzz_uid()
    );
    let config = Config::parse(&text, Path::new("claviger.toml")).unwrap_or_else(|problems| {
        panic!("the configuration of the target: {problems}");
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let none = Backends::none(Arc::new(SystemClock));
    let backends = runtime
        .block_on(open_all(&config.backends, &none))
        .expect("the store opens");
    let sockets = Sockets::bind(&config.server).expect("bindable");
    let launch = Launch {
        config,
        backends,
        sockets,
        protections: memory::verify(),
    };
    runtime.block_on(async {
        // The Rust runtime ignores SIGPIPE at start. Here `main` is C++, so without this handler a write to a closed connection
        // would end the whole run without a message.
        let _ignored = signal(SignalKind::pipe()).expect("a handler");
        let running = start(launch, Arc::new(SystemClock), 0)
            .await
            .expect("it starts");
        ready.send(()).expect("the target waits");
        std::future::pending::<()>().await;
        drop(running);
    });
}

/// The user that runs the target, for the rule.
fn claviger_fuzz_uid() -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self")
        .expect("/proc is mounted")
        .uid()
}

/// One request for the secret; `None` if the connection is closed.
fn exchange(stream: &mut UnixStream) -> Option<()> {
    const REQUEST: &[u8] =
        b"GET /v1/secret/value HTTP/1.1\r\nhost: claviger\r\nclaviger-request: true\r\n\r\n";
    stream.write_all(REQUEST).ok()?;
    let mut answer = Vec::new();
    while !answer.ends_with(VALUE.as_bytes()) {
        let mut piece = [0; 1024];
        match stream.read(&mut piece).ok()? {
            0 => return None,
            length => answer.extend_from_slice(&piece[..length]),
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    Some(())
}

fuzz_target!(|input: &[u8]| {
    let Some((first, bytes)) = input.split_first() else {
        return;
    };
    let face = if first & 1 == 0 {
        "broker.sock"
    } else {
        "admin/admin.sock"
    };
    let mut stream = WORLD.connect(face);
    // The daemon may have closed the connection before all bytes were sent.
    let _sent = stream.write_all(bytes);
    let _half = stream.shutdown(Shutdown::Write);
    let mut answer = [0; 16 * 1024];
    let mut read = 0_usize;
    loop {
        match stream.read(&mut answer) {
            Ok(0) => break,
            Ok(length) => read += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                panic!("the daemon neither responds nor closes the connection, after {read} bytes")
            }
            Err(_reset) => break,
        }
    }
    WORLD.ask();
});
