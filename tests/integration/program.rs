//! The compiled binary, as a daemon and as a command.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::caller::{Admin, Caller};
use crate::node::Node;

/// The compiled binary.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_claviger");

/// How long a notification from the daemon may take.
const WORD: Duration = Duration::from_secs(30);

/// A daemon in its own process. Killed when dropped.
pub(crate) struct Program {
    pub(crate) node: Node,
    child: Killed,
    notify: UnixDatagram,
    log: PathBuf,
}

impl Program {
    /// Starts a daemon on a node and waits until it reports ready.
    pub(crate) fn on(node: Node) -> Self {
        Self::by(node, Command::new(BINARY))
    }

    /// Starts a daemon with a command that runs the binary, possibly through another program.
    pub(crate) fn by(node: Node, command: Command) -> Self {
        let program = Self::unready(node, command);
        assert!(program.hear("READY=1"), "not ready:\n{}", program.log());
        program
    }

    /// As [`by`](Self::by), without waiting for readiness.
    pub(crate) fn unready(node: Node, mut command: Command) -> Self {
        let config = node.write_configuration();
        let path = node.path("notify");
        // An earlier program on the same node left its socket behind.
        drop(fs::remove_file(&path));
        let notify = UnixDatagram::bind(&path).unwrap();
        notify.set_read_timeout(Some(WORD)).unwrap();
        let log = node.path("log");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let child = command
            .args(["run", "--config"])
            .arg(config)
            .env_remove("LISTEN_FDS")
            .env("NOTIFY_SOCKET", &path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        Self {
            node,
            child: Killed(child),
            notify,
            log,
        }
    }

    /// Waits for a notification to the service manager with this line; `false` if the daemon exits or the wait times out.
    pub(crate) fn hear(&self, line: &str) -> bool {
        let mut word = [0; 512];
        while let Ok(length) = self.notify.recv(&mut word) {
            if String::from_utf8_lossy(&word[..length])
                .lines()
                .any(|heard| heard == line)
            {
                return true;
            }
        }
        false
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.0.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().try_into().unwrap()), signal).unwrap();
    }

    /// Its log, as soon as `complete` holds: the daemon writes it in a thread of its own.
    pub(crate) fn log_when(&self, complete: impl Fn(&str) -> bool) -> String {
        let hanging = Instant::now() + WORD;
        loop {
            let log = self.log();
            if complete(&log) || Instant::now() > hanging {
                return log;
            }
            std::thread::yield_now();
        }
    }

    /// Its log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) async fn caller(&self) -> Caller {
        Caller::connect(&self.node.socket()).await
    }

    pub(crate) async fn admin(&self) -> Admin {
        Admin::connect(&self.node.admin_socket()).await
    }

    /// Waits until it exits.
    pub(crate) fn wait(mut self) -> (ExitStatus, String, Node) {
        let status = self.child.0.wait().unwrap();
        let log = self.log();
        (status, log, self.node)
    }

    /// Sends SIGTERM and waits until it exits.
    pub(crate) fn terminate(self) -> (ExitStatus, String, Node) {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Memory in use, in KiB (`VmRSS`).
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_ascii_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .count()
    }

    /// Processor time used so far, in clock ticks of 10 ms.
    pub(crate) fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let after_name = stat.rsplit_once(") ").unwrap().1;
        let fields: Vec<&str> = after_name.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

/// A process that is killed with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Killing fails if the process has already exited.
        if self.0.kill().is_ok() {
            self.0.wait().unwrap();
        }
    }
}

/// Runs a command of the binary with empty input, and waits for it.
pub(crate) fn claviger(arguments: &[&str]) -> Finished {
    finish(Command::new(BINARY).args(arguments), b"")
}

/// Runs a command with `input`, and waits for it.
pub(crate) fn finish(command: &mut Command, input: &[u8]) -> Finished {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads no input may have exited already.
    drop(child.stdin.take().unwrap().write_all(input));
    child.wait_with_output().unwrap().into()
}

/// A command that ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
