//! Peer identification against the kernel: other users, reused pids, inherited sockets, namespaces, old kernels.
//!
//! Each test starts this binary again as the processes under test (see `roles`) and identifies them with [`Peer`]. The tests
//! need root to change user, cgroup and namespace. Where an attack would defeat a check by pid, the test first demonstrates
//! that as its control.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test"
)]

#[path = "../support/actor.rs"]
mod actor;
mod cgroups;
mod roles;
#[path = "../support/runner.rs"]
mod runner;

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use claviger_core::peer::{
    Attestor as _, Changed, Error, Evidence, Facts, Peer, ProcExecutable, Settings, Support,
};
use claviger_core::policy::Selector;
use futures_util::FutureExt as _;
use nix::libc::{EINVAL, EMFILE, ENODATA, EPERM, ESRCH};

use actor::{Actor, need_root, role, wrapped};
use cgroups::Cgroup;
use runner::Test;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

const TESTS: &[Test] = &[
    ("two_users_are_two_peers", two_users_are_two_peers),
    (
        "a_peer_that_changes_its_user_is_refused",
        a_peer_that_changes_its_user_is_refused,
    ),
    (
        "a_peer_with_more_groups_than_are_read_is_refused",
        a_peer_with_more_groups_than_are_read_is_refused,
    ),
    (
        "a_peer_without_its_main_thread_is_refused",
        a_peer_without_its_main_thread_is_refused,
    ),
    ("a_reused_pid_is_another_peer", a_reused_pid_is_another_peer),
    (
        "an_orphan_cannot_use_its_parents_connection",
        an_orphan_cannot_use_its_parents_connection,
    ),
    (
        "an_executable_alone_selects_no_peer",
        an_executable_alone_selects_no_peer,
    ),
    (
        "an_executable_of_another_user_is_unknown",
        an_executable_of_another_user_is_unknown,
    ),
    (
        "an_executable_that_cannot_be_looked_up_is_unknown",
        an_executable_that_cannot_be_looked_up_is_unknown,
    ),
    (
        "a_system_unit_is_a_unit_and_a_session_is_not",
        a_system_unit_is_a_unit_and_a_session_is_not,
    ),
    (
        "root_of_a_container_is_not_root",
        root_of_a_container_is_not_root,
    ),
    (
        "root_of_a_container_with_an_unknown_cgroup_name_is_not_root",
        root_of_a_container_with_an_unknown_cgroup_name_is_not_root,
    ),
    (
        "a_peer_that_is_moved_to_another_cgroup_is_refused",
        a_peer_that_is_moved_to_another_cgroup_is_refused,
    ),
    (
        "without_pidfd_info_proc_gives_the_same_facts",
        without_pidfd_info_proc_gives_the_same_facts,
    ),
    (
        "peers_outside_of_the_pid_namespace_are_refused",
        peers_outside_of_the_pid_namespace_are_refused,
    ),
    ("unmapped_users_are_refused", unmapped_users_are_refused),
    (
        "root_of_a_user_namespace_is_its_own_user",
        root_of_a_user_namespace_is_its_own_user,
    ),
    (
        "an_old_kernel_identifies_only_users",
        an_old_kernel_identifies_only_users,
    ),
    (
        "an_old_kernel_pins_by_pid_if_configured",
        an_old_kernel_pins_by_pid_if_configured,
    ),
    (
        "other_kernel_errors_do_not_count_as_an_old_kernel",
        other_kernel_errors_do_not_count_as_an_old_kernel,
    ),
];

fn main() -> ExitCode {
    runner::run(TESTS, roles::ALL)
}

/// A socket that every user may connect to.
struct Socket {
    folder: tempfile::TempDir,
    listener: UnixListener,
}

impl Socket {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let socket = Self { folder, listener };
        fs::set_permissions(socket.path(), fs::Permissions::from_mode(0o777)).unwrap();
        socket
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Starts the role `name`, which connects; returns the process and its connection.
    fn connected(&self, name: &str, arguments: &[&str]) -> (Actor, UnixStream) {
        let path = self.path();
        let mut all = vec![path.to_str().unwrap()];
        all.extend_from_slice(arguments);
        let mut actor = Actor::start(role(name, &all));
        assert_eq!(actor.hear(), "connected");
        (actor, self.listener.accept().unwrap().0)
    }
}

/// Polls an identification once: neither the kernel nor the attestor of these tests makes it wait.
fn now<T>(identified: impl Future<Output = T>) -> T {
    identified.now_or_never().unwrap()
}

fn identify(stream: &UnixStream) -> Result<Peer, Error> {
    now(Peer::identify(stream, &Settings::default()))
}

/// Skips the test, or fails it with `STRICT=1`, if the kernel is too old.
fn need_pidfd() -> Result<(), String> {
    let support = Support::probe().unwrap();
    if support.pidfd {
        Ok(())
    } else {
        Err("needs Linux 6.5".to_owned())
    }
}

fn two_users_are_two_peers() -> Result<(), String> {
    need_root()?;
    let socket = Socket::new();
    let (one, first) = socket.connected("connect", &["1001", "5,6,1001"]);
    let (two, second) = socket.connected("connect", &["1002"]);
    let (first, second) = (identify(&first).unwrap(), identify(&second).unwrap());
    assert_eq!((first.facts().uid, first.facts().gid), (1001, 1001));
    assert_eq!(first.facts().groups, [5, 6, 1001]);
    assert_eq!(first.facts().pid, one.pid());
    assert_eq!((second.facts().uid, second.facts().pid), (1002, two.pid()));
    assert_eq!(second.facts().groups, [] as [u32; 0]);
    assert_eq!((first.confirm(), second.confirm()), (Ok(()), Ok(())));

    let explained = now(Facts::of_pid(one.pid(), &Settings::default())).unwrap();
    assert_eq!(
        &explained,
        first.facts(),
        "explaining a pid gives the same facts"
    );

    // More groups than fit into the first buffer.
    let many: Vec<u32> = (2000..2100).collect();
    let text = many
        .iter()
        .map(u32::to_string)
        .collect::<Vec<_>>()
        .join(",");
    let (_three, third) = socket.connected("connect", &["1003", &text]);
    assert_eq!(identify(&third).unwrap().facts().groups, many);
    Ok(())
}

fn a_peer_with_more_groups_than_are_read_is_refused() -> Result<(), String> {
    need_root()?;
    let socket = Socket::new();
    let groups = |count: u32| {
        let groups = (2000..2000 + count).map(|group| group.to_string());
        groups.collect::<Vec<_>>().join(",")
    };
    let (_most, stream) = socket.connected("connect", &["1001", &groups(1024)]);
    assert_eq!(identify(&stream).unwrap().facts().groups.len(), 1024);
    let (_more, stream) = socket.connected("connect", &["1001", &groups(1025)]);
    let refused = identify(&stream).unwrap_err();
    assert!(
        matches!(refused, Error::TooManyGroups { most: 1024 }),
        "{refused}"
    );
    Ok(())
}

fn a_peer_that_changes_its_user_is_refused() -> Result<(), String> {
    need_root()?;
    need_pidfd()?;
    let socket = Socket::new();
    let (mut actor, stream) = socket.connected("connect", &[]);
    let peer = identify(&stream).unwrap();
    assert_eq!(peer.confirm(), Ok(()));
    assert_eq!(actor.ask("become 1001"), "done");
    assert_eq!(peer.confirm(), Err(Changed::User));
    assert!(
        matches!(identify(&stream), Err(Error::Changed(Changed::User))),
        "a new identification fails, too"
    );
    Ok(())
}

fn a_peer_without_its_main_thread_is_refused() -> Result<(), String> {
    need_pidfd()?;
    let socket = Socket::new();
    let (_actor, stream) = socket.connected("headless", &[]);
    let refused = identify(&stream).unwrap_err();
    assert!(matches!(refused, Error::NoMainThread), "{refused}");
    Ok(())
}

fn a_reused_pid_is_another_peer() -> Result<(), String> {
    need_root()?;
    need_pidfd()?;
    // A separate pid namespace, where the test can choose the next pid.
    let unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let mut stage = Actor::start(wrapped(&unshare, "reuse", &[]));
    assert_eq!(stage.hear(), "identified late: Exited");
    assert_eq!(stage.hear(), "confirmed late: Exited");
    Ok(())
}

fn an_orphan_cannot_use_its_parents_connection() -> Result<(), String> {
    need_pidfd()?;
    let socket = Socket::new();
    let (mut parent, stream) = socket.connected("orphan", &[]);
    let peer = identify(&stream).unwrap();
    assert_eq!(peer.facts().pid, parent.pid());
    assert_eq!(peer.confirm(), Ok(()), "served while the connector lives");
    parent.end();
    assert!(
        Path::new(&format!("/proc/{}", parent.pid())).exists(),
        "control: the process is not reaped, so its pid still refers to it"
    );
    assert_eq!(peer.confirm(), Err(Changed::Exited));
    assert!(matches!(identify(&stream), Err(Error::Exited)));
    parent.reap();
    assert_eq!(peer.confirm(), Err(Changed::Exited));
    assert!(matches!(identify(&stream), Err(Error::Exited)));
    Ok(())
}

fn an_executable_alone_selects_no_peer() -> Result<(), String> {
    need_pidfd()?;
    let socket = Socket::new();
    let settings = Settings {
        attestors: vec![Arc::new(ProcExecutable)],
        ..Settings::default()
    };
    let (mut parent, stream) = socket.connected("execute", &["/bin/cat"]);
    let own = std::env::current_exe().unwrap().canonicalize().unwrap();
    let allowed = Path::new("/bin/cat").canonicalize().unwrap();
    let before = now(Peer::identify(&stream, &settings)).unwrap();
    assert_eq!(before.facts().executable.as_deref(), Some(own.as_path()));

    assert_eq!(parent.ask("execute"), "executing");
    assert_eq!(
        parent.ask("echo"),
        "echo",
        "the process now runs another program"
    );
    assert_eq!(
        before.confirm(),
        Ok(()),
        "control: pid, user and cgroup are unchanged, so they do not reveal the exec"
    );
    assert_eq!(before.facts().executable.as_deref(), Some(own.as_path()));
    let after = now(Peer::identify(&stream, &settings)).unwrap();
    assert_eq!(
        after.facts().executable.as_deref(),
        Some(allowed.as_path()),
        "control: the child that holds the socket looks like the allowed program"
    );
    let by_executable = Selector {
        executable: Some(allowed),
        ..Selector::default()
    };
    assert!(
        by_executable.mismatch(after.facts()).is_some(),
        "so an executable alone matches no peer"
    );
    let by_user_too = Selector {
        user: Some(after.facts().uid),
        ..by_executable
    };
    assert_eq!(by_user_too.mismatch(after.facts()), None);
    assert!(by_user_too.mismatch(before.facts()).is_some(), "it narrows");
    Ok(())
}

fn an_executable_of_another_user_is_unknown() -> Result<(), String> {
    need_root()?;
    need_pidfd()?;
    let socket = Socket::new();
    let path = socket.path().with_file_name("other");
    let mut daemon = Actor::start(role("daemon", &[path.to_str().unwrap(), "user=1002"]));
    assert_eq!(daemon.hear(), "listening");
    let _peer = Actor::start(role("connect", &[path.to_str().unwrap(), "1001"]));
    let facts = daemon.hear();
    assert!(
        facts.starts_with("uid=1001 ") && facts.contains(" exe=None "),
        "{facts}"
    );

    // Control: for its own user the executable is known.
    let path = socket.path().with_file_name("same");
    let mut daemon = Actor::start(role("daemon", &[path.to_str().unwrap()]));
    assert_eq!(daemon.hear(), "listening");
    let _peer = Actor::start(role("connect", &[path.to_str().unwrap()]));
    let facts = daemon.hear();
    assert!(
        facts.starts_with("uid=0 ") && facts.contains("/identity-"),
        "{facts}"
    );
    Ok(())
}

/// The peer runs `prog/cat` in its own mount namespace; in the daemon's namespace `prog` is a file.
fn an_executable_that_cannot_be_looked_up_is_unknown() -> Result<(), String> {
    need_root()?;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("prog"), "a file").unwrap();
    let script = "mount -t tmpfs none \"$0\" && mkdir \"$0/prog\" && cp /bin/cat \"$0/prog\" && exec \"$0/prog/cat\"";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script])
        .arg(folder.path());
    let mut actor = Actor::start(command);
    assert_eq!(actor.ask("running"), "running");
    let facts = Facts {
        pid: actor.pid(),
        ..Facts::default()
    };
    let evidence = now(ProcExecutable.attest(&facts, std::io::stderr().as_fd()));
    assert_eq!(evidence.unwrap(), Evidence::default());
    Ok(())
}

fn a_system_unit_is_a_unit_and_a_session_is_not() -> Result<(), String> {
    need_root()?;
    need_pidfd()?;
    let socket = Socket::new();
    let unit = Cgroup::new("/system.slice/claviger-test.service/inner")?;
    let session = Cgroup::new("/user.slice/user-7.slice/claviger-test.service")?;
    let (actor, stream) = socket.connected("connect", &[]);
    unit.take(actor.pid());
    let in_unit = identify(&stream).unwrap();
    let cgroup = in_unit.facts().cgroup.as_ref().unwrap();
    assert_eq!(cgroup.path, "/system.slice/claviger-test.service/inner");
    assert_eq!(cgroup.unit.as_deref(), Some("claviger-test.service"));
    session.take(actor.pid());
    let in_session = identify(&stream).unwrap();
    let selector = Selector {
        unit: Some("claviger-test.service".to_owned()),
        ..Selector::default()
    };
    assert_eq!(selector.mismatch(in_unit.facts()), None);
    assert!(selector.mismatch(in_session.facts()).is_some());
    drop(actor);
    Ok(())
}

fn root_of_a_container_is_not_root() -> Result<(), String> {
    need_root()?;
    need_pidfd()?;
    let socket = Socket::new();
    let container = Cgroup::new(&format!("/docker/{ID}"))?;
    let (actor, stream) = socket.connected("connect", &[]);
    let root = Selector {
        user: Some(0),
        ..Selector::default()
    };
    assert_eq!(
        root.mismatch(identify(&stream).unwrap().facts()),
        None,
        "control"
    );
    container.take(actor.pid());
    let peer = identify(&stream).unwrap();
    assert_eq!(peer.facts().uid, 0);
    assert!(root.mismatch(peer.facts()).is_some());
    let this_container = Selector {
        container: Some(ID.to_owned()),
        ..Selector::default()
    };
    assert_eq!(this_container.mismatch(peer.facts()), None);
    drop(actor);
    Ok(())
}

/// Container runtimes name cgroups freely; for containers started by hand with `runc` or `ctr` the user picks the name.
fn root_of_a_container_with_an_unknown_cgroup_name_is_not_root() -> Result<(), String> {
    need_root()?;
    need_pidfd()?;
    let socket = Socket::new();
    let path = socket.path();
    let path = path.to_str().unwrap();
    let root = Selector {
        user: Some(0),
        ..Selector::default()
    };
    for (wrapper, nested) in [
        (&["unshare", "--mount"] as &[&str], false),
        (&["unshare", "--pid", "--fork", "--kill-child"], true),
    ] {
        let mut actor = Actor::start(wrapped(wrapper, "connect", &[path]));
        assert_eq!(actor.hear(), "connected");
        let stream = socket.listener.accept().unwrap().0;
        let peer = identify(&stream).unwrap();
        assert_eq!(peer.facts().uid, 0);
        assert_eq!(peer.facts().nested, nested, "{wrapper:?}");
        assert_eq!(root.mismatch(peer.facts()).is_some(), nested, "{wrapper:?}");
        let explained = now(Facts::of_pid(peer.facts().pid, &Settings::default())).unwrap();
        assert_eq!(explained.nested, nested, "explain agrees with the decision");
    }
    Ok(())
}

fn a_peer_that_is_moved_to_another_cgroup_is_refused() -> Result<(), String> {
    need_root()?;
    need_pidfd()?;
    let socket = Socket::new();
    let here = Cgroup::new("/claviger-test-a/inner")?;
    let there = Cgroup::new("/claviger-test-b/inner")?;
    let (actor, stream) = socket.connected("connect", &[]);
    here.take(actor.pid());
    let peer = identify(&stream).unwrap();
    assert_eq!(peer.confirm(), Ok(()));
    there.take(actor.pid());
    assert_eq!(peer.confirm(), Err(Changed::Cgroup));
    here.take(actor.pid());
    assert_eq!(peer.confirm(), Ok(()), "accepted again after the move back");
    drop(actor);
    Ok(())
}

/// Linux 6.5 to 6.12 can pin a peer by pidfd but lack `PIDFD_GET_INFO`.
fn without_pidfd_info_proc_gives_the_same_facts() -> Result<(), String> {
    need_root()?;
    need_pidfd()?;
    let socket = Socket::new();
    let here = Cgroup::new("/system.slice/claviger-test-c.service")?;
    let there = Cgroup::new("/claviger-test-d")?;
    let path = socket.path().with_file_name("filtered");
    let path = path.to_str().unwrap();
    let mut daemon = Actor::start(role("daemon", &[path, "deny-info"]));
    assert_eq!(daemon.hear(), "listening");
    let mut peer = Actor::start(role("connect", &[path, "wait"]));
    here.take(peer.pid());
    assert_eq!(peer.ask("connect"), "connected");
    let facts = daemon.hear();
    let expected = format!(
        "uid=0 gid=0 pid={} unit=Some(\"claviger-test-c.service\")",
        peer.pid()
    );
    assert!(facts.starts_with(&expected), "{facts}");
    assert!(facts.ends_with("pinned=true info=false"), "{facts}");
    assert_eq!(daemon.ask("confirm"), "Ok(())");
    there.take(peer.pid());
    assert_eq!(daemon.ask("confirm"), "Err(Cgroup)");
    here.take(peer.pid());
    assert_eq!(daemon.ask("confirm"), "Ok(())");
    assert_eq!(peer.ask("become 1001"), "done");
    assert_eq!(daemon.ask("confirm"), "Err(User)");
    peer.end();
    assert_eq!(daemon.ask("confirm"), "Err(Exited)");
    peer.reap();
    assert_eq!(daemon.ask("confirm"), "Err(Exited)");
    Ok(())
}

fn peers_outside_of_the_pid_namespace_are_refused() -> Result<(), String> {
    need_root()?;
    let socket = Socket::new();
    let path = socket.path().with_file_name("inside");
    let path = path.to_str().unwrap();
    let unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let mut daemon = Actor::start(wrapped(&unshare, "daemon", &[path]));
    assert_eq!(daemon.hear(), "listening");
    let _peer = Actor::start(role("connect", &[path]));
    assert_eq!(daemon.hear(), "refused: OutsidePidNamespace");
    drop(daemon);

    // The same for the pidfd of an outside process that was passed in.
    let own = rustix::process::pidfd_open(
        rustix::process::getpid(),
        rustix::process::PidfdFlags::empty(),
    );
    let output = wrapped(&unshare, "describe", &[])
        .stdin(own.unwrap())
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    if Support::probe().unwrap().info {
        assert_eq!(output, "Err(Foreign)\n");
    }
    Ok(())
}

fn unmapped_users_are_refused() -> Result<(), String> {
    need_root()?;
    let socket = Socket::new();
    let path = socket.path().with_file_name("inside");
    let path = path.to_str().unwrap();
    // The daemon runs in a user namespace without a uid mapping.
    let mut daemon = Actor::start(wrapped(&["unshare", "--user"], "daemon", &[path]));
    assert_eq!(daemon.hear(), "listening");
    let _peer = Actor::start(role("connect", &[path]));
    assert_eq!(daemon.hear(), "refused: Unmapped");
    Ok(())
}

fn root_of_a_user_namespace_is_its_own_user() -> Result<(), String> {
    need_root()?;
    let socket = Socket::new();
    let path = socket.path();
    let unshare = [
        "setpriv",
        "--reuid=1001",
        "--regid=1001",
        "--clear-groups",
        "unshare",
        "--user",
        "--map-root-user",
    ];
    let command = wrapped(&unshare, "connect", &[path.to_str().unwrap(), "report"]);
    let mut actor = Actor::start(command);
    assert_eq!(
        actor.hear(),
        "I am 0",
        "control: the peer is root inside the namespace"
    );
    assert_eq!(actor.hear(), "connected");
    let stream = socket.listener.accept().unwrap().0;
    assert_eq!(identify(&stream).unwrap().facts().uid, 1001);
    Ok(())
}

/// Starts a daemon whose kernel answers `errno` for `SO_PEERPIDFD`, and has a peer of user 1001 connect to it.
fn filtered(folder: &Path, errno: i32, options: &[&str]) -> (Actor, Actor) {
    let path = folder.join("filtered");
    let path = path.to_str().unwrap();
    let deny = format!("deny-pidfd={errno}");
    let mut daemon = Actor::start(role("daemon", &[&[path, &deny], options].concat()));
    assert_eq!(daemon.hear(), "listening");
    let peer = Actor::start(role("connect", &[path, "1001", "7"]));
    (daemon, peer)
}

fn an_old_kernel_identifies_only_users() -> Result<(), String> {
    need_root()?;
    let socket = Socket::new();
    let (mut daemon, mut peer) = filtered(socket.folder.path(), nix::libc::ENOPROTOOPT, &["probe"]);
    let warnings = daemon.hear();
    assert!(
        warnings.contains("cannot pin peers"),
        "the daemon warns at start: {warnings}"
    );
    let facts = daemon.hear();
    let expected = format!("uid=1001 gid=1001 pid={} unit=None", peer.pid());
    assert!(facts.starts_with(&expected), "{facts}");
    assert!(
        facts.ends_with("exe=None cgroup=None groups=[7] pinned=false info=false"),
        "{facts}"
    );
    assert_eq!(daemon.ask("match user=1001"), "None");
    assert_eq!(daemon.ask("match unit=billing.service"), "Some(Unit)");
    peer.reap();
    assert_eq!(
        daemon.ask("confirm"),
        "Ok(())",
        "without a pidfd there is nothing to check"
    );
    Ok(())
}

fn an_old_kernel_pins_by_pid_if_configured() -> Result<(), String> {
    need_root()?;
    let socket = Socket::new();
    let (mut daemon, mut peer) =
        filtered(socket.folder.path(), nix::libc::ENOPROTOOPT, &["legacy"]);
    let facts = daemon.hear();
    assert!(
        facts.contains("cgroup=Some") && facts.contains("pinned=true"),
        "{facts}"
    );
    assert_eq!(daemon.ask("confirm"), "Ok(())");
    peer.end();
    assert_eq!(daemon.ask("confirm"), "Err(Exited)");
    Ok(())
}

fn other_kernel_errors_do_not_count_as_an_old_kernel() -> Result<(), String> {
    need_root()?;
    let socket = Socket::new();
    for (errno, refusal) in [
        (EINVAL, "refused: Exited"),
        (ESRCH, "refused: Exited"),
        (ENODATA, "refused: Exited"),
        (EPERM, "refused: Pidfd"),
        (EMFILE, "refused: Pidfd"),
    ] {
        for options in [&[] as &[&str], &["legacy"]] {
            let (mut daemon, _peer) = filtered(socket.folder.path(), errno, options);
            assert_eq!(daemon.hear(), refusal);
            drop(daemon);
            fs::remove_file(socket.path().with_file_name("filtered")).unwrap();
        }
    }
    Ok(())
}
