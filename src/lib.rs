//! claviger: a node-local credential broker.
//!
//! This crate is the top of the house: it reads the configuration, opens the backends, wires the daemon and offers the command
//! line. Everything below is in `crates/` and `backends/`. It is a library so that tests can start a daemon in their own
//! process; its API is not stable, the wire protocol (`claviger-proto`) is.
//!
//! A request travels `server` → `peer` → `policy` → `broker` → `tokens` or `secrets`; read `claviger_core::broker` first. The
//! floors, and what each module owns and never does, are in ARCHITECTURE.md; `tests/tidy.rs` holds the code to them.

#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod daemon;
pub mod import;
pub mod registry;
