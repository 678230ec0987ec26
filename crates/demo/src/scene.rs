//! The setup of the demo: a folder, a store with a credential, a configuration, and a daemon.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::CommandExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use claviger_backend::Secret;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Error;
use crate::interruption::Interruption;
use crate::issuer::Issuer;

/// How long the daemon may take to become ready: the number of attempts, and the timeout of each.
const LOOKS: u32 = 100;
const LOOK: Duration = Duration::from_millis(100);

/// The paths of the sockets within the folder.
const BROKER_SOCKET: &str = "run/broker.sock";
const ADMIN_SOCKET: &str = "run/admin/admin.sock";

/// A folder with everything that the demo needs, and the daemon. Removed by `strike` or when dropped.
pub(super) struct Scene {
    folder: PathBuf,
    executable: PathBuf,
    configuration: String,
    socket: String,
    admin_socket: String,
    daemon: Child,
    /// The client's secret, to search for.
    secret: Secret,
}

impl Scene {
    /// Creates the folder, fills the store, and starts the daemon.
    pub(super) fn set(
        executable: PathBuf,
        issuer: &Issuer,
        interruption: &Interruption,
    ) -> Result<Self, Error> {
        let folder = make_folder()?;
        let built = Self::build(folder.clone(), executable, issuer, interruption);
        if built.is_err() {
            // The first error is the one to report.
            drop(fs::remove_dir_all(&folder));
        }
        built
    }

    fn build(
        folder: PathBuf,
        executable: PathBuf,
        issuer: &Issuer,
        interruption: &Interruption,
    ) -> Result<Self, Error> {
        fill_store(&folder, &executable, issuer)?;
        let configuration = configuration(&folder, issuer);
        fs::write(folder.join("claviger.toml"), &configuration)
            .map_err(|error| Error::System("write the configuration", error))?;
        let daemon = start_daemon(&folder, &executable, interruption)?;
        let path = |name: &str| folder.join(name).display().to_string();
        Ok(Self {
            socket: path(BROKER_SOCKET),
            admin_socket: path(ADMIN_SOCKET),
            folder,
            executable,
            configuration,
            daemon,
            secret: issuer.client_secret(),
        })
    }

    pub(super) fn executable(&self) -> &Path {
        &self.executable
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn configuration(&self) -> &str {
        &self.configuration
    }

    pub(super) fn configuration_file(&self) -> PathBuf {
        self.folder.join("claviger.toml")
    }

    pub(super) fn socket(&self) -> &str {
        &self.socket
    }

    pub(super) fn admin_socket(&self) -> &str {
        &self.admin_socket
    }

    pub(super) fn daemon_pid(&self) -> u32 {
        self.daemon.id()
    }

    /// Runs a client as a separate process.
    pub(super) fn claviger(&self, arguments: &[&str]) -> Result<Output, Error> {
        Command::new(&self.executable)
            .args(arguments)
            .stdin(Stdio::null())
            .process_group(0)
            .output()
            .map_err(|error| Error::System("start a client", error))
    }

    /// Counts occurrences of the secret in the places where an attacker looks first; `None` if a place is not readable.
    pub(super) fn search(&self) -> Result<[(&'static str, Option<usize>); 3], Error> {
        let process = PathBuf::from(format!("/proc/{}", self.daemon.id()));
        Ok([
            ("environment", self.count(&process.join("environ"))?),
            ("command line", self.count(&process.join("cmdline"))?),
            ("log", self.count(&self.folder.join("daemon.log"))?),
        ])
    }

    fn count(&self, file: &Path) -> Result<Option<usize>, Error> {
        let text = match fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
            Err(error) => return Err(Error::System("search the daemon", error)),
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "the demo searches for the secret that it made"
        )]
        let secret = self.secret.expose();
        let encoded = STANDARD.encode(secret);
        let hits = |needle: &[u8]| {
            text.windows(needle.len().max(1))
                .filter(|window| *window == needle)
                .count()
        };
        Ok(Some(hits(secret).saturating_add(hits(encoded.as_bytes()))))
    }

    /// Stops the daemon gracefully and removes the folder.
    pub(super) fn strike(&mut self) -> Result<(), Error> {
        if let Ok(pid) = i32::try_from(self.daemon.id()) {
            // The daemon may already have exited; `wait` reports that.
            kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap_or(());
        }
        self.daemon
            .wait()
            .map_err(|error| Error::System("wait for the daemon", error))?;
        fs::remove_dir_all(&self.folder).map_err(|error| Error::System("remove the folder", error))
    }
}

/// The daemon must not keep running after a failed step.
impl Drop for Scene {
    fn drop(&mut self) {
        if matches!(self.daemon.try_wait(), Ok(None)) {
            drop(self.daemon.kill());
            drop(self.daemon.wait());
        }
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Creates a folder with mode 0700 and a random name.
fn make_folder() -> Result<PathBuf, Error> {
    let place = absolute(std::env::temp_dir());
    let number = u64::from_ne_bytes(random()?);
    let folder = place.join(format!("claviger-demo-{number:016x}"));
    if !is_fit(&folder) {
        return Err(Error::Unfit(place));
    }
    DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .map_err(|source| Error::Folder { place, source })?;
    Ok(folder)
}

/// `TMPDIR` may be empty or relative; paths in the configuration may not.
fn absolute(place: PathBuf) -> PathBuf {
    if place.as_os_str().is_empty() {
        return PathBuf::from("/tmp");
    }
    std::path::absolute(&place).unwrap_or(place)
}

/// Whether the paths below `folder` can be written into the configuration unescaped, and bound as sockets.
fn is_fit(folder: &Path) -> bool {
    let admin_socket = folder.join(ADMIN_SOCKET);
    let fits = SocketAddr::from_pathname(&admin_socket).is_ok();
    let plain =
        |text: &str| !text.contains(|letter: char| letter.is_control() || "\"\\".contains(letter));
    fits && admin_socket.to_str().is_some_and(plain)
        && !folder.components().any(|part| part == Component::ParentDir)
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_unspecified| Error::Unexpected("the system has no random bytes"))?;
    Ok(bytes)
}

/// Creates the sealed store and stores the credential as an operator would, through standard input.
fn fill_store(folder: &Path, executable: &Path, issuer: &Issuer) -> Result<(), Error> {
    let store = folder.join("store").display().to_string();
    let key = folder.join("store.key").display().to_string();
    let init = ["file", "init", "--store", &store, "--generate-key", &key];
    feed(executable, &init, &Secret::new(Vec::new()))?;
    let put = |field: &str, value: &Secret| {
        let arguments = ["file", "put", "oauth/demo", "--field", field];
        let place = ["--store", &store, "--key-file", &key];
        feed(executable, &[&arguments[..], &place].concat(), value)
    };
    put(
        "client_id",
        &Secret::from_text(issuer.client_id().to_owned()),
    )?;
    put("client_secret", &issuer.client_secret())
}

/// Runs a command with a value on its standard input.
fn feed(executable: &Path, arguments: &[&str], value: &Secret) -> Result<(), Error> {
    let start = |error| Error::System("fill the store", error);
    let mut child = Command::new(executable)
        .args(arguments)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    if let Some(mut stdin) = child.stdin.take() {
        #[expect(
            clippy::disallowed_methods,
            reason = "the demo puts the secret that it made into the store"
        )]
        stdin.write_all(value.expose()).map_err(start)?;
    }
    let output = child.wait_with_output().map_err(start)?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Refused(
        String::from_utf8_lossy(&output.stderr).into_owned(),
    ))
}

fn configuration(folder: &Path, issuer: &Issuer) -> String {
    let uid = rustix::process::geteuid().as_raw();
    format!(
        r#"mode = "dev"                     # accept an issuer on loopback without TLS

[server]
socket = "{folder}/run/broker.sock"

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

[tokens.demo-api]
client = "demo"
grant = "client_credentials"
scopes = ["read:demo"]

[tokens.payroll-api]
client = "demo"
grant = "client_credentials"
scopes = ["read:payroll"]

[[allow]]                        # you
user = {uid}
tokens = ["demo-api"]

[[allow]]                        # another service
unit = "payroll.service"
tokens = ["payroll-api"]
"#,
        folder = folder.display(),
        issuer = issuer.url(),
    )
}

/// Starts `claviger run` and waits for its readiness notification.
fn start_daemon(
    folder: &Path,
    executable: &Path,
    interruption: &Interruption,
) -> Result<Child, Error> {
    let log = folder.join("daemon.log");
    let system = |error| Error::System("start the daemon", error);
    let notify = folder.join("notify.sock");
    let ready = UnixDatagram::bind(&notify).map_err(system)?;
    ready.set_read_timeout(Some(LOOK)).map_err(system)?;
    let mut daemon = Command::new(executable)
        .args(["run", "--config"])
        .arg(folder.join("claviger.toml"))
        .env_clear()
        .env("NOTIFY_SOCKET", &notify)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&log).map_err(system)?)
        .spawn()
        .map_err(system)?;
    let heard = await_ready(&ready, &mut daemon, interruption);
    if matches!(heard, Ok(true)) {
        return Ok(daemon);
    }
    drop(daemon.kill());
    drop(daemon.wait());
    heard?;
    Err(Error::NotReady(
        fs::read_to_string(&log).unwrap_or_default(),
    ))
}

/// Whether the daemon reports readiness before it exits or the time is up.
fn await_ready(
    ready: &UnixDatagram,
    daemon: &mut Child,
    interruption: &Interruption,
) -> Result<bool, Error> {
    let mut word = [0; 256];
    for _ in 0..LOOKS {
        let heard = ready
            .recv(&mut word)
            .ok()
            .and_then(|length| word.get(..length));
        if heard.is_some_and(|word| word.starts_with(b"READY=1")) {
            return Ok(true);
        }
        interruption.check()?;
        if !matches!(daemon.try_wait(), Ok(None)) {
            break;
        }
    }
    Ok(false)
}
