//! What the admin service needs from whoever runs the daemon.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

/// The daemon, as its admin service sees it. Implemented by `daemon`.
#[async_trait]
pub trait Operator: std::fmt::Debug + Send + Sync {
    /// What the daemon knows of itself. Cheap; asks nobody.
    fn overview(&self) -> Overview;

    /// Reads the configuration again and puts it into force as a whole, or not at all. Returns what changed.
    ///
    /// # Errors
    /// All problems of the file; nothing has changed then.
    async fn reload(&self, dry_run: bool) -> Result<Vec<String>, Vec<String>>;
}

/// What the daemon knows of itself.
#[derive(Clone, Debug)]
pub struct Overview {
    /// When it started.
    pub started: SystemTime,
    /// The configuration file in force.
    pub config_path: PathBuf,
    /// The first 16 hexadecimal digits of its digest.
    pub config_digest: String,
    /// When it was put into force.
    pub config_loaded: SystemTime,
    /// Whether everything that is configured can be served.
    pub ready: bool,
    /// The types of the backends, by name.
    pub backend_kinds: Vec<(String, &'static str)>,
    /// The issuers.
    pub issuers: Vec<IssuerOverview>,
    /// How the process is protected.
    pub protections: Vec<ProtectionOverview>,
    /// What the operator should look at.
    pub warnings: Vec<String>,
}

/// One issuer.
#[derive(Clone, Debug)]
pub struct IssuerOverview {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its issuer identifier.
    pub issuer: String,
    /// Whether its endpoints are known.
    pub discovered: bool,
    /// The class of the last failure, if the last call failed.
    pub last_error: Option<&'static str>,
    /// When it last answered.
    pub last_success: Option<SystemTime>,
    /// How far its clock is ahead, in seconds.
    pub clock_skew_seconds: i64,
}

/// One protection of the process.
#[derive(Clone, Debug)]
pub struct ProtectionOverview {
    /// What it is.
    pub name: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// What the kernel reports.
    pub detail: String,
}
