//! What the admin service needs from the daemon.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use crate::{IssuerNotRefreshed, ReloadRefused, Reloaded};
use claviger_runtime::clock::Moment;

/// The daemon, as its admin service sees it. Implemented by `daemon`.
#[async_trait]
pub trait Operator: std::fmt::Debug + Send + Sync {
    /// The state of the daemon. Cheap; sends nothing.
    fn overview(&self) -> Overview;

    /// Reads the configuration again and installs it as a whole, or not at all. Once begun it runs to its end, whether or not
    /// the caller waits for that. With `dry_run` it installs nothing.
    ///
    /// # Errors
    /// Why the configuration was refused; nothing has changed then.
    async fn reload(self: Arc<Self>, dry_run: bool) -> Result<Reloaded, ReloadRefused>;

    /// Reads an issuer's metadata now and accepts it, also if a change of it waits for an operator. Returns whether it differs
    /// from the metadata before.
    ///
    /// # Errors
    /// Why it was not read.
    async fn refresh_issuer(&self, name: &str) -> Result<bool, IssuerNotRefreshed>;
}

/// The state of the daemon.
#[derive(Clone, Debug)]
pub struct Overview {
    /// When it started.
    pub started: SystemTime,
    /// The configuration file in force.
    pub config_path: PathBuf,
    /// The first 16 hexadecimal digits of its digest.
    pub config_digest: String,
    /// When it was installed.
    pub config_loaded: SystemTime,
    /// Whether everything that is configured can be served.
    pub ready: bool,
    /// The backends, by name.
    pub backends: Vec<BackendOverview>,
    /// The issuers.
    pub issuers: Vec<IssuerOverview>,
    /// The resources that must name the issuer of a token, in the order of the tokens.
    pub resources: Vec<ResourceOverview>,
    /// How the process is protected.
    pub protections: Vec<ProtectionOverview>,
    /// What the operator should look at.
    pub warnings: Vec<String>,
}

/// One backend.
#[derive(Clone, Debug)]
pub struct BackendOverview {
    /// Its name in the configuration.
    pub name: String,
    /// Its type, for example `file`.
    pub kind: &'static str,
    /// Whether it answered the last request; true before the first.
    pub reachable: bool,
    /// The class of the last failure, if the last request failed.
    pub last_error: Option<&'static str>,
    /// When a request last succeeded.
    pub last_success: Option<Moment>,
}

/// One issuer.
#[derive(Clone, Debug)]
pub struct IssuerOverview {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its issuer identifier.
    pub issuer: String,
    /// Its endpoints; `None` if they are not known yet.
    pub metadata: Option<MetadataOverview>,
    /// The class of the last failure, if the last call failed.
    pub last_error: Option<&'static str>,
    /// What that means and what to do about it.
    pub last_error_detail: Option<String>,
    /// When it last answered.
    pub last_success: Option<SystemTime>,
    /// How far its clock is ahead, in seconds.
    pub clock_skew_seconds: i64,
}

/// One resource of one token.
#[derive(Clone, Debug)]
pub struct ResourceOverview {
    /// The token's name in the configuration.
    pub token: Arc<str>,
    /// The identifier of the issuer that it must name.
    pub issuer: String,
    /// The resource exactly as configured.
    pub resource: String,
    /// What it says; `None` if it was not asked yet, or does not name the issuer.
    pub metadata: Option<ResourceMetadataOverview>,
}

/// An issuer's endpoints (RFC 8414).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointsOverview {
    /// `token_endpoint`.
    pub token: String,
    /// `revocation_endpoint`, if there is one.
    pub revocation: Option<String>,
    /// `token_endpoint_auth_methods_supported`, registered names only; `None` if the issuer does not say.
    pub auth_methods: Option<Vec<&'static str>>,
}

/// An issuer's endpoints as they are used, and where they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataOverview {
    /// The endpoints in use.
    pub used: EndpointsOverview,
    /// The fields of `used` that the configuration gives.
    pub configured: Vec<&'static str>,
    /// When the others were read; `None` if the configuration gives them all.
    pub read: Option<Moment>,
    /// Whether they are older than they should be, or the last attempt to read them failed.
    pub stale: bool,
    /// What the issuer has published since, if that waits for an operator.
    pub waiting: Option<EndpointsOverview>,
    /// The fields in which `waiting` differs from `used`.
    pub differences: Vec<&'static str>,
}

/// What a resource publishes about itself (RFC 9728).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceMetadataOverview {
    /// `resource`.
    pub resource: String,
    /// `scopes_supported`, if the resource says.
    pub scopes: Option<Vec<String>>,
    /// When it was read.
    pub read: Moment,
    /// Whether it is older than it should be, or the last attempt to read it failed.
    pub stale: bool,
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
