//! The daemon as programs and operators see it: a real daemon on a real socket, with a sealed store and an issuer.
//!
//! Most tests start the daemon in this process ([`daemon::TestDaemon`]) and speak gRPC or HTTP to it over its socket; tests
//! of process behavior (signals, exit codes, memory, descriptors) run the compiled binary ([`program::Program`]). Peers of
//! other users, cgroups and namespaces are processes that connect and lend their connection to the test ([`lent`]): the
//! kernel still describes the process that connected. No test sleeps or measures time; the time limits only make a hanging
//! test fail.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::format_collect,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::too_many_lines,
    clippy::unnecessary_wraps,
    clippy::format_push_string,
    clippy::assigning_clones,
    reason = "a test"
)]

#[path = "../support/actor.rs"]
mod actor;
mod caller;
#[path = "../identity/cgroups.rs"]
mod cgroups;
mod daemon;
mod lent;
mod node;
mod program;
#[path = "../support/runner.rs"]
mod runner;
mod wire;

mod causes;
mod commands;
#[cfg(feature = "demo")]
mod demo;
mod dialect;
mod guard;
mod hostile;
mod import;
mod lifecycle;
mod limits;
mod peers;
mod property;
mod published;
mod readme;
mod refusals;
mod secrets;
mod terminal;
mod tokens;

use std::process::ExitCode;

use runner::Test;

/// A table of tests, each under its own name.
macro_rules! table {
    ($($test:ident),* $(,)?) => {
        pub(crate) const ALL: &[crate::runner::Test] = &[$((stringify!($test), $test)),*];
    };
}
pub(crate) use table;

fn main() -> ExitCode {
    let tests: Vec<Test> = [
        tokens::ALL,
        secrets::ALL,
        refusals::ALL,
        causes::ALL,
        guard::ALL,
        dialect::ALL,
        peers::ALL,
        limits::ALL,
        hostile::ALL,
        lifecycle::ALL,
        commands::ALL,
        terminal::ALL,
        #[cfg(feature = "demo")]
        demo::ALL,
        readme::ALL,
        import::ALL,
        property::ALL,
        published::ALL,
    ]
    .concat();
    runner::run(&tests, lent::ROLES)
}
