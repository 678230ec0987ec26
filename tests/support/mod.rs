//! What tests with real processes share: servers, the daemon, clients, other users, and the search for leaked secrets.
//!
//! Everything that is started here ends when its value is dropped, by its own process id. A test that cannot run says so
//! through [`OrSkip`]; with `STRICT=1` that is a failure. Waiting is bounded everywhere, and a wait that ends without the
//! awaited thing panics with what was seen instead.

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

/// Where `tests/rig/setup.sh` installs.
pub fn rig() -> PathBuf {
    root().join("target/rig")
}

/// Whether it has installed a part; each has a stamp.
pub fn installed(part: &str) -> Result<(), Skip> {
    if rig().join(format!("{part}.stamp")).exists() {
        Ok(())
    } else {
        Err(Skip::because(format!(
            "{part} is not installed (`make rig`)"
        )))
    }
}
