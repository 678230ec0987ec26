//! Peers as they really arrive: other users, reused pids, inherited sockets, namespaces, old kernels.
//!
//! Each test starts this binary again as the processes that it is about (see `roles`), and looks at them with [`Peer`]. They
//! need root, to change user, cgroup and namespace. Where an attack would fool a check by pid, the test shows that first: the
//! control is part of the test.

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
    ("a_reused_pid_is_another_peer", a_reused_pid_is_another_peer),
    (
        "an_orphan_cannot_use_its_parents_connection",
        an_orphan_cannot_use_its_parents_connection,
    ),
    (
        "another_program_in_the_same_process_proves_nothing",
        another_program_in_the_same_process_proves_nothing,
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
        "a_system_unit_is_read_and_a_session_is_none",
        a_system_unit_is_read_and_a_session_is_none,
    ),
    (
        "root_of_a_container_is_not_root",
        root_of_a_container_is_not_root,
    ),
    (
        "root_of_a_container_without_a_known_name_is_not_root",
        root_of_a_container_without_a_known_name_is_not_root,
    ),
    (
        "a_peer_that_is_moved_to_another_cgroup_is_refused",
        a_peer_that_is_moved_to_another_cgroup_is_refused,
    ),
    (
        "without_pidfd_info_proc_answers_the_same",
        without_pidfd_info_proc_answers_the_same,
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
        "an_old_kernel_knows_users_only",
        an_old_kernel_knows_users_only,
    ),
    (
        "an_old_kernel_pins_by_pid_if_asked_to",
        an_old_kernel_pins_by_pid_if_asked_to,
    ),
    (
        "any_other_refusal_of_the_kernel_is_no_old_kernel",
        any_other_refusal_of_the_kernel_is_no_old_kernel,
    ),
];

fn main() -> ExitCode {
    runner::run(TESTS, roles::ALL)
}

/// A socket that anybody may connect to.
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

    /// Starts `name`, which connects; returns it and its connection.
    fn connected(&self, name: &str, arguments: &[&str]) -> (Actor, UnixStream) {
        let path = self.path();
        let mut all = vec![path.to_str().unwrap()];
        all.extend_from_slice(arguments);
        let mut actor = Actor::start(role(name, &all));
        assert_eq!(actor.hear(), "connected");
        (actor, self.listener.accept().unwrap().0)
    }
}

/// Identifies at once: the kernel does not wait, and neither does the attestor of these tests.
fn now<T>(identified: impl Future<Output = T>) -> T {
    identified.now_or_never().unwrap()
}

fn identify(stream: &UnixStream) -> Result<Peer, Error> {
    now(Peer::identify(stream, &Settings::default()))
}

/// Fails the test, or skips it, where the kernel is too old for it.
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
    assert_eq!(&explained, first.facts(), "explaining a pid tells the same");

    // More groups than the first buffer takes.
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
        "nor is it identified as what it was when it connected"
    );
    Ok(())
}

fn a_reused_pid_is_another_peer() -> Result<(), String> {
    need_root()?;
    need_pidfd()?;
    // In a pid namespace of its own, where the next pid can be chosen.
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
        "control: nobody has reaped it, so its pid still leads to it"
    );
    assert_eq!(peer.confirm(), Err(Changed::Exited));
    assert!(matches!(identify(&stream), Err(Error::Exited)));
    parent.reap();
    assert_eq!(peer.confirm(), Err(Changed::Exited));
    assert!(matches!(identify(&stream), Err(Error::Exited)));
    Ok(())
}

fn another_program_in_the_same_process_proves_nothing() -> Result<(), String> {
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
    assert_eq!(parent.ask("echo"), "echo", "it is another program now");
    assert_eq!(
        before.confirm(),
        Ok(()),
        "control: pid, user and cgroup are the same, so nothing can be seen of it"
    );
    assert_eq!(before.facts().executable.as_deref(), Some(own.as_path()));
    let after = now(Peer::identify(&stream, &settings)).unwrap();
    assert_eq!(
        after.facts().executable.as_deref(),
        Some(allowed.as_path()),
        "control: the child that holds the socket would pass for the allowed program"
    );
    let by_executable = Selector {
        executable: Some(allowed),
        ..Selector::default()
    };
    assert!(
        by_executable.mismatch(after.facts()).is_some(),
        "so an executable alone selects nobody"
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

    // Control: of its own user it is known.
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

/// In a mount namespace of its own a peer runs `prog/cat`, where the daemon sees a file `prog`.
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

fn a_system_unit_is_read_and_a_session_is_none() -> Result<(), String> {
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

/// Runtimes may call cgroups as they like; a container that `runc` or `ctr` makes by hand is called as its user calls it.
fn root_of_a_container_without_a_known_name_is_not_root() -> Result<(), String> {
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
        assert_eq!(explained.nested, nested, "explained as it is decided");
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
    assert_eq!(peer.confirm(), Ok(()), "it is back where it was");
    drop(actor);
    Ok(())
}

/// Linux 6.5 to 6.12 pin a peer but cannot describe it.
fn without_pidfd_info_proc_answers_the_same() -> Result<(), String> {
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

    // The pidfd of a process outside, too, however it got in.
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
    // The daemon in a user namespace that maps nobody.
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
    assert_eq!(actor.hear(), "I am 0", "control: inside it is root");
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

fn an_old_kernel_knows_users_only() -> Result<(), String> {
    need_root()?;
    let socket = Socket::new();
    let (mut daemon, mut peer) = filtered(socket.folder.path(), nix::libc::ENOPROTOOPT, &["probe"]);
    let warnings = daemon.hear();
    assert!(
        warnings.contains("cannot pin peers"),
        "warned at start: {warnings}"
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
    assert_eq!(daemon.ask("confirm"), "Ok(())", "there is nothing to ask");
    Ok(())
}

fn an_old_kernel_pins_by_pid_if_asked_to() -> Result<(), String> {
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

fn any_other_refusal_of_the_kernel_is_no_old_kernel() -> Result<(), String> {
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
