//! Peers whose identity changed, or never was what it seems.

use std::process::Command;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};
use tonic::Code;

use crate::actor::{need_root, role};
use crate::caller::why;
use crate::cgroups::Cgroup;
use crate::daemon::TestDaemon;
use crate::lent::{ANNA, Lender, Lent};
use crate::node::{Node, own_uid, run};
use crate::program::{BINARY, Program};
use crate::table;
use crate::wire::{bounded, connect, heard};

table![
    an_orphan_is_not_served_on_its_parents_connection,
    an_orphan_that_watches_receives_nothing_new,
    a_peer_that_changes_its_user_is_not_served,
    a_peer_in_the_unit_is_served_until_it_is_moved,
    root_of_a_container_is_not_root,
    root_of_a_user_namespace_is_its_own_user,
    an_old_kernel_distinguishes_only_users_and_operators_are_warned,
    a_daemon_in_a_pid_namespace_refuses_outside_peers,
    a_daemon_in_a_user_namespace_refuses_unmapped_users,
    a_process_of_the_overflow_user_is_told_why_it_is_refused,
];

/// The refusal of a request on a passed-on connection.
fn changed() -> (Code, String) {
    (Code::Unauthenticated, "PEER_CHANGED".to_owned())
}

fn an_orphan_is_not_served_on_its_parents_connection() -> Result<(), String> {
    run(async {
        let daemon = TestDaemon::new().await;
        let mut lent = Lent::by(own_uid(), &daemon.node.socket());
        let mut caller = lent.caller().await;
        let first = caller.token("api").await;
        let first = first.expect("served while the connecting process lives");
        lent.actor.end();
        assert_eq!(
            why(caller.token("api").await),
            changed(),
            "refused while the connecting process is a zombie"
        );
        lent.actor.reap();
        assert_eq!(why(caller.token("api").await), changed());
        assert_eq!(why(caller.secret("password").await), changed());
        assert_eq!(why(caller.revoke("api").await), changed());
        let report = caller.report("api", &first.fingerprint, 401).await;
        assert_eq!(why(report), changed());
        let held = daemon.caller().await.token("api").await.unwrap();
        assert_eq!(
            held.fingerprint, first.fingerprint,
            "neither revoked nor dropped"
        );
        assert_eq!(daemon.node.issuer.requests(), 1);
        daemon.stop().await;
        Ok(())
    })
}

fn an_orphan_that_watches_receives_nothing_new() -> Result<(), String> {
    run(async {
        let daemon = TestDaemon::new().await;
        let mut lent = Lent::by(own_uid(), &daemon.node.socket());
        let mut caller = lent.caller().await;
        let mut tokens = caller.watch("api").await;
        let mut secrets = caller.watch_secret("password").await.unwrap();
        assert!(tokens.message().await.unwrap().is_some());
        assert!(secrets.message().await.unwrap().is_some());
        lent.actor.reap();
        daemon.node.put("password", b"another");
        daemon.admin().await.refresh(&["api", "password"]).await;
        assert_eq!(why(tokens.message().await), changed());
        assert_eq!(why(secrets.message().await), changed());
        daemon.stop().await;
        Ok(())
    })
}

fn a_peer_that_changes_its_user_is_not_served() -> Result<(), String> {
    need_root()?;
    run(async {
        let daemon = TestDaemon::new().await;
        let mut lent = Lent::by(0, &daemon.node.socket());
        let mut caller = lent.caller().await;
        assert!(caller.token("api").await.is_ok());
        assert_eq!(lent.actor.ask(&ANNA.to_string()), "done");
        assert_eq!(why(caller.token("api").await), changed());
        daemon.stop().await;
        Ok(())
    })
}

fn a_peer_in_the_unit_is_served_until_it_is_moved() -> Result<(), String> {
    need_root()?;
    let unit = Cgroup::new("/system.slice/claviger-test-billing.service")?;
    let elsewhere = Cgroup::new("/claviger-test-elsewhere")?;
    run(async {
        let mut node = Node::new().await;
        node.rules =
            "[[allow]]\nunit = \"claviger-test-billing.service\"\ntokens = [\"api\"]\n".to_owned();
        let daemon = TestDaemon::on(node).await;
        let mut lender = Lender::start(&[], ANNA);
        unit.take(lender.pid());
        let lent = lender.connect(&daemon.node.socket()).unwrap();
        let mut caller = lent.caller().await;
        assert!(caller.token("api").await.is_ok());
        elsewhere.take(lent.actor.pid());
        assert_eq!(
            why(caller.token("api").await),
            changed(),
            "the peer was moved while connected"
        );
        let outside = Lent::by(ANNA, &daemon.node.socket());
        let denied = why(outside.caller().await.token("api").await);
        assert_eq!(
            denied,
            (Code::PermissionDenied, "DENIED".to_owned()),
            "same user, no unit"
        );
        drop((lent, outside));
        daemon.stop().await;
        Ok(())
    })
}

fn root_of_a_container_is_not_root() -> Result<(), String> {
    need_root()?;
    let container = Cgroup::new(&format!("/docker/{}", "0123456789abcdef".repeat(4)))?;
    run(async {
        let daemon = TestDaemon::new().await;
        let mut lender = Lender::start(&[], 0);
        container.take(lender.pid());
        let lent = lender.connect(&daemon.node.socket()).unwrap();
        let denied = why(lent.caller().await.token("api").await);
        assert_eq!(denied, (Code::PermissionDenied, "DENIED".to_owned()));
        drop(lent);
        daemon.stop().await;
        Ok(())
    })
}

fn root_of_a_user_namespace_is_its_own_user() -> Result<(), String> {
    need_root()?;
    run(async {
        let daemon = TestDaemon::new().await;
        let wrapper = [
            "setpriv",
            "--reuid=42001",
            "--regid=42001",
            "--clear-groups",
            "unshare",
            "--user",
            "--map-root-user",
        ];
        // The peer is root inside the namespace already, so it does not change its user.
        let lent = Lender::start(&wrapper, 0)
            .connect(&daemon.node.socket())
            .unwrap();
        let denied = why(lent.caller().await.token("api").await);
        assert_eq!(denied, (Code::PermissionDenied, "DENIED".to_owned()));
        daemon.stop().await;
        Ok(())
    })
}

/// Imitates a kernel before Linux 6.5: executes the program in the arguments with a filter that answers `SO_PEERPIDFD` with
/// `ENOPROTOOPT`.
pub(crate) fn old_kernel(arguments: &[String]) {
    use std::os::unix::process::CommandExt as _;
    let option = u64::try_from(nix::libc::SO_PEERPIDFD).unwrap();
    let condition = SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, option);
    let rule = SeccompRule::new(vec![condition.unwrap()]).unwrap();
    let filter = SeccompFilter::new(
        [(nix::libc::SYS_getsockopt, vec![rule])].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(nix::libc::ENOPROTOOPT.unsigned_abs()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    apply_filter(&BpfProgram::try_from(filter.unwrap()).unwrap()).unwrap();
    panic!(
        "{}",
        Command::new(&arguments[0]).args(&arguments[1..]).exec()
    );
}

fn an_old_kernel_distinguishes_only_users_and_operators_are_warned() -> Result<(), String> {
    need_root()?;
    let unit = Cgroup::new("/system.slice/claviger-test-old.service")?;
    let mut node = run(Node::new());
    node.rules.push_str(&format!(
        "[[allow]]\nuser = {ANNA}\ntokens = [\"api\"]\n\
         [[allow]]\nunit = \"claviger-test-old.service\"\ntokens = [\"wide\"]\n"
    ));
    let program = Program::by(node, role("old-kernel", &[BINARY]));
    run(async {
        let mut lender = Lender::start(&[], ANNA);
        unit.take(lender.pid());
        let lent = lender.connect(&program.node.socket()).unwrap();
        let mut caller = lent.caller().await;
        assert!(caller.token("api").await.is_ok(), "by user");
        let denied = (Code::PermissionDenied, "DENIED".to_owned());
        assert_eq!(why(caller.token("wide").await), denied, "not by unit");
        let warnings = program.admin().await.status().await.unwrap().warnings;
        let warned = |text: &str| text.contains("this kernel cannot pin peers");
        assert!(
            warnings.iter().any(|warning| warned(warning)),
            "{warnings:?}"
        );
        let log = program.log_when(warned);
        assert!(warned(&log), "{log}");
        Ok(())
    })
}

/// The user that the kernel reports for every user that it cannot name.
const OVERFLOW: u32 = 65_534;

/// The binary inside a namespace.
fn unshared(options: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(options).arg(BINARY);
    command
}

/// What a peer outside receives from a daemon inside a namespace, and the daemon's log.
fn heard_outside(command: Command) -> Result<(Vec<u8>, String), String> {
    let program = Program::by(run(Node::new()), command);
    let heard = heard(&mut connect(&program.node.socket()))?;
    let log = program.log_when(|log| log.contains("a peer cannot be identified"));
    Ok((heard, log))
}

fn a_daemon_in_a_pid_namespace_refuses_outside_peers() -> Result<(), String> {
    need_root()?;
    let command = unshared(&["--pid", "--fork", "--mount-proc", "--kill-child"]);
    let (heard, log) = heard_outside(command)?;
    assert_eq!(heard, b"", "closed without an answer");
    assert!(log.contains("a peer cannot be identified"), "{log}");
    Ok(())
}

fn a_daemon_in_a_user_namespace_refuses_unmapped_users() -> Result<(), String> {
    need_root()?;
    let (heard, log) = heard_outside(unshared(&["--user"]))?;
    let heard = String::from_utf8(heard).unwrap();
    assert!(
        heard.starts_with("HTTP/1.1 401 ") && heard.contains("UNIDENTIFIED"),
        "{heard}"
    );
    assert!(log.contains("a peer cannot be identified"), "{log}");
    Ok(())
}

fn a_process_of_the_overflow_user_is_told_why_it_is_refused() -> Result<(), String> {
    need_root()?;
    run(async {
        let daemon = TestDaemon::new().await;
        let refused = (Code::Unauthenticated, "UNIDENTIFIED".to_owned());
        let lent = Lent::by(OVERFLOW, &daemon.node.socket());
        assert_eq!(why(lent.caller().await.token("api").await), refused);
        let mut lent = Lent::by(OVERFLOW, &daemon.node.socket());
        bounded(&lent.stream);
        let answer = String::from_utf8(heard(&mut lent.stream).unwrap()).unwrap();
        assert!(answer.contains("\"UNIDENTIFIED\""), "{answer}");
        daemon.stop().await;
    });
    Ok(())
}
