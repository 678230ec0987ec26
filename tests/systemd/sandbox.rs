//! The unit's sandbox: what it denies the daemon, and that the daemon still works.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::node::{Node, TOKEN};
use crate::support::daemon::eventually;

/// Every operation of operators and programs.
fn drive(node: &Node) {
    node.serves();
    let api = ["claviger", "token", "api"];
    for more in [
        &["--force-refresh"] as &[&str],
        &["--output", "json"],
        &["--min-remaining", "60"],
    ] {
        let said = node.run_as("billing.service", &[], &[&api[..], more].concat());
        assert_eq!(said.code, Some(0), "{said:?}\n{}", node.machine.story());
    }
    for path in [
        "v1/secret/password",
        "v1/token/api",
        "health",
        "ready",
        "nothing",
    ] {
        let url = format!("http://claviger/{path}");
        let words = [
            "curl",
            "--silent",
            "--show-error",
            "--unix-socket",
            "/run/claviger/broker.sock",
            "--header",
            "claviger-request: true",
            &url,
        ];
        assert_eq!(node.run_as("billing.service", &[], &words).code, Some(0));
    }
    assert_eq!(node.token_as("other.service", &[]).code, Some(77));
    let pid = node.pid();
    for words in [
        &["status"] as &[&str],
        &["status", "--output", "json"],
        &["refresh"],
        &["refresh", "api"],
        &["reload", "--dry-run"],
        &["reload"],
    ] {
        node.machine.ok(&[&["claviger"], words].concat());
    }
    // The daemon itself is no client of its own, and a denial has an exit code.
    node.machine
        .ends(77, &["claviger", "explain", "api", "--pid", &pid]);
    node.systemctl(&["reload", "claviger.service"]);
}

/// As shipped the filter returns an error, which the daemon could ignore. Here it kills, so no denied call goes unnoticed.
#[test]
fn no_system_call_is_missed() {
    let Some(node) = Node::install() else { return };
    node.drop_in("filter", "SystemCallErrorNumber=\nWatchdogSec=9s\n");
    node.systemctl(&["start", "claviger.service"]);
    let pid = node.pid();
    drive(&node);
    let log = node.log();
    for bad in [
        "locked memory",
        "not permitted",
        "EPERM",
        "ERROR",
        "not fed",
    ] {
        assert!(!log.contains(bad), "{bad}:\n{log}");
    }
    assert_eq!((node.pid(), node.property("NRestarts")), (pid, "0".into()));
    node.systemctl(&["stop", "claviger.service"]);
    assert_eq!(node.property("Result"), "success");

    // Control: without the line that allows a needed call, the filter kills the daemon.
    let unit = node
        .machine
        .read("/usr/lib/systemd/system/claviger.service");
    let narrower = unit.replace("SystemCallFilter=memfd_secret ", "SystemCallFilter=");
    assert_ne!(narrower, unit);
    node.machine
        .write("/etc/systemd/system/claviger.service", &narrower);
    node.systemctl(&["daemon-reload"]);
    let start = ["systemctl", "start", "claviger.service"];
    assert_ne!(node.machine.run(&start).code, Some(0));
    assert_eq!(node.property("ExecMainStatus"), "31", "SIGSYS");
}

#[test]
fn the_kernel_confirms_every_protection() {
    let Some(node) = Node::start() else { return };
    node.serves();
    let machine = &node.machine;
    let process = format!("/proc/{}", node.pid());
    let user = machine.ok(&["id", "--user", "claviger"]);
    let tasks = machine.path(&format!("{process}/task"));
    // A thread of the blocking pool may have exited since.
    let threads: Vec<_> = fs::read_dir(tasks)
        .unwrap()
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok())
        .collect();
    assert!(threads.len() > 1, "control: there are worker threads");
    for status in &threads {
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let value = line.unwrap_or_else(|| panic!("{name} in {status}"));
            value.split_whitespace().next().unwrap().to_owned()
        };
        for (name, expected) in [
            ("Uid:", user.trim()),
            ("NoNewPrivs:", "1"),
            ("Seccomp:", "2"),
            ("VmSwap:", "0"),
            ("CapInh:", "0000000000000000"),
            ("CapPrm:", "0000000000000000"),
            ("CapEff:", "0000000000000000"),
            ("CapBnd:", "0000000000000000"),
            ("CapAmb:", "0000000000000000"),
        ] {
            assert_eq!(value(name), expected, "{name}");
        }
    }
    let maps = machine.read(&format!("{process}/maps"));
    assert!(
        maps.contains("/secretmem"),
        "the store's keys are in secret memory: {maps}"
    );

    looks(&node, &process, user.trim());
    limits(&node, &process);
    let status = machine.ok(&["claviger", "status"]);
    assert!(
        status.contains('✓') && !status.contains('✗'),
        "the daemon reports the same: {status}"
    );
}

/// Only root may inspect the process.
fn looks(node: &Node, process: &str, user: &str) {
    let machine = &node.machine;
    // The /proc files of an undumpable process belong to root.
    let environment = format!("{process}/environ");
    let owner = |path: &str| fs::metadata(machine.path(path)).unwrap().uid();
    assert_eq!(owner(&environment), 0);
    let peek = ["runuser", "-u", "claviger", "--", "cat", &environment];
    assert_ne!(
        machine.run(&peek).code,
        Some(0),
        "its own user may not inspect it either"
    );
    let bare = [
        "systemd-run",
        "--quiet",
        "--unit=bare.service",
        "--uid=claviger",
        "sleep",
        "60",
    ];
    machine.ok(&bare);
    let bare = format!(
        "/proc/{}/environ",
        machine.property("bare.service", "MainPID")
    );
    assert_eq!(
        owner(&bare).to_string(),
        user,
        "control: an ordinary process"
    );
    machine.ok(&["runuser", "-u", "claviger", "--", "cat", &bare]);
}

/// Limits that systemd sets. The machine may lack a controller, or the privilege to raise a limit.
fn limits(node: &Node, process: &str) {
    let limits = node.machine.read(&format!("{process}/limits"));
    let row = |name: &str| limits.lines().find_map(|line| line.strip_prefix(name));
    let columns = |name| row(name).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(columns("Max core file size")[..2], ["0", "0"]);
    let locked: u64 = columns("Max locked memory")[0].parse().unwrap();
    assert!((1..=64 << 20).contains(&locked), "{locked}");
    for (name, value) in [
        ("MemorySwapMax", "0"),
        ("MemoryMax", "268435456"),
        ("TasksMax", "64"),
        ("LimitCORE", "0"),
        ("LimitMEMLOCK", "67108864"),
        ("LimitNOFILE", "65536"),
        ("OOMScoreAdjust", "-500"),
    ] {
        assert_eq!(node.property(name), value, "{name}");
    }
    for (file, value) in [
        ("memory.swap.max", "0"),
        ("memory.max", "268435456"),
        ("pids.max", "64"),
    ] {
        let file = node
            .machine
            .cgroup("system.slice/claviger.service")
            .join(file);
        if let Ok(text) = fs::read_to_string(file) {
            assert_eq!(text.trim(), value);
        }
    }
}

/// As shipped the daemon reaches only this host; a drop-in opens more.
#[test]
fn the_network_is_closed_until_it_is_opened() {
    let Some(node) = Node::start() else { return };
    node.serves();
    // Without the line for this host the daemon reaches nothing.
    node.drop_in("network", "IPAddressAllow=\n");
    node.systemctl(&["restart", "claviger.service"]);
    let said = node.token_as("billing.service", &[]);
    assert_eq!(said.code, Some(69), "{said:?}\n{}", node.machine.story());
    node.drop_in("network", "IPAddressAllow=\nIPAddressAllow=127.0.0.1\n");
    let open = || node.token_as("billing.service", &[]).out.starts_with(TOKEN);
    // The daemon backs off after a failed request to the issuer.
    assert!(eventually(open), "{}", node.machine.story());
}
