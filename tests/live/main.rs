//! The daemon against a real authorization server, seen from outside.
//!
//! Each test starts its own server and its own daemon, and judges by the server's log and by the answers on the socket
//! alone. `make rig` installs the server; without it, the tests say that they are skipped.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    unreachable_pub,
    reason = "helpers of tests: what goes wrong is reported by a panic"
)]

#[path = "../support/mod.rs"]
mod support;

mod faults;
mod grants;
mod grpcurl;
mod h2spec;
mod import;
mod peers;
mod refusals;
mod rig;
mod secrecy;
mod sharing;
mod world;
