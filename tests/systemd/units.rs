//! Rules by unit, for programs that systemd started.

use std::fs;

use crate::node::{APP, Node, TOKEN};

#[test]
fn a_unit_is_identified_by_its_name() {
    let Some(node) = Node::start() else { return };
    for options in [
        &[] as &[&str],
        &["--slice=apps-web.slice"],
        &["--uid=app"],
        &["--property=DynamicUser=yes"],
        &["--property=Delegate=yes"],
    ] {
        let said = node.token_as("billing.service", options);
        assert!(
            said.code == Some(0) && said.out.starts_with(TOKEN),
            "{options:?}: {said:?}\n{}",
            node.machine.story()
        );
    }
    for name in [
        "other.service",
        "billing.service.service",
        "billing@1.service",
    ] {
        let said = node.token_as(name, &[]);
        assert_eq!((said.code, said.out.as_str()), (Some(77), ""), "{name}");
    }
    let session = node.machine.run(&["claviger", "token", "api"]);
    assert_eq!(session.code, Some(77), "{session:?}");

    // `explain` for a running program.
    node.machine.ok(&[
        "systemd-run",
        "--quiet",
        "--unit=other.service",
        "sleep",
        "60",
    ]);
    let pid = node.machine.property("other.service", "MainPID");
    let why = node
        .machine
        .ends(77, &["claviger", "explain", "api", "--pid", &pid]);
    assert!(
        why.contains("denied")
            && why.contains("\"billing.service\"")
            && why.contains("unit other.service"),
        "{why}"
    );
    let would = node
        .machine
        .ok(&["claviger", "explain", "api", "--unit", "billing.service"]);
    assert!(would.contains("allowed"), "{would}");
}

/// Each user has a systemd instance and chooses the names of its units.
#[test]
fn a_users_own_unit_does_not_count_as_a_unit() {
    let Some(node) = Node::start() else { return };
    let machine = &node.machine;
    // The unit that distributions ship, without PAM.
    machine.write(
        "/etc/systemd/system/user@.service",
        "[Service]\nType=notify\nUser=%i\nSlice=user-%i.slice\nDelegate=yes\nRuntimeDirectory=user/%i\n\
         Environment=XDG_RUNTIME_DIR=/run/user/%i HOME=/tmp SYSTEMD_UNIT_PATH=/etc/own\n\
         ExecStart=/usr/lib/systemd/systemd --user\n",
    );
    for target in ["basic", "default", "shutdown"] {
        let path = format!("/etc/own/{target}.target");
        machine.write(&path, "[Unit]\nDefaultDependencies=no\n");
    }
    machine.write(
        "/etc/own/billing.service",
        "[Service]\nType=oneshot\nExecStart=/usr/bin/claviger token api\nStandardError=truncate:/tmp/own.err\n",
    );
    node.systemctl(&["daemon-reload"]);
    let manager = format!("user@{APP}.service");
    node.systemctl(&["start", &manager]);

    let start = ["systemctl", "--user", "start", "billing.service"];
    let said = machine.command(APP, &start).output().unwrap();
    assert!(!said.status.success(), "{said:?}");
    let said = machine.read("/tmp/own.err");
    assert!(said.contains("DENIED"), "{said}\n{}", machine.story());
    let cgroup = format!("user.slice/user-{APP}.slice/{manager}");
    assert!(
        fs::exists(machine.cgroup(&cgroup)).unwrap(),
        "control: the manager runs in the cgroup of user managers"
    );
    // The explanation names a user and no unit.
    let log = node.log();
    let refusal = log.lines().find(|line| line.contains("request refused"));
    let refusal = refusal.unwrap_or_else(|| panic!("{log}"));
    assert!(
        refusal.contains(&format!("peer.uid={APP}")) && !refusal.contains("peer.unit"),
        "{refusal}"
    );
    // The manager itself is a system unit, but not the one of that name.
    assert_eq!(node.token_as("billing.service", &[]).code, Some(0));
}
