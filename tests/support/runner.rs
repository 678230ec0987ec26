//! Runs tests that start processes.
//!
//! A test binary with this runner is started in two ways: `cargo test` runs its table of tests one after the other, and the
//! tests start the same binary again with `--role=…`, as the connecting program, the daemon or the attacker. A role starts
//! with one thread, which the ordinary harness cannot guarantee. Tests and roles exchange lines over the role's standard
//! input and output; a role exits at the end of its input.
//!
//! A test that cannot run on this machine prints `SKIP` and the reason; with `STRICT=1` in the environment that is a failure.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// A test: its name and its function. `Err` is the reason why it cannot run on this machine.
pub(crate) type Test = (&'static str, fn() -> Result<(), String>);

/// A role: its name and its function, which receives the arguments.
pub(crate) type Role = (&'static str, fn(&[String]));

/// Runs the role or the tests that the command line selects.
pub(crate) fn run(tests: &[Test], roles: &[Role]) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(name) = arguments
        .first()
        .and_then(|first| first.strip_prefix("--role="))
    {
        let (_, role) = roles.iter().find(|role| role.0 == name).expect("a role");
        role(&arguments[1..]);
        return ExitCode::SUCCESS;
    }
    #[expect(clippy::disallowed_methods, reason = "CI sets it to forbid skips")]
    let strict = std::env::var_os("STRICT").is_some_and(|value| value == "1");
    let words: Vec<&String> = arguments
        .iter()
        .filter(|word| !word.starts_with('-'))
        .collect();
    let chosen = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(*word));
    let list = arguments.iter().any(|word| word == "--list");
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (name, test) in tests.iter().filter(|test| chosen(test.0)) {
        if list {
            println!("{name}: test");
            continue;
        }
        match catch_unwind(AssertUnwindSafe(test)) {
            Ok(Ok(())) => {
                passed += 1;
                println!("test {name} ... ok");
            }
            Ok(Err(reason)) => {
                skipped += 1;
                println!("SKIP {name}: {reason}");
            }
            Err(_panic) => {
                failed += 1;
                println!("test {name} ... FAILED");
            }
        }
    }
    // The directory exists only if a test needed it.
    std::fs::remove_dir_all(folder_for_others()).unwrap_or(());
    println!("\n{passed} passed; {failed} failed; {skipped} skipped");
    if failed > 0 || (strict && skipped > 0) {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The directory for copies of binaries whose own directory other users cannot enter.
pub(crate) fn folder_for_others() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("claviger-role-{}", std::process::id()))
}
