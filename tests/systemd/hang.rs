//! systemd replaces a daemon that hangs, in whole or in part.

use std::fs;

use crate::node::Node;
use crate::support::daemon::eventually;

/// What systemd logs when a service misses its watchdog deadline.
const TIMEOUT: &str = "claviger.service: Watchdog timeout";

/// A node whose daemon has fed the watchdog more than once.
fn watched() -> Option<Node> {
    let node = Node::start()?;
    node.drop_in("watchdog", "WatchdogSec=6s\n");
    node.systemctl(&["restart", "claviger.service"]);
    let fed = || node.property("WatchdogTimestampMonotonic");
    for _ in 0..2 {
        let last = fed();
        assert!(eventually(|| fed() != last), "{}", node.machine.story());
    }
    let log = node.machine.log();
    assert!(!log.contains(TIMEOUT), "control: {log}");
    Some(node)
}

/// Waits until another process replaces `pid`, and checks that it serves.
fn replaced(node: &Node, pid: &str) {
    let other = || node.property("ActiveState") == "active" && node.pid() != pid;
    assert!(eventually(other), "{}", node.machine.story());
    let log = node.machine.log();
    assert!(log.contains(TIMEOUT), "{log}");
    node.serves();
}

#[test]
fn a_frozen_daemon_is_replaced() {
    let Some(node) = watched() else { return };
    let pid = node.pid();
    node.systemctl(&[
        "kill",
        "--kill-who=main",
        "--signal=STOP",
        "claviger.service",
    ]);
    replaced(&node, &pid);
}

/// The main loop and the other workers keep running.
#[test]
fn a_daemon_with_one_frozen_worker_is_replaced() {
    let Some(node) = watched() else { return };
    let pid = node.pid();
    let service = node.machine.cgroup("system.slice/claviger.service");
    // A threaded cgroup can freeze single threads of a process.
    let frozen = service.join("frozen");
    fs::create_dir(&frozen).unwrap();
    fs::write(frozen.join("cgroup.type"), "threaded").unwrap();
    let main = fs::read_to_string(service.join("cgroup.procs")).unwrap();
    let threads = format!("/proc/{}/task", main.trim());
    let serving = fs::read_dir(threads)
        .unwrap()
        .map(|thread| thread.unwrap().path())
        .find(|thread| {
            let name = fs::read_to_string(thread.join("comm")).unwrap();
            name.starts_with("claviger-serve-")
        })
        .expect("a worker thread");
    let id = serving.file_name().unwrap().to_str().unwrap();
    fs::write(frozen.join("cgroup.threads"), id).unwrap();
    fs::write(frozen.join("cgroup.freeze"), "1").unwrap();
    replaced(&node, &pid);
    let log = node.log();
    assert!(log.contains("the watchdog is not fed"), "{log}");
}
