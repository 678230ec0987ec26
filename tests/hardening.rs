//! A hardened process, inspected from outside: by the kernel, by another process of its user, and by root.
//!
//! Each test starts this binary again as a process that hardens itself or not; the one that does not is the control. The
//! binary has the wiping allocator, as the daemon does.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unnecessary_wraps,
    reason = "a test"
)]

#[path = "support/actor.rs"]
mod actor;
#[path = "support/runner.rs"]
mod runner;

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use claviger_core::peer::{Peer, Settings as PeerSettings};
use claviger_kernel::{self as memory, Backing, SecretPages, WipingAllocator};
use futures_util::FutureExt as _;
use rustix::process::{DumpableBehavior, PTracer, Resource, Rlimit};

use actor::{Actor, need_root, read_line, role, within_reach, write_line};
use runner::Role;

#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator::system();

/// The protections that root gets on every machine.
const PROTECTIONS: [&str; 5] = [
    "no core dumps",
    "not dumpable",
    "no new privileges",
    "no capabilities",
    "empty bounding set",
];

const ROLES: &[Role] = &[("target", target), ("reader", reader), ("keeper", keeper)];

fn main() -> ExitCode {
    runner::run(
        &[
            (
                "every_thread_of_a_hardened_process_is",
                every_thread_of_a_hardened_process_is,
            ),
            (
                "a_hardened_process_without_root_is_hardened_too",
                a_hardened_process_without_root_is_hardened_too,
            ),
            ("proxy_variables_are_gone", proxy_variables_are_gone),
            (
                "the_units_filter_lets_the_process_protect_itself",
                the_units_filter_lets_the_process_protect_itself,
            ),
            (
                "the_same_user_cannot_read_the_memory",
                the_same_user_cannot_read_the_memory,
            ),
            ("an_abort_leaves_no_core", an_abort_leaves_no_core),
            ("every_command_is_shielded", every_command_is_shielded),
            (
                "root_does_not_find_what_secret_pages_hold",
                root_does_not_find_what_secret_pages_hold,
            ),
            ("freed_memory_is_zeroed", freed_memory_is_zeroed),
        ],
        ROLES,
    )
}

/// Byte `index` of the canary of `seed`. Computed on each use, so that no buffer contains it by accident.
fn canary(seed: u64, index: usize) -> u8 {
    let mut word = seed.wrapping_add((index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (word ^ (word >> 31)).to_le_bytes()[0]
}

fn become_user(id: u32) {
    let (group, user) = (
        nix::unistd::Gid::from_raw(id),
        nix::unistd::Uid::from_raw(id),
    );
    nix::unistd::setgroups(&[]).unwrap();
    nix::unistd::setresgid(group, group, group).unwrap();
    nix::unistd::setresuid(user, user, user).unwrap();
    // Changing the user made the process undumpable, which would hide whether hardening does so.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
}

/// The role under test: on request it changes its user, hardens itself, starts threads, and reports its protections.
fn target(arguments: &[String]) {
    let mut hardened = false;
    for option in arguments {
        match option.split_once('=').unwrap_or((option, "")) {
            ("user", id) => become_user(id.parse().unwrap()),
            ("unbounded", _) => caps::clear(None, caps::CapSet::Bounding).unwrap(),
            ("only", calls) => allow_only(&calls.split(',').collect::<Vec<_>>()),
            ("harden", _) => match memory::harden() {
                Ok(_report) => hardened = true,
                Err(error) => return write_line(&error.to_string()),
            },
            (other, _) => panic!("unknown option {other}"),
        }
    }
    if !hardened {
        // Yama, if active, would deny the access that the control must show.
        rustix::process::set_ptracer(PTracer::Any).ok();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(3)
        .build()
        .unwrap();
    write_line("ready");
    while let Some(word) = read_line() {
        match word.as_str() {
            "report" => {
                let report = memory::verify();
                let all: Vec<String> = report.to_string().lines().map(str::to_owned).collect();
                write_line(&all.join(" | "));
            }
            "variables" => write_line(&format!("{:?}", std::env::vars_os())),
            "pages" => {
                let pages = SecretPages::filled(64, |bytes| bytes.fill(1)).unwrap();
                write_line(&format!("{:?}", pages.backing()));
            }
            "peer" => {
                let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
                let peer = Peer::identify(&socket, &PeerSettings::default())
                    .now_or_never()
                    .unwrap()
                    .unwrap();
                write_line(&format!("{:?} {}", peer.confirm(), peer.is_pinned()));
            }
            "forbidden" => {
                let changed = rustix::process::nice(1).map_err(rustix::io::Errno::kind);
                write_line(&format!("{changed:?}"));
            }
            "abort" => std::process::abort(),
            other => panic!("unknown command {other}"),
        }
    }
    drop(runtime);
}

/// Has the kernel deny all system calls except these, as systemd does for a unit.
fn allow_only(calls: &[&str]) {
    let architecture: seccompiler::TargetArch = std::env::consts::ARCH.try_into().unwrap();
    let compile = |calls: &[&str]| {
        let rules: Vec<String> = calls
            .iter()
            .map(|call| format!("{{\"syscall\":\"{call}\"}}"))
            .collect();
        let text = format!(
            "{{\"unit\":{{\"mismatch_action\":{{\"errno\":1}},\"match_action\":\"allow\",\"filter\":[{}]}}}}",
            rules.join(",")
        );
        seccompiler::compile_from_json(text.as_bytes(), architecture)
    };
    // systemd's groups contain names of all architectures.
    let known: Vec<&str> = calls
        .iter()
        .copied()
        .filter(|call| compile(&[call]).is_ok())
        .collect();
    assert!(known.len() > 150, "only {} calls known", known.len());
    seccompiler::apply_filter(&compile(&known).unwrap()["unit"]).unwrap();
}

/// The system calls that the shipped unit allows, as `systemd-analyze` expands the groups.
fn calls_of_the_unit() -> Result<Vec<String>, String> {
    let output = Command::new("systemd-analyze")
        .arg("syscall-filter")
        .output();
    let output = output.map_err(|error| format!("needs systemd-analyze: {error}"))?;
    let mut groups: HashMap<String, Vec<String>> = HashMap::new();
    let mut group = String::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        match line.trim() {
            "" => {}
            comment if comment.starts_with('#') => {}
            call if line.starts_with(' ') => groups.get_mut(&group).unwrap().push(call.to_owned()),
            name => {
                name.clone_into(&mut group);
                groups.insert(group.clone(), Vec::new());
            }
        }
    }
    let unit = include_str!("../deploy/systemd/claviger.service");
    let mut allowed = BTreeSet::new();
    for line in unit
        .lines()
        .filter_map(|line| line.strip_prefix("SystemCallFilter="))
    {
        let names = line.trim_start_matches('~').split_ascii_whitespace();
        let calls = names.flat_map(|name| expand(name, &groups));
        if line.starts_with('~') {
            for call in calls {
                allowed.remove(&call);
            }
        } else {
            allowed.extend(calls);
        }
    }
    Ok(allowed.into_iter().collect())
}

/// Expands a group to its calls, recursively; a call expands to itself.
fn expand(name: &str, groups: &HashMap<String, Vec<String>>) -> Vec<String> {
    if !name.starts_with('@') {
        return vec![name.to_owned()];
    }
    let group = groups
        .get(name)
        .unwrap_or_else(|| panic!("unknown group {name}"));
    group.iter().flat_map(|name| expand(name, groups)).collect()
}

/// Tries to read the memory of a process as user 1001.
fn reader(arguments: &[String]) {
    become_user(1001);
    let attempt = || -> io::Result<()> {
        let maps = fs::read_to_string(format!("/proc/{}/maps", arguments[0]))?;
        let start = maps.split('-').next().unwrap();
        let start = u64::from_str_radix(start, 16).map_err(io::Error::other)?;
        File::open(format!("/proc/{}/mem", arguments[0]))?.read_exact_at(&mut [0; 16], start)
    };
    write_line(&format!("{:?}", attempt().map_err(|error| error.kind())));
}

/// Keeps a canary in memory in the given way.
fn keeper(arguments: &[String]) {
    let seed: u64 = arguments[1].parse().unwrap();
    let fill = |bytes: &mut [u8]| {
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = canary(seed, index);
        }
    };
    match arguments[0].as_str() {
        "pages" => {
            let pages = SecretPages::filled(64, fill).unwrap();
            write_line(&format!("{:?}", pages.backing()));
            assert_eq!(read_line(), None);
            pages.with(|bytes| assert_eq!(bytes[63], canary(seed, 63)));
        }
        "bytes" => {
            let mut bytes = vec![0; 64];
            fill(&mut bytes);
            write_line("ready");
            assert_eq!(read_line(), None);
            assert_eq!(bytes[63], canary(seed, 63));
        }
        "freed" => {
            // Grows by reallocation, so that several blocks are freed.
            let mut bytes = Vec::new();
            for index in 0..5000 {
                bytes.push(canary(seed, index));
            }
            let text: Box<[u8]> = bytes.clone().into();
            drop((bytes, text));
            write_line("ready");
            assert_eq!(read_line(), None);
        }
        other => panic!("unknown way {other}"),
    }
}

/// How often the first 64 bytes of a canary occur in the memory of a process. Reads as root.
fn hits(pid: u32, seed: u64) -> usize {
    let wanted: Vec<u8> = (0..64).map(|index| canary(seed, index)).collect();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let (mut found, mut read) = (0, 0);
    for line in maps.lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let (start, end) = (number(start), number(end));
        if !rest.starts_with('r') || rest.ends_with("[vvar]") || rest.ends_with("[vvar_vclock]") {
            continue;
        }
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        // Secret pages return an error, by design.
        if memory.read_exact_at(&mut bytes, start).is_ok() {
            read += 1;
            found += bytes.windows(64).filter(|bytes| *bytes == wanted).count();
        }
    }
    assert!(read > 5, "only {read} mappings could be read");
    found
}

/// A seed that differs between runs.
fn seed() -> u64 {
    u64::from(std::process::id()) << 32 | u64::from(fastrand::u32(..))
}

fn target_with(options: &[&str]) -> Actor {
    let mut actor = Actor::start(role("target", options));
    assert_eq!(actor.hear(), "ready");
    actor
}

/// The values of one line of every thread's status.
fn statuses(pid: u32, name: &str) -> Vec<String> {
    fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .map(|task| {
            let text = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim_start_matches(':').trim().to_owned()
        })
        .collect()
}

fn every_thread_of_a_hardened_process_is() -> Result<(), String> {
    need_root()?;
    let mut hardened = target_with(&["harden"]);
    let control = target_with(&[]);
    for (name, wanted) in [
        ("NoNewPrivs", "1"),
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("VmSwap", "0 kB"),
    ] {
        let values = statuses(hardened.pid(), name);
        assert!(values.len() >= 4, "the process has threads");
        assert!(
            values.iter().all(|value| value == wanted),
            "{name}: {values:?}"
        );
    }
    assert!(
        statuses(control.pid(), "NoNewPrivs")
            .iter()
            .all(|value| value == "0")
    );
    assert!(
        statuses(control.pid(), "CapBnd")
            .iter()
            .all(|value| value != "0000000000000000")
    );

    let limits = fs::read_to_string(format!("/proc/{}/limits", hardened.pid())).unwrap();
    let cores = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    let words: Vec<&str> = cores.split_ascii_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"]);

    let report = hardened.ask("report");
    for name in PROTECTIONS {
        assert!(report.contains(&format!("{name}: yes")), "{report}");
    }
    Ok(())
}

fn a_hardened_process_without_root_is_hardened_too() -> Result<(), String> {
    need_root()?;
    let mut hardened = target_with(&["user=1001", "harden"]);
    assert!(
        statuses(hardened.pid(), "NoNewPrivs")
            .iter()
            .all(|value| value == "1")
    );
    let report = hardened.ask("report");
    assert!(report.contains("no capabilities: yes"), "{report}");
    assert!(
        report.contains("empty bounding set: NO"),
        "only root may empty it, and the report says that it is not: {report}"
    );
    Ok(())
}

/// A filter that is too narrow cannot be undone inside the unit, and causes no visible error.
fn the_units_filter_lets_the_process_protect_itself() -> Result<(), String> {
    need_root()?;
    let only = format!("only={}", calls_of_the_unit()?.join(","));
    let mut confined = target_with(&["unbounded", "user=1001", &only, "harden"]);
    let report = confined.ask("report");
    for name in PROTECTIONS {
        assert!(report.contains(&format!("{name}: yes")), "{report}");
    }
    assert_eq!(confined.ask("peer"), "Ok(()) true");
    assert_eq!(
        confined.ask("forbidden"),
        "Err(PermissionDenied)",
        "control: the filter is active"
    );
    let mut free = target_with(&["harden"]);
    assert_eq!(
        confined.ask("pages"),
        free.ask("pages"),
        "the backing is the same as without the filter"
    );
    Ok(())
}

fn proxy_variables_are_gone() -> Result<(), String> {
    let start = |options: &[&str]| {
        let mut command = role("target", options);
        command
            .env("HTTPS_PROXY", "http://elsewhere.example")
            .env("https_proxy", "http://elsewhere.example")
            .env("SSLKEYLOGFILE", "/tmp/keys")
            .env("KEPT", "kept");
        let mut actor = Actor::start(command);
        assert_eq!(actor.hear(), "ready");
        actor.ask("variables")
    };
    let variables = start(&["harden"]);
    assert!(variables.contains("KEPT"), "{variables}");
    assert!(
        !variables.contains("elsewhere") && !variables.contains("SSLKEYLOGFILE"),
        "{variables}"
    );
    assert!(start(&[]).contains("elsewhere"), "control");
    Ok(())
}

fn the_same_user_cannot_read_the_memory() -> Result<(), String> {
    need_root()?;
    let read = |target: &Actor| Actor::start(role("reader", &[&target.pid().to_string()])).hear();
    assert_eq!(read(&target_with(&["user=1001"])), "Ok(())", "control");
    assert_eq!(
        read(&target_with(&["user=1001", "harden"])),
        "Err(PermissionDenied)"
    );
    Ok(())
}

/// A command of an ordinary user, inspected while it waits for the answer of a daemon that never comes.
fn every_command_is_shielded() -> Result<(), String> {
    need_root()?;
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
    let program = within_reach(Path::new(env!("CARGO_BIN_EXE_claviger")));
    let owner = |pid: u32| fs::metadata(format!("/proc/{pid}/mem")).unwrap().uid();
    let most = rustix::process::getrlimit(Resource::Core).maximum;
    let raised = Rlimit {
        current: most,
        maximum: most,
    };
    rustix::process::setrlimit(Resource::Core, raised).unwrap();
    for command in [
        ["token", "api", "--socket"],
        ["status", "--output=json", "--admin-socket"],
    ] {
        let mut child = Command::new(&program)
            .args(command)
            .arg(&socket)
            .uid(1001)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let _connection = listener.accept().unwrap();
        let pid = child.id();
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let (privileges, owner) = (statuses(pid, "NoNewPrivs"), owner(pid));
        child.kill().unwrap();
        child.wait().unwrap();
        let core = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"));
        let words: Vec<&str> = core.unwrap().split_ascii_whitespace().collect();
        assert_eq!(words[4..6], ["0", "0"], "{command:?}");
        assert!(privileges.iter().all(|value| value == "1"), "{command:?}");
        assert_eq!(owner, 0, "{command:?} can be inspected by its user");
    }
    let mut control = Command::new("sleep").arg("60").uid(1001).spawn().unwrap();
    let owned_by = owner(control.id());
    control.kill().unwrap();
    control.wait().unwrap();
    assert_eq!(owned_by, 1001, "control");
    Ok(())
}

fn an_abort_leaves_no_core() -> Result<(), String> {
    let limit = rustix::process::getrlimit(Resource::Core);
    if limit.maximum.is_some() {
        return Err("needs an unlimited core size".to_owned());
    }
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    rustix::process::setrlimit(Resource::Core, unlimited).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let dumped = |options: &[&str]| {
        let mut command = role("target", options);
        command.current_dir(&folder);
        let mut actor = Actor::start(command);
        assert_eq!(actor.hear(), "ready");
        actor.say("abort");
        let status = actor.reap();
        assert_eq!(status.signal(), Some(nix::libc::SIGABRT));
        status.core_dumped()
    };
    let hardened = dumped(&["harden"]);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    let control = dumped(&[]);
    rustix::process::setrlimit(Resource::Core, limit).unwrap();
    assert!(!hardened);
    if !control {
        return Err("needs a core_pattern that writes cores, for the control".to_owned());
    }
    Ok(())
}

fn root_does_not_find_what_secret_pages_hold() -> Result<(), String> {
    need_root()?;
    let seed = seed();
    let start = |way| Actor::start(role("keeper", &[way, &seed.to_string()]));
    let mut control = start("bytes");
    assert_eq!(control.hear(), "ready");
    assert!(
        hits(control.pid(), seed) >= 1,
        "control: root reads ordinary memory"
    );

    let mut pages = start("pages");
    if pages.hear() != format!("{:?}", Backing::SecretMemory) {
        return Err("needs memfd_secret".to_owned());
    }
    assert_eq!(hits(pages.pid(), seed), 0);
    assert!(
        pages.reap().success(),
        "the process itself can read its pages"
    );
    Ok(())
}

fn freed_memory_is_zeroed() -> Result<(), String> {
    need_root()?;
    let seed = seed();
    let mut freed = Actor::start(role("keeper", &["freed", &seed.to_string()]));
    assert_eq!(freed.hear(), "ready");
    assert_eq!(hits(freed.pid(), seed), 0);
    let mut control = Actor::start(role("keeper", &["bytes", &seed.to_string()]));
    assert_eq!(control.hear(), "ready");
    assert!(
        hits(control.pid(), seed) >= 1,
        "control: memory in use is found"
    );
    Ok(())
}
