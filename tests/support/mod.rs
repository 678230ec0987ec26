//! Shared by tests with real processes: servers, the daemon, clients, other users, and the search for leaked secrets.
//!
//! Dropping a value ends the process it started, by its process id. A test that cannot run is skipped through [`OrSkip`];
//! with `STRICT=1` that is a failure. Every wait is bounded, and one that times out panics with what was observed instead.

pub mod canary;
pub mod client;
pub mod daemon;
pub mod oidc;
pub mod skip;
pub mod user;

pub use client::Caller;
pub use daemon::{Daemon, Site};
pub use oidc::OidcProvider;
pub use skip::{OrSkip, Skip};

use std::path::PathBuf;

/// The root of the workspace.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Where `tests/rig/setup.sh` installs the rig.
pub fn rig() -> PathBuf {
    root().join("target/rig")
}

/// Whether a part of the rig is installed; each part has a stamp.
pub fn installed(part: &str) -> Result<(), Skip> {
    if rig().join(format!("{part}.stamp")).exists() {
        Ok(())
    } else {
        Err(Skip::because(format!(
            "{part} is not installed (`make rig`)"
        )))
    }
}
