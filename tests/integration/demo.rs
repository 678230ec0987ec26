//! `claviger demo`, the first command that a new user runs.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::actor::{need_root, within_reach};
use crate::lent::ANNA;
use crate::program::{BINARY, Finished, finish};
use crate::table;

table![
    the_demo_shows_everything_and_leaves_nothing,
    the_demo_needs_no_privileges,
    a_demo_of_the_overflow_user_says_why_not,
    an_interrupted_demo_leaves_nothing,
    a_demo_without_a_usable_folder_says_what_to_do,
];

/// Runs it with its folder in `place`.
fn demo(place: &Path) -> Finished {
    finish(Command::new(BINARY).arg("demo").env("TMPDIR", place), b"")
}

fn is_empty(place: &Path) -> bool {
    fs::read_dir(place).unwrap().next().is_none()
}

fn the_demo_shows_everything_and_leaves_nothing() -> Result<(), String> {
    let place = tempfile::tempdir().unwrap();
    let finished = demo(place.path());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(finished.err, "");
    for word in [
        "1. The setup",
        "(refreshed)",
        "still 1",
        "DENIED",
        "payroll.service",
        "5. The operator's view",
        "0 hits",
    ] {
        assert!(finished.out.contains(word), "{word}: {}", finished.out);
    }
    assert!(is_empty(place.path()), "the folder is gone");
    Ok(())
}

fn the_demo_needs_no_privileges() -> Result<(), String> {
    need_root()?;
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o1777)).unwrap();
    let mut command = Command::new(within_reach(Path::new(BINARY)));
    command.arg("demo").env("TMPDIR", place.path()).uid(ANNA);
    let finished = finish(&mut command, b"");
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(is_empty(place.path()), "the folder is gone");
    Ok(())
}

fn a_demo_of_the_overflow_user_says_why_not() -> Result<(), String> {
    need_root()?;
    let place = tempfile::tempdir().unwrap();
    let mut command = Command::new(within_reach(Path::new(BINARY)));
    command.arg("demo").env("TMPDIR", place.path()).uid(65_534);
    let finished = finish(&mut command, b"");
    assert_eq!(finished.code, Some(77), "{finished:?}");
    assert!(finished.err.contains("as another user"), "{finished:?}");
    Ok(())
}

/// A demo that keeps running, in its own process group as a shell would start it, after it has printed its output.
fn staying(place: &Path) -> Child {
    let mut child = Command::new(BINARY)
        .args(["demo", "--stay"])
        .env("TMPDIR", place)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    let shown = format!("  {BINARY} status --watch ");
    assert!(lines.any(|line| line.starts_with(&shown)), "to be copied");
    assert!(lines.any(|line| line == "Ctrl-C ends it."), "it stays");
    child
}

fn an_interrupted_demo_leaves_nothing() -> Result<(), String> {
    // Ctrl-C signals the whole group; a closed terminal and `kill` signal only the demo.
    for (signal, group) in [
        (Signal::SIGINT, true),
        (Signal::SIGHUP, false),
        (Signal::SIGTERM, false),
    ] {
        let place = tempfile::tempdir().unwrap();
        let mut child = staying(place.path());
        let folder = fs::read_dir(place.path()).unwrap().next().unwrap();
        let socket = folder.unwrap().path().join("run/broker.sock");
        assert!(socket.exists());
        let pid = i32::try_from(child.id()).unwrap();
        kill(Pid::from_raw(if group { -pid } else { pid }), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{signal}");
        assert!(is_empty(place.path()), "{signal}: the folder is gone");
    }
    // Interrupts the demo at an arbitrary point.
    for _ in 0..5 {
        let place = tempfile::tempdir().unwrap();
        let mut child = Command::new(BINARY)
            .arg("demo")
            .env("TMPDIR", place.path())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The demo installs its signal handlers before it creates the folder.
        while is_empty(place.path()) && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let pid = i32::try_from(child.id()).unwrap();
        kill(Pid::from_raw(-pid), Signal::SIGINT).unwrap();
        let code = child.wait().unwrap().code();
        assert!(matches!(code, Some(0 | 130)), "{code:?}");
        assert!(is_empty(place.path()), "the folder is gone");
    }
    Ok(())
}

fn a_demo_without_a_usable_folder_says_what_to_do() -> Result<(), String> {
    let place = tempfile::tempdir().unwrap();
    let deep = place.path().join("x".repeat(90));
    fs::create_dir(&deep).unwrap();
    let strange = place.path().join("a\"b");
    fs::create_dir(&strange).unwrap();
    for unfit in [&deep, &strange, &place.path().join("missing")] {
        let finished = demo(unfit);
        assert_eq!(finished.code, Some(71), "{finished:?}");
        assert!(finished.err.contains("Set TMPDIR"), "{finished:?}");
    }
    let mut command = Command::new(BINARY);
    command
        .arg("demo")
        .env("TMPDIR", ".")
        .current_dir(place.path());
    let relative = finish(&mut command, b"");
    assert_eq!(relative.code, Some(0), "{relative:?}");
    Ok(())
}
