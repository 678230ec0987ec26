//! claviger: a node-local credential broker.
//!
//! A request travels `server` → `peer` → `policy` → `broker` → `tokens` or `secrets`; read `broker` first. The floors, and
//! what each module owns and never does, are in ARCHITECTURE.md; `tests/tidy.rs` holds the code to them.

pub mod cli;
pub mod clock;
pub mod oauth;
pub mod peer;
pub mod policy;
pub mod registry;
pub mod secrets;
pub mod server;
pub mod shutdown;
pub mod telemetry;
