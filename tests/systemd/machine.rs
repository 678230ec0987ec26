//! A small machine that runs its own systemd.
//!
//! Owns its namespaces, its cgroup and its shutdown. Commands run as those of a logged-in user: in a session's cgroup,
//! which is not a unit. Every wait is for an event or a bounded number of polls.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use claviger_core::peer::Support;
use tempfile::TempDir;

use crate::support::daemon::{BINARY, eventually};
use crate::support::user::own_uid;
use crate::support::{Skip, root};

const SYSTEMD: &str = "/usr/lib/systemd/systemd";

/// Programs that a machine needs, besides systemd.
const NAMESPACES: [&str; 7] = [
    "--mount",
    "--uts",
    "--ipc",
    "--net",
    "--pid",
    "--fork",
    "--kill-child",
];

/// The result of a command.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

/// A running machine. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Machine {
    /// `unshare`, which waits for the first process.
    keeper: Child,
    /// The first process, as the host numbers it; 0 until it is known.
    init: u32,
    cgroup: PathBuf,
    folder: TempDir,
}

impl Machine {
    /// Boots a machine, and waits until systemd reports that startup is complete.
    pub(crate) fn boot() -> Result<Self, Skip> {
        let hierarchy = prerequisites()?;
        let folder = tempfile::tempdir().unwrap();
        for part in ["root", "host"] {
            fs::create_dir(folder.path().join(part)).unwrap();
        }
        for file in ["kmsg", "boot"] {
            fs::write(folder.path().join("host").join(file), "").unwrap();
        }
        let notify = UnixDatagram::bind(folder.path().join("host/notify")).unwrap();
        let cgroup = new_cgroup(&hierarchy)?;
        // If the test dies, `unshare` dies too, and with it everything in the namespaces.
        let keeper = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare"])
            .args(NAMESPACES)
            .arg("sh")
            .arg(root().join("tests/systemd/image.sh"))
            .arg("enter")
            .args([&cgroup, folder.path(), Path::new(BINARY)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("host/boot")).unwrap())
            .spawn()
            .unwrap();
        let mut machine = Self {
            keeper,
            init: 0,
            cgroup,
            folder,
        };
        machine.await_boot(&notify);
        let first = machine.cgroup.join("init.scope/cgroup.procs");
        machine.init = fs::read_to_string(first).unwrap().trim().parse().unwrap();
        Ok(machine)
    }

    fn await_boot(&mut self, notify: &UnixDatagram) {
        notify
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let booted = eventually(|| {
            let mut message = [0; 4096];
            match notify.recv(&mut message) {
                Ok(length) => String::from_utf8_lossy(&message[..length]).contains("READY=1"),
                Err(error) => {
                    assert!(
                        matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                        "{error}"
                    );
                    let ended = self.keeper.try_wait().unwrap();
                    assert!(ended.is_none(), "{ended:?}\n{}", self.story());
                    false
                }
            }
        });
        assert!(booted, "the machine did not boot:\n{}", self.story());
    }

    /// The path of one of the machine's files, as the host sees it.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    /// Reads a file of the machine.
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Writes a file of the machine, and creates its parent directories.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A cgroup of the machine, as the host sees it.
    pub(crate) fn cgroup(&self, path: &str) -> PathBuf {
        self.cgroup.join(path)
    }

    /// The machine's network namespace.
    pub(crate) fn network(&self) -> fs::File {
        fs::File::open(format!("/proc/{}/ns/net", self.init)).unwrap()
    }

    /// A command in a session of `uid`. It is killed after a minute.
    pub(crate) fn command(&self, uid: u32, words: &[&str]) -> Command {
        let session = format!("user.slice/user-{uid}.slice/session-1.scope");
        let session = self.cgroup(&session);
        fs::create_dir_all(&session).unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo 0 >\"$1\" && shift && exec \"$@\"", "sh"])
            .arg(session.join("cgroup.procs"))
            .args(["nsenter", "--target", &self.init.to_string()])
            .args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"])
            .args(["--setuid", &uid.to_string(), "--setgid", &uid.to_string()])
            .args(["/usr/bin/env", "-i", "PATH=/usr/bin:/usr/sbin"])
            .arg(format!("XDG_RUNTIME_DIR=/run/user/{uid}"))
            .args(["timeout", "--kill-after=1", "60"])
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command as root and waits for it.
    pub(crate) fn run(&self, words: &[&str]) -> Said {
        self.command(0, words).output().unwrap().into()
    }

    /// Runs a command as root that must succeed, and returns its output.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        self.ends(0, words)
    }

    /// Runs a command as root that must end with `code`, and returns its output.
    pub(crate) fn ends(&self, code: i32, words: &[&str]) -> String {
        let said = self.run(words);
        assert_eq!(
            said.code,
            Some(code),
            "{words:?}: {said:?}\n{}",
            self.story()
        );
        said.out
    }

    /// Runs shell lines in the release's directory with `input` as standard input; each must succeed.
    pub(crate) fn shell(&self, lines: &str, input: &str) -> String {
        let script = format!("set -eu\ncd /srv/release\n{lines}");
        let mut child = self
            .command(0, &["sh", "-c", &script])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        // A shell that reads no input may have exited already.
        let _written = child.stdin.take().unwrap().write_all(input.as_bytes());
        let said = Said::from(child.wait_with_output().unwrap());
        assert_eq!(said.code, Some(0), "{lines}\n{said:?}\n{}", self.story());
        said.out
    }

    /// A property of a unit.
    pub(crate) fn property(&self, unit: &str, name: &str) -> String {
        let value = self.ok(&["systemctl", "show", "--property", name, "--value", unit]);
        value.trim().to_owned()
    }

    /// Waits until a property has a value; panics after the time limit.
    pub(crate) fn becomes(&self, unit: &str, name: &str, value: &str) {
        let reached = eventually(|| self.property(unit, name) == value);
        assert!(
            reached,
            "{unit}: {name} is {}, expected {value}\n{}",
            self.property(unit, name),
            self.story()
        );
    }

    /// systemd's log.
    pub(crate) fn log(&self) -> String {
        let log = self.folder.path().join("host/kmsg");
        String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned()
    }

    /// What helps to understand a failed test.
    pub(crate) fn story(&self) -> String {
        let boot = fs::read_to_string(self.folder.path().join("host/boot")).unwrap_or_default();
        let daemon = fs::read_to_string(self.path(crate::node::LOG)).unwrap_or_default();
        format!(
            "--- boot\n{boot}--- systemd\n{}--- claviger\n{daemon}",
            self.log()
        )
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Every process in it: the first one, and commands that still run.
        fs::write(self.cgroup.join("cgroup.kill"), "1").unwrap_or(());
        // `unshare` exits with the first process, unless that one never started.
        self.keeper.kill().unwrap_or(());
        self.keeper.wait().unwrap();
        let gone = eventually(|| remove(&self.cgroup));
        assert!(
            gone || std::thread::panicking(),
            "{}",
            self.cgroup.display()
        );
    }
}

/// Removes a cgroup and its children. `false` while something is left, such as an exiting process.
fn remove(cgroup: &Path) -> bool {
    let Ok(inside) = fs::read_dir(cgroup) else {
        return true;
    };
    for entry in inside.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    fs::remove_dir(cgroup).is_ok()
}

/// Where the version 2 hierarchy is mounted, if this host can run a machine.
fn prerequisites() -> Result<PathBuf, Skip> {
    if own_uid() != 0 {
        return Err(Skip::because("needs root"));
    }
    if !Path::new(SYSTEMD).exists() {
        return Err(Skip::because(format!("{SYSTEMD} does not exist")));
    }
    if !Support::probe().is_ok_and(|support| support.pidfd) {
        return Err(Skip::because("needs Linux 6.5"));
    }
    let mut probe = Command::new("unshare");
    match probe.args(NAMESPACES).args(["--cgroup", "true"]).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let said = Said::from(output).err;
            return Err(Skip::because(format!("needs namespaces: {said}")));
        }
        Err(error) => return Err(Skip::because(format!("needs unshare: {error}"))),
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount = mounts
        .lines()
        .find(|line| line.contains(" - cgroup2 "))
        .and_then(|line| line.split(' ').nth(4));
    mount
        .map(PathBuf::from)
        .ok_or_else(|| Skip::because("needs a version 2 cgroup hierarchy"))
}

fn new_cgroup(hierarchy: &Path) -> Result<PathBuf, Skip> {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let name = format!("claviger-systemd-{}-{number}", std::process::id());
    let cgroup = hierarchy.join(name);
    match fs::create_dir(&cgroup) {
        Ok(()) => Ok(cgroup),
        Err(error) => Err(Skip::because(format!(
            "needs permission to create cgroups: {error}"
        ))),
    }
}
