//! The canary test: searches for leaked secrets.
//!
//! Every run generates new canaries, exercises every operation of a daemon with them, and then searches its memory, its
//! surroundings and all its output, for every encoding of each secret. A secret in use may be in memory; any other match is a
//! failure. As the control, a process that does the same with ordinary types ([`leaky`]) must be caught in each of these
//! places, in every run.
//!
//! Needs root, because the kernel lets only root read the memory of a hardened process.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

#[path = "../support/actor.rs"]
mod actor;
mod aftermath;
mod calls;
mod command_line;
mod control;
mod issuer;
mod leaky;
#[path = "../support/runner.rs"]
mod runner;
mod secrets;
#[path = "../support/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "each test binary uses only a part"
)]
mod support;
#[path = "../support/sweep.rs"]
#[expect(unreachable_pub, reason = "shared by test binaries")]
mod sweep;
mod world;

use std::process::ExitCode;

use support::{Skip, canary};

fn main() -> ExitCode {
    runner::run(
        &[
            ("a_leaky_program_is_caught_everywhere", control::caught),
            ("secrets_stay_where_they_belong", secrets::stay),
            (
                "an_old_connection_takes_its_last_answer_with_it",
                secrets::go_with_old_connections,
            ),
            ("a_crash_leaves_nothing", aftermath::crash),
        ],
        &[("leaky", leaky::role)],
    )
}
