//! Tests that cannot run here.

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

/// Turns a missing prerequisite into a skipped test.
pub trait OrSkip<T> {
    /// The value; or `None`, after saying loudly that the test `name` is skipped.
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

/// Writes past the capturing of the test harness, which hides what passing tests print; `make test` repeats the list.
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
    reason = "how CI asks for every test to run"
)]
fn strict() -> bool {
    std::env::var_os("STRICT").is_some_and(|value| value == "1")
}
