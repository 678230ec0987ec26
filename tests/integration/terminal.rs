//! The command line on a terminal: prompts, output and terminal modes.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus};

use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::node::{Node, run};
use crate::program::{BINARY, Program, claviger};
use crate::table;

table![
    an_interrupted_prompt_restores_the_terminal,
    a_token_on_a_terminal_comes_with_a_warning,
    a_daemon_on_a_terminal_begins_with_its_own_words,
    status_watch_shows_a_restarted_daemon,
];

/// How long output may take to appear.
const PATIENCE: Timespec = Timespec {
    tv_sec: 60,
    tv_nsec: 0,
};

/// A terminal whose user is this process.
struct Terminal {
    person: File,
    program: OwnedFd,
}

impl Terminal {
    fn new() -> Self {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let name = ptsname(&person, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let program = openat(CWD, &name, flags, Mode::empty()).unwrap();
        Self {
            person: File::from(person),
            program,
        }
    }

    /// Runs a command of the binary with it as the controlling terminal.
    fn run(&self, arguments: &[&str]) -> Result<Child, String> {
        let side = || self.program.try_clone().unwrap();
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(BINARY).args(arguments);
        let child = command.stdin(side()).stdout(side()).stderr(side()).spawn();
        child.map_err(|error| format!("needs setsid: {error}"))
    }

    fn modes(&self) -> LocalModes {
        tcgetattr(self.program.as_fd()).unwrap().local_modes
    }

    fn types(&mut self, keys: &[u8]) {
        self.person.write_all(keys).unwrap();
    }

    /// Waits for `word`, and returns the output up to and including it.
    fn shows(&mut self, word: &str) -> String {
        let mut shown = Vec::new();
        let mut byte = [0];
        while !shown.ends_with(word.as_bytes()) {
            let mut wait = [PollFd::new(&self.person, PollFlags::IN)];
            let more = poll(&mut wait, Some(&PATIENCE)).unwrap();
            let so_far = String::from_utf8_lossy(&shown);
            assert!(more > 0, "{word} was not shown; shown: {so_far}");
            self.person.read_exact(&mut byte).unwrap();
            shown.extend(byte);
        }
        String::from_utf8_lossy(&shown).into_owned()
    }
}

/// Waits for a child that is about to exit.
fn end(mut child: Child) -> ExitStatus {
    child.wait().unwrap()
}

fn an_interrupted_prompt_restores_the_terminal() -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (store, key) = (path("store"), path("key"));
    let made = claviger(&["file", "init", "--store", &store, "--generate-key", &key]);
    assert_eq!(made.code, Some(0), "{made:?}");

    let mut terminal = Terminal::new();
    let place = ["--store", &store, "--key-file", &key];
    let put = ["file", "put", "oauth/billing", "--field", "client_secret"];
    let usual = terminal.modes();
    for (keys, ends) in [("half a sec\x03", None), ("the whole secret\r", Some(0))] {
        let child = terminal.run(&[&put[..], &place].concat())?;
        terminal.shows("client_secret of oauth/billing: ");
        // The prompt appears shortly before echo is turned off.
        while terminal.modes().contains(LocalModes::ECHO) {
            std::thread::yield_now();
        }
        terminal.types(keys.as_bytes());
        let status = end(child);
        assert_eq!(status.code(), ends, "{status}");
        let interrupted = ends.is_none().then_some(Signal::SIGINT as i32);
        assert_eq!(status.signal(), interrupted, "{status}");
        assert_eq!(
            terminal.modes(),
            usual,
            "echo, line mode and signals are restored"
        );
    }
    Ok(())
}

fn a_daemon_on_a_terminal_begins_with_its_own_words() -> Result<(), String> {
    let node = run(Node::new());
    let config = node.write_configuration();
    let mut terminal = Terminal::new();
    let mut daemon = terminal.run(&["run", "--config", config.to_str().unwrap()])?;
    let first = terminal.shows("\n");
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert!(first.contains(" claviger"), "{first}");
    Ok(())
}

fn a_token_on_a_terminal_comes_with_a_warning() -> Result<(), String> {
    let program = Program::on(run(Node::new()));
    let socket = program.node.socket();
    let token = ["token", "api", "--socket", socket.to_str().unwrap()];
    let mut terminal = Terminal::new();
    let child = terminal.run(&token)?;
    let shown = terminal.shows("until it expires");
    assert!(program.node.issuer.knows(shown.lines().next().unwrap()));
    assert!(shown.contains("can use the token"), "{shown}");
    assert!(end(child).success());
    assert_eq!(claviger(&token).err, "", "a pipe needs no warning");
    Ok(())
}

fn status_watch_shows_a_restarted_daemon() -> Result<(), String> {
    let program = Program::on(run(Node::new()));
    let first = program.pid();
    let socket = program.node.admin_socket();
    let watch = [
        "status",
        "--watch",
        "--admin-socket",
        socket.to_str().unwrap(),
    ];
    let mut terminal = Terminal::new();
    let mut child = terminal.run(&watch)?;
    let shown = terminal.shows(&format!("pid {first}, ready"));
    assert!(shown.starts_with("\u{1b}[2J"), "a clear screen: {shown:?}");
    let (_, _, node) = program.terminate();
    terminal.shows("no daemon is listening");
    let program = Program::on(node);
    terminal.shows(&format!("pid {}, ready", program.pid()));
    child.kill().unwrap();
    child.wait().unwrap();
    Ok(())
}
