//! `systemctl reload` applies the configuration or reports why not.

use crate::node::{CONFIG, Node};
use crate::support::daemon::eventually;

const RELOAD: [&str; 3] = ["systemctl", "reload", "claviger.service"];

/// How many reloads the log reports.
fn reloaded(node: &Node) -> usize {
    node.log().matches("configuration reloaded").count()
}

#[test]
fn a_reload_reports_its_outcome() {
    let Some(node) = Node::start() else { return };
    let pid = node.pid();
    assert_eq!(node.token_as("other.service", &[]).code, Some(77));
    node.configure("[[allow]]\nunit = \"other.service\"\ntokens = [\"api\"]\n");
    node.machine.ok(&["claviger", "reload", "--dry-run"]);
    assert_eq!(reloaded(&node), 0, "no reload yet");
    node.machine.ok(&RELOAD);
    assert_eq!(reloaded(&node), 1);
    // The new configuration is active when the command returns.
    assert_eq!(node.token_as("other.service", &[]).code, Some(0));

    let good = node.machine.read(CONFIG);
    let lines = good.lines().count();
    node.machine.write(CONFIG, &format!("{good}\nnonsense\n"));
    let refused = node.machine.run(&RELOAD);
    assert_ne!(refused.code, Some(0), "{refused:?}");
    let place = format!("{CONFIG}:{}: ", lines + 2);
    let log = node.log();
    let said = log.lines().filter(|line| line.contains(&place)).count();
    assert_eq!(
        said, 2,
        "the command and the daemon both report the line:\n{log}"
    );
    assert_eq!(
        node.property("ActiveState"),
        "active",
        "the old configuration stays in use"
    );
    assert_eq!(node.token_as("other.service", &[]).code, Some(0));
    let status = node
        .machine
        .run(&["systemctl", "status", "claviger.service"]);
    assert!(status.out.contains("status=78"), "{status:?}");
    let log = node.machine.log();
    assert!(
        log.contains("Reloaded claviger.service") && log.contains("Reload failed"),
        "{log}"
    );

    node.configure("");
    node.machine.ok(&RELOAD);
    assert_eq!(node.token_as("other.service", &[]).code, Some(77));
    node.serves();
    // SIGHUP reloads, too.
    node.configure("[[allow]]\nunit = \"other.service\"\ntokens = [\"api\"]\n");
    node.systemctl(&["kill", "--signal=HUP", "claviger.service"]);
    assert!(eventually(|| reloaded(&node) == 3), "{}", node.log());
    node.becomes("ActiveState", "active");
    assert_eq!(node.token_as("other.service", &[]).code, Some(0));
    assert_eq!((node.pid(), node.property("NRestarts")), (pid, "0".into()));
}
