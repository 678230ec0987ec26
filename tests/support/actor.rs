//! Processes that tests start and communicate with.
//!
//! A test and a role exchange lines over the role's standard input and output. A role exits at the end of its input, and is
//! killed with the test. See `runner` for how a role is started.

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

/// Returns `Err` unless the tests run as root.
pub(crate) fn need_root() -> Result<(), String> {
    if rustix::process::geteuid().is_root() {
        Ok(())
    } else {
        Err("needs root".to_owned())
    }
}

/// This binary as a role.
pub(crate) fn role(name: &str, arguments: &[&str]) -> Command {
    wrapped(&[], name, arguments)
}

/// This binary as a role, started by another program, such as `unshare`.
pub(crate) fn wrapped(wrapper: &[&str], name: &str, arguments: &[&str]) -> Command {
    let own = std::env::current_exe().unwrap();
    let mut command = match wrapper {
        [] => Command::new(own),
        [program, options @ ..] => {
            let mut command = Command::new(program);
            command.args(options).arg(within_reach(&own));
            command
        }
    };
    command.arg(format!("--role={name}")).args(arguments);
    command
}

/// A copy of a binary that every user can execute: other users cannot enter private directories.
pub(crate) fn within_reach(own: &Path) -> PathBuf {
    let open = |folder: &Path| {
        folder
            .metadata()
            .is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0)
    };
    if own.ancestors().skip(1).all(open) {
        return own.to_owned();
    }
    let folder = crate::runner::folder_for_others();
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    let copy = folder.join(own.file_name().unwrap());
    if !copy.exists() {
        std::fs::copy(own, &copy).unwrap();
    }
    copy
}

/// A running role. Killed when dropped.
pub(crate) struct Actor {
    child: process::Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Actor {
    /// Starts the role.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
        }
    }

    /// The pid of the started process: that of the wrapper, if it forks.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a line.
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits for a line.
    pub(crate) fn hear(&mut self) -> String {
        self.output.next().expect("the role ended").unwrap()
    }

    /// Sends a line and waits for the reply.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.hear()
    }

    /// Closes the role's input, so that it exits, but does not reap it: it stays a zombie.
    pub(crate) fn end(&mut self) {
        self.input = None;
        let pid = rustix::process::Pid::from_child(&self.child);
        let options =
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(pid), options).unwrap();
    }

    /// Reaps the role.
    pub(crate) fn reap(&mut self) -> ExitStatus {
        self.end();
        self.child.wait().unwrap()
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.input = None;
        if self.child.kill().is_ok() {
            self.child.wait().unwrap();
        }
    }
}

/// For roles: sends a line to the test.
pub(crate) fn write_line(line: &str) {
    println!("{line}");
    std::io::stdout().flush().unwrap();
}

/// For roles: reads a line from the test, byte by byte, so that input for a later reader stays unread.
pub(crate) fn read_line() -> Option<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    let input = std::io::stdin();
    while rustix::io::read(&input, &mut byte).unwrap() == 1 {
        if byte[0] == b'\n' {
            return Some(String::from_utf8(line).unwrap());
        }
        line.push(byte[0]);
    }
    None
}
