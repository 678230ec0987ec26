//! The processes under test.

use std::fs;
use std::io::{Read as _, stdin};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use claviger_core::peer::{Peer, ProcExecutable, Settings, Support};
use claviger_core::policy::Selector;
use claviger_kernel as memory;
use nix::libc;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

use crate::actor::{Actor, read_line, role, write_line};
use crate::now;
use crate::runner::Role;

pub(crate) const ALL: &[Role] = &[
    ("connect", connect),
    ("orphan", orphan),
    ("hold", hold),
    ("headless", headless),
    ("execute", execute),
    ("daemon", daemon),
    ("describe", describe),
    ("reuse", reuse),
];

/// Switches to user and group `id`, with the supplementary `groups`.
fn become_user(id: u32, groups: &str) {
    let groups: Vec<Gid> = groups
        .split(',')
        .filter(|group| !group.is_empty())
        .map(|group| Gid::from_raw(group.parse().unwrap()))
        .collect();
    setgroups(&groups).unwrap();
    let (group, user) = (Gid::from_raw(id), Uid::from_raw(id));
    setresgid(group, group, group).unwrap();
    setresuid(user, user, user).unwrap();
}

/// Connects to a path, optionally as another user, and keeps running.
fn connect(arguments: &[String]) {
    let path = &arguments[0];
    match arguments.get(1).map(String::as_str) {
        None => {}
        Some("wait") => assert_eq!(read_line().as_deref(), Some("connect")),
        Some("report") => write_line(&format!("I am {}", rustix::process::geteuid().as_raw())),
        Some(id) => {
            let groups = arguments.get(2).map_or("", String::as_str);
            become_user(id.parse().unwrap(), groups);
        }
    }
    let stream = UnixStream::connect(path).unwrap();
    write_line("connected");
    while let Some(line) = read_line() {
        let id = line.strip_prefix("become ").expect("the command `become`");
        become_user(id.parse().unwrap(), "");
        write_line("done");
    }
    drop(stream);
}

/// Connects, passes the connection to a child, and exits on command.
fn orphan(arguments: &[String]) {
    let stream = UnixStream::connect(&arguments[0]).unwrap();
    leave_behind(stream);
    write_line("connected");
    assert_eq!(read_line(), None);
}

/// Passes `stream` to a child as its standard input.
#[expect(
    clippy::zombie_processes,
    reason = "the child must outlive this process: that is the attack"
)]
fn leave_behind(stream: UnixStream) {
    role("hold", &[])
        .stdin(OwnedFd::from(stream))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
}

/// Holds a connection, which is its standard input, until the other end closes it.
fn hold(_arguments: &[String]) {
    stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Connects, passes the connection to a child, and executes another program on command.
fn execute(arguments: &[String]) {
    let stream = UnixStream::connect(&arguments[0]).unwrap();
    leave_behind(stream);
    write_line("connected");
    assert_eq!(read_line().as_deref(), Some("execute"));
    write_line("executing");
    panic!("{}", Command::new(&arguments[1]).exec());
}

/// Connects from another thread when the main thread has ended.
#[expect(
    clippy::disallowed_methods,
    reason = "without a main thread, no exit code can be returned"
)]
fn headless(arguments: &[String]) {
    let path = arguments[0].clone();
    let pid = std::process::id();
    std::thread::spawn(move || {
        let stat = format!("/proc/self/task/{pid}/stat");
        while !fs::read_to_string(&stat).unwrap().contains(") Z ") {
            std::thread::yield_now();
        }
        let stream = UnixStream::connect(path).unwrap();
        write_line("connected");
        while read_line().is_some() {}
        drop(stream);
        std::process::exit(0);
    });
    // A filter is one thread's own, and this action ends that thread alone.
    filter(libc::SYS_getppid, Vec::new(), SeccompAction::KillThread);
    panic!("{}", nix::unistd::getppid());
}

/// Makes the kernel answer `errno` to a system call whose argument number `argument` is `value`.
fn deny(call: libc::c_long, argument: u8, value: u64, errno: i32) {
    let condition =
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
    let rule = SeccompRule::new(vec![condition.unwrap()]).unwrap();
    let errno = SeccompAction::Errno(errno.unsigned_abs());
    filter(call, vec![rule], errno);
}

/// Has the kernel do `action` instead of a system call that matches one of the rules; without rules, always.
fn filter(call: libc::c_long, rules: Vec<SeccompRule>, action: SeccompAction) {
    let filter = SeccompFilter::new(
        [(call, rules)].into(),
        SeccompAction::Allow,
        action,
        std::env::consts::ARCH.try_into().unwrap(),
    );
    apply_filter(&BpfProgram::try_from(filter.unwrap()).unwrap()).unwrap();
}

/// Accepts one peer, identifies it, and answers queries about it.
fn daemon(arguments: &[String]) {
    let listener = UnixListener::bind(&arguments[0]).unwrap();
    let world = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(&arguments[0], world).unwrap();
    let mut settings = Settings {
        attestors: vec![Arc::new(ProcExecutable)],
        ..Settings::default()
    };
    let mut probe = false;
    for option in &arguments[1..] {
        match option.split_once('=').unwrap_or((option, "")) {
            ("user", id) => become_user(id.parse().unwrap(), ""),
            ("legacy", _) => settings.allow_legacy_pid_attestation = true,
            ("probe", _) => probe = true,
            ("deny-info", _) => deny(libc::SYS_ioctl, 1, 0xC040_FF0B, libc::ENOTTY),
            ("deny-pidfd", errno) => {
                let option = u64::try_from(libc::SO_PEERPIDFD).unwrap();
                deny(libc::SYS_getsockopt, 2, option, errno.parse().unwrap());
            }
            (other, _) => panic!("unknown option {other}"),
        }
    }
    write_line("listening");
    let support = Support::probe().unwrap();
    if probe {
        write_line(&support.warnings(&settings).collect::<Vec<_>>().join("; "));
    }
    let stream = listener.accept().unwrap().0;
    match now(Peer::identify(&stream, &settings)) {
        Ok(peer) => answer(&peer, support),
        Err(error) => {
            let debug = format!("{error:?}");
            let variant = debug.split(['(', ' ']).next().unwrap();
            write_line(&format!("refused: {variant}"));
        }
    }
    while read_line().is_some() {}
}

fn answer(peer: &Peer, support: Support) {
    let facts = peer.facts();
    let unit = facts
        .cgroup
        .as_ref()
        .and_then(|cgroup| cgroup.unit.as_ref());
    write_line(&format!(
        "uid={} gid={} pid={} unit={unit:?} exe={:?} cgroup={:?} groups={:?} pinned={} info={}",
        facts.uid,
        facts.gid,
        facts.pid,
        facts.executable,
        facts.cgroup,
        facts.groups,
        peer.is_pinned(),
        support.info,
    ));
    while let Some(line) = read_line() {
        let mut selector = Selector::default();
        match line.rsplit_once(['=']).unwrap_or((&line, "")) {
            ("confirm", _) => {
                write_line(&format!("{:?}", peer.confirm()));
                continue;
            }
            ("match user", user) => selector.user = Some(user.parse().unwrap()),
            ("match unit", unit) => selector.unit = Some(unit.to_owned()),
            (other, _) => panic!("unknown query {other}"),
        }
        write_line(&format!("{:?}", selector.mismatch(facts)));
    }
}

/// Prints what the kernel reports about the pidfd on standard input.
fn describe(_arguments: &[String]) {
    write_line(&format!("{:?}", memory::pidfd_info(stdin().as_fd())));
}

/// In a pid namespace: gives an innocent program the pid of a peer that passed its connection to a child and exited.
fn reuse(_arguments: &[String]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    // The kernel reuses pids below 300 only on request.
    let mut attacker = Actor::start(role("orphan", &[path.to_str().unwrap()]));
    assert_eq!(attacker.hear(), "connected");
    let stream = listener.accept().unwrap().0;
    let peer = now(Peer::identify(&stream, &Settings::default())).unwrap();
    peer.confirm().unwrap();
    let pid = attacker.pid();
    attacker.reap();

    let innocent = (0..100).find_map(|_| {
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
        let actor = Actor::start(Command::new("cat"));
        (actor.pid() == pid).then_some(actor)
    });
    let mut innocent = innocent.expect("the pid is free");
    assert_eq!(innocent.ask("running"), "running");
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert_eq!(
        program.canonicalize().unwrap(),
        Path::new("/bin/cat").canonicalize().unwrap(),
        "control: a lookup by pid returns the innocent program"
    );
    let late = now(Peer::identify(&stream, &Settings::default())).unwrap_err();
    write_line(&format!("identified late: {late:?}"));
    write_line(&format!(
        "confirmed late: {:?}",
        peer.confirm().unwrap_err()
    ));
}
