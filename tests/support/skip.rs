//! Skips tests that cannot run on this machine.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Why a test cannot run on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip(pub String);

impl Skip {
    /// A reason, as one clause.
    pub fn because(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// Skips a test whose prerequisite is missing.
pub trait OrSkip<T> {
    /// Returns the value, or reports that the test `name` is skipped and returns `None`.
    fn or_skip(self, name: &str) -> Option<T>;
}

impl<T> OrSkip<T> for Result<T, Skip> {
    fn or_skip(self, name: &str) -> Option<T> {
        match self {
            Ok(value) => Some(value),
            Err(reason) => {
                report(name, &reason);
                None
            }
        }
    }
}

/// Bypasses the test harness, which captures the output of passing tests; `make test` repeats the list.
fn report(name: &str, Skip(reason): &Skip) {
    assert!(
        !strict(),
        "SKIP {name}: {reason} (STRICT=1 makes this a failure)"
    );
    let line = format!("SKIP {name}: {reason}\n");
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("standard error is open");
    let list = super::root().join("target/skipped-tests");
    if let Ok(mut list) = OpenOptions::new().create(true).append(true).open(list) {
        list.write_all(line.as_bytes())
            .expect("the list of skipped tests is writable");
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "CI sets it to require every test to run"
)]
fn strict() -> bool {
    std::env::var_os("STRICT").is_some_and(|value| value == "1")
}
