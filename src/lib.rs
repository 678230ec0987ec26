//! claviger: a node-local credential broker.
//!
//! This library is the whole program but for its `main`: the daemon, its command line and its demo. It is a library so that
//! tests can start a daemon in their own process; its API is not stable, the wire protocol (`claviger-proto`) is.
//!
//! A request travels `server` → `peer` → `policy` → `broker` → `tokens` or `secrets`; read `broker` first. The floors, and
//! what each module owns and never does, are in ARCHITECTURE.md; `tests/tidy.rs` holds the code to them.

pub mod broker;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod import;
pub mod memory;
pub mod oauth;
pub mod peer;
pub mod policy;
pub mod registry;
pub mod rotation;
pub mod secrets;
pub mod server;
pub mod shutdown;
pub mod telemetry;
pub mod tokens;
