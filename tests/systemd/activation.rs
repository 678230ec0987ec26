//! Socket activation: systemd holds the sockets, so programs do not notice a start, stop or restart.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::node::{CONFIG, Node, SECRET, as_unit, block};
use crate::support::daemon::eventually;

const BROKER: &str = "/run/claviger/broker.sock";
const ADMIN: &str = "/run/claviger/admin/admin.sock";

/// Owner, group and mode.
fn rights(node: &Node, path: &str) -> (u32, u32, u32) {
    let meta = fs::symlink_metadata(node.machine.path(path)).unwrap();
    (meta.uid(), meta.gid(), meta.mode() & 0o7777)
}

/// Whether the socket unit listens.
fn listens(node: &Node, unit: &str) -> bool {
    node.machine.property(unit, "ActiveState") == "active"
}

#[test]
fn the_first_program_that_connects_starts_the_service() {
    let Some(node) = Node::install() else { return };
    node.systemctl(&["start", "claviger.socket"]);
    assert_eq!(node.property("ActiveState"), "inactive");
    assert_eq!(rights(&node, "/run/claviger"), (0, 0, 0o755));
    assert_eq!(rights(&node, BROKER), (0, 0, 0o666));

    node.serves();
    assert_eq!(node.property("ActiveState"), "active");
    assert_eq!(
        node.property("Type"),
        "notify",
        "the service has reported that it is ready"
    );
    // The service needs both sockets, so systemd started the other socket unit too.
    assert_eq!(rights(&node, "/run/claviger/admin"), (0, 0, 0o700));
    assert_eq!(rights(&node, ADMIN), (0, 0, 0o600));
    let status = node.machine.ok(&["claviger", "status"]);
    assert!(
        status.contains(BROKER) && status.contains(ADMIN),
        "{status}"
    );

    node.systemctl(&["stop", "claviger.service"]);
    for (name, value) in [
        ("Result", "success"),
        ("ExecMainStatus", "0"),
        ("ActiveState", "inactive"),
    ] {
        assert_eq!(node.property(name), value, "{}", node.machine.story());
    }
    assert!(node.log().contains("stopped"), "{}", node.log());
    assert!(listens(&node, "claviger.socket") && listens(&node, "claviger-admin.socket"));
    node.serves();

    node.systemctl(&["stop", "claviger.socket"]);
    assert_eq!(node.property("ActiveState"), "inactive");
    assert!(!listens(&node, "claviger-admin.socket"));
    assert!(!node.machine.path(BROKER).exists() && !node.machine.path(ADMIN).exists());
}

#[test]
fn what_the_readme_says_starts_everything() {
    let Some(node) = Node::install() else { return };
    let checked = node.machine.shell(&block("claviger check"), "");
    assert!(checked.contains("is valid"), "{checked}");
    assert_eq!(node.property("ActiveState"), "active");
    for unit in [
        "claviger.socket",
        "claviger-admin.socket",
        "claviger.service",
    ] {
        node.systemctl(&["is-enabled", unit]);
    }
    let program = ["curl", "--silent", "--unix-socket", BROKER];
    let header = ["--header", "claviger-request: true"];
    let url = ["http://claviger/v1/secret/password"];
    let curl = [&program[..], &header, &url].concat();
    let said = node.run_as("billing.service", &[], &curl);
    assert_eq!(said.out, SECRET, "{said:?}\n{}", node.machine.story());
}

#[test]
fn programs_wait_through_a_restart() {
    let Some(node) = Node::start() else { return };
    let socket = || {
        let meta = fs::symlink_metadata(node.machine.path(BROKER)).unwrap();
        assert!(meta.file_type().is_socket());
        meta.ino()
    };
    let (before, pid) = (socket(), node.pid());
    // The drop-in holds the new daemon back until the gate opens.
    let gate = node.machine.path("/run/gate");
    mknodat(CWD, &gate, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    node.drop_in("gate", "ExecStartPre=/usr/bin/cat /run/gate\n");
    node.systemctl(&["restart", "--no-block", "claviger.service"]);
    node.becomes("SubState", "start-pre");
    assert_eq!(socket(), before, "the socket is the same one");

    let words = as_unit("billing.service", &[], &["claviger", "token", "api"]);
    let program = node.machine.command(0, &words).spawn().unwrap();
    // A connection that is not accepted yet is listed as connecting, under the path of the listener.
    let connected = |line: &str| line.contains(" 02 ") && line.ends_with(BROKER);
    let waiting = || {
        let sockets = node.machine.ok(&["cat", "/proc/net/unix"]);
        sockets.lines().any(connected)
    };
    assert!(eventually(waiting), "{}", node.machine.story());
    assert_eq!(
        node.property("SubState"),
        "start-pre",
        "the service does not serve yet"
    );
    fs::write(gate, "").unwrap();
    let said = program.wait_with_output().unwrap();
    assert!(said.status.success(), "{said:?}\n{}", node.machine.story());
    assert_eq!(node.property("ActiveState"), "active");
    assert_ne!(node.pid(), pid);
    assert_eq!(socket(), before);
}

#[test]
fn restarting_the_sockets_restarts_everything() {
    let Some(node) = Node::start() else { return };
    node.systemctl(&["restart", "claviger.socket"]);
    node.serves();
    node.systemctl(&["restart", "claviger-admin.socket", "claviger.socket"]);
    node.serves();
    node.machine.ok(&["claviger", "status"]);
}

#[test]
fn the_sockets_are_where_their_units_say() {
    let Some(node) = Node::install() else { return };
    let elsewhere = "/run/elsewhere/programs.sock";
    node.machine.write(
        "/etc/systemd/system/claviger.socket.d/path.conf",
        &format!("[Socket]\nListenStream=\nListenStream={elsewhere}\n"),
    );
    node.drop_in("watchdog", "WatchdogSec=9s\n");
    node.systemctl(&["start", "claviger.service"]);
    let log = node.log();
    assert!(log.contains("another path than the configured"), "{log}");
    let status = node.machine.ok(&["claviger", "status"]);
    assert!(status.contains(elsewhere), "{status}");
    let words = ["claviger", "token", "api", "--socket", elsewhere];
    let said = node.run_as("billing.service", &[], &words);
    assert_eq!(said.code, Some(0), "{said:?}");
    // The daemon's own watchdog probe finds the socket, too.
    let fed = || node.property("WatchdogTimestampMonotonic");
    let first = fed();
    assert!(eventually(|| fed() != first), "{}", node.machine.story());
    assert!(
        !node.log().contains("the watchdog is not fed"),
        "{}",
        node.log()
    );
}

#[test]
fn fixing_the_configuration_restores_the_service() {
    let Some(node) = Node::start() else { return };
    let good = node.machine.read(CONFIG);
    node.machine.write(CONFIG, "nonsense = true");
    let restart = ["systemctl", "restart", "claviger.service"];
    assert_ne!(node.machine.run(&restart).code, Some(0));
    assert_eq!(node.property("ExecMainStatus"), "78");
    assert_eq!(
        node.property("NRestarts"),
        "0",
        "a restart cannot fix a wrong configuration"
    );

    // Each connection starts the service again, until systemd hits the start limit and closes the sockets.
    assert_ne!(node.token_as("billing.service", &[]).code, Some(0));
    node.machine
        .becomes("claviger.socket", "ActiveState", "failed");
    assert!(!node.machine.path(BROKER).exists());

    node.machine.write(CONFIG, &good);
    // systemd may still be applying the start limit.
    let back = eventually(|| node.machine.run(&restart).code == Some(0));
    assert!(back, "{}", node.machine.story());
    assert!(listens(&node, "claviger.socket") && listens(&node, "claviger-admin.socket"));
    node.serves();
}
