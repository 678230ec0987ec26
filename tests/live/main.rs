//! The daemon against a real authorization server, seen from outside.
//!
//! Each test starts its own server and its own daemon, and checks only the server's log and the answers on the socket.
//! `make rig` installs the server; without it, the tests report that they are skipped.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    unreachable_pub,
    reason = "test helpers report failures by a panic"
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
