//! The real daemon, run as an operator would run it.

use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// The compiled binary.
pub const BINARY: &str = env!("CARGO_BIN_EXE_claviger");

/// Number and interval of the polls before a wait fails: 60 s in total.
const LOOKS: u32 = 1200;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// A node in a temporary folder: a sealed file store, a configuration, and room for sockets.
#[derive(Debug)]
pub struct Site {
    folder: TempDir,
}

impl Site {
    /// Creates an empty store and its key.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // Other users must be able to reach the socket and nothing else.
        set_mode(folder.path(), 0o711);
        for (name, mode) in [("run", 0o711), ("run/admin", 0o700), ("state", 0o700)] {
            let path = folder.path().join(name);
            fs::create_dir(&path).expect("writable");
            set_mode(&path, mode);
        }
        let site = Self { folder };
        run(
            site.file_command("init")
                .arg("--generate-key")
                .arg(site.key()),
            "",
        );
        site
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The directory of the sealed store.
    pub fn store(&self) -> PathBuf {
        self.path().join("store")
    }

    /// The file with the key of the store.
    pub fn key(&self) -> PathBuf {
        self.path().join("store.key")
    }

    /// The broker socket.
    pub fn socket(&self) -> PathBuf {
        self.path().join("run/broker.sock")
    }

    /// The admin socket.
    pub fn admin_socket(&self) -> PathBuf {
        self.path().join("run/admin/admin.sock")
    }

    /// Writes a secret to the store, as an operator would: `local:NAME` refers to it.
    pub fn put(&self, name: &str, value: &str) {
        run(
            self.file_command("put")
                .arg(name)
                .arg("--key-file")
                .arg(self.key()),
            value,
        );
    }

    /// Writes a field of a secret to the store: `local:NAME#FIELD` refers to it.
    pub fn put_field(&self, name: &str, field: &str, value: &str) {
        let mut command = self.file_command("put");
        command
            .arg(name)
            .arg("--key-file")
            .arg(self.key())
            .args(["--field", field]);
        run(&mut command, value);
    }

    /// Writes the configuration: the sockets and the store, then `rest`.
    pub fn configure(&self, rest: &str) -> PathBuf {
        let path = self.path().join("claviger.toml");
        let text = format!(
            "[server]\nsocket = {}\nadmin_socket = {}\n\n\
             [backends.local]\ntype = \"file\"\ndirectory = {}\nkey_file = {}\n\n{rest}",
            quoted(&self.socket()),
            quoted(&self.admin_socket()),
            quoted(&self.store()),
            quoted(&self.key())
        );
        fs::write(&path, text).expect("writable");
        path
    }

    fn file_command(&self, verb: &str) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(["file", verb])
            .arg("--store")
            .arg(self.store());
        command
    }
}

/// A path as a TOML string. Every JSON string is one.
pub fn quoted(path: &Path) -> String {
    serde_json::to_string(path).expect("our paths are UTF-8")
}

/// A daemon that did not become ready.
#[derive(Debug)]
pub struct NotReady {
    /// Its exit status; `None` if it kept running without becoming ready and was killed.
    pub status: Option<ExitStatus>,
    /// Its output and log.
    pub log: String,
}

/// A running daemon. Killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    logs: [PathBuf; 2],
}

impl Daemon {
    /// Starts it with the configuration of `site` and waits until it is ready.
    pub fn start(site: &Site, config: &Path) -> Self {
        Self::try_start(site, config).unwrap_or_else(|NotReady { status, log }| {
            panic!("the daemon did not become ready ({status:?}):\n{log}")
        })
    }

    /// As [`start`](Self::start), but returns how the start failed.
    pub fn try_start(site: &Site, config: &Path) -> Result<Self, NotReady> {
        let notify = site.path().join("notify.sock");
        let _gone = fs::remove_file(&notify);
        let socket = UnixDatagram::bind(&notify).expect("bindable");
        socket
            .set_read_timeout(Some(BETWEEN_LOOKS))
            .expect("settable");
        let logs = ["stdout", "stderr"].map(|name| site.path().join("state").join(name));
        let file = |path: &PathBuf| {
            File::options()
                .create(true)
                .append(true)
                .open(path)
                .expect("writable")
        };
        let child = Command::new(BINARY)
            .args(["run", "--config"])
            .arg(config)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("NOTIFY_SOCKET", &notify)
            .stdin(Stdio::null())
            .stdout(file(&logs[0]))
            .stderr(file(&logs[1]))
            .current_dir(site.path())
            .spawn()
            .expect("the binary runs");
        let mut daemon = Self { child, logs };
        match daemon.await_ready(&socket) {
            Ok(()) => Ok(daemon),
            Err(status) => Err(NotReady {
                status,
                log: daemon.log(),
            }),
        }
    }

    fn await_ready(&mut self, socket: &UnixDatagram) -> Result<(), Option<ExitStatus>> {
        for _ in 0..LOOKS {
            let mut message = [0; 4096];
            match socket.recv(&mut message) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(&message[..length]);
                    if text.lines().any(|line| line == "READY=1") {
                        return Ok(());
                    }
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => panic!("the notification socket: {error}"),
            }
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return Err(Some(status));
            }
        }
        Err(None)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The files with its output and log.
    pub fn log_files(&self) -> &[PathBuf] {
        &self.logs
    }

    /// Its output and log.
    pub fn log(&self) -> String {
        self.logs
            .iter()
            .map(|path| fs::read_to_string(path).unwrap_or_default())
            .collect()
    }

    /// Sends SIGTERM and waits until it has exited.
    pub fn terminate(self) -> ExitStatus {
        self.end_by(Signal::SIGTERM)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().try_into().expect("a pid"));
        kill(pid, signal).expect("it is our child");
    }

    /// Sends it a signal and waits until it has exited.
    pub fn end_by(mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        for _ in 0..LOOKS {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            pause();
        }
        panic!("the daemon did not exit:\n{}", self.log());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }
}

/// Polls `look` until it is true; `false` after the time limit.
pub fn eventually(mut look: impl FnMut() -> bool) -> bool {
    for _ in 0..LOOKS {
        if look() {
            return true;
        }
        pause();
    }
    false
}

#[expect(
    clippy::disallowed_methods,
    reason = "polls another process, which provides no event to wait for"
)]
fn pause() {
    thread::sleep(BETWEEN_LOOKS);
}

/// Runs a command of the binary with `input`, and waits for it.
fn run(command: &mut Command, input: &str) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut stdin = child.stdin.take().expect("it is piped");
    // A command that reads no input may have exited already; its status shows whether that is an error.
    let _written = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}
