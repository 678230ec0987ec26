//! claviger: a node-local credential broker.
//!
//! This is the top crate: it reads the configuration, opens the backends, wires the daemon and offers the command
//! line. Everything below is in `crates/` and `backends/`. It is a library so that tests can start a daemon in their own
//! process; its API is not stable, the wire protocol (`claviger-proto`) is.
//!
//! A request travels `server` → `peer` → `policy` → `broker` → `tokens` or `secrets`; read `claviger_core::broker` first. The
//! floors, and what each module owns and never does, are in ARCHITECTURE.md; `tests/tidy.rs` holds the code to them.

#![forbid(unsafe_code)]

pub mod cli;
mod config;
mod daemon;
mod import;
mod registry;

/// What integration tests and fuzz targets use of the other rooms, with the types in its signatures. Not an API.
#[doc(hidden)]
pub mod testing {
    pub use crate::config::{Accounts, AccountsUnavailable, Config, HeldReference, Problems};
    pub use crate::daemon::{Error as DaemonError, Launch, Running, start};
    pub use crate::import::dotenv;
    pub use crate::registry::{BackendSettings, Backends, Unopened, file_store, open_all};
}
