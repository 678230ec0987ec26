//! Other users, for tests with different peers.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::Skip;

/// A uid without a real user, with a gid of the same number.
pub const STRANGER: u32 = 42_001;
/// A second such uid.
pub const OTHER_STRANGER: u32 = 42_002;

/// The user that the tests run as.
pub fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A command that runs as `uid`, with the group of the same number and no other.
pub fn command_as(uid: u32, program: &str) -> Result<Command, Skip> {
    if own_uid() == 0 {
        let mut command = Command::new(program);
        command.uid(uid).gid(uid).current_dir("/");
        return Ok(command);
    }
    let sudo = |command: &mut Command| {
        command.args([
            "-n",
            "-u",
            &format!("#{uid}"),
            "-g",
            &format!("#{uid}"),
            "--",
        ]);
    };
    let mut probe = Command::new("sudo");
    sudo(&mut probe);
    match probe.arg("true").output() {
        Ok(output) if output.status.success() => {
            let mut command = Command::new("sudo");
            sudo(&mut command);
            command.arg(program).current_dir("/");
            Ok(command)
        }
        _ => Err(Skip::because("acting as another user needs root or sudo")),
    }
}
