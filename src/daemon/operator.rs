//! What operators see of the daemon.
//!
//! Owns the overview: names, states and reasons, never a value. Reads the state in force once per answer, so that no answer
//! mixes two configurations. Next: `reload`, what operators do to the daemon.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use claviger_backend::Kind;

use crate::daemon::assembly::Ground;
use crate::daemon::current::{Current, InForce};
use crate::daemon::warning::Warning;
use crate::registry::Health;
use claviger_core::secrets::Secrets;
use claviger_kernel::Report;
use claviger_oauth::{
    Discovered, Issuer, IssuerMetadata, IssuerStatus, LastError, ResourceMetadata,
};
use claviger_runtime::clock::Moment;
use claviger_runtime::reason::{Reasoned as _, advice};
use claviger_server::{
    BackendOverview, EndpointsOverview, IssuerNotRefreshed, IssuerOverview, MetadataOverview,
    Operator, Overview, ProtectionOverview, ReloadRefused, Reloaded, ResourceMetadataOverview,
    ResourceOverview,
};

/// How the process is protected, and what the host lacks. Never changes.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) protections: Report,
    pub(super) shortcomings: Vec<Warning>,
}

/// The daemon as operators see it.
#[derive(Debug)]
pub(super) struct Daemon {
    pub(super) current: Arc<Current>,
    /// One reload at a time.
    pub(super) reloading: Arc<tokio::sync::Mutex<()>>,
    pub(super) ground: Ground,
    host: Host,
    started: SystemTime,
}

impl Daemon {
    pub(super) fn new(current: Arc<Current>, ground: Ground, host: Host) -> Arc<Self> {
        let started = current.get().loaded;
        Arc::new(Self {
            current,
            reloading: Arc::default(),
            ground,
            host,
            started,
        })
    }

    /// The secrets in force.
    pub(super) fn secrets(&self) -> Arc<Secrets> {
        Arc::clone(&self.current.get().world.secrets)
    }

    pub(super) fn drain_grace(&self) -> Duration {
        self.current.get().config.drain_grace
    }
}

#[async_trait]
impl Operator for Daemon {
    fn overview(&self) -> Overview {
        let in_force = self.current.get();
        Overview {
            started: self.started,
            config_path: in_force.config.origin.clone(),
            config_digest: in_force.config.digest.clone(),
            config_loaded: in_force.loaded,
            ready: in_force.world.is_ready(),
            backends: in_force.backends.health().iter().map(backend).collect(),
            issuers: in_force
                .issuers
                .iter()
                .map(|issuer| overview(issuer))
                .collect(),
            resources: resources(&in_force),
            protections: self
                .host
                .protections
                .protections
                .iter()
                .map(|protection| ProtectionOverview {
                    name: protection.name,
                    holds: protection.holds,
                    detail: protection.detail.clone(),
                })
                .collect(),
            warnings: warnings(&in_force)
                .iter()
                .chain(&self.host.shortcomings)
                .map(ToString::to_string)
                .collect(),
        }
    }

    async fn reload(self: Arc<Self>, dry_run: bool) -> Result<Reloaded, ReloadRefused> {
        self.reload_on_main(dry_run).await
    }

    async fn refresh_issuer(&self, name: &str) -> Result<bool, IssuerNotRefreshed> {
        let in_force = self.current.get();
        let issuer = in_force.issuer(name).ok_or(IssuerNotRefreshed::Unknown)?;
        if issuer.settings().endpoints.token.is_some() {
            return Err(IssuerNotRefreshed::Configured);
        }
        let issuer = Arc::clone(issuer);
        // On the main runtime, so that connections to the issuer outlive the operator's connection.
        let refresh = self
            .ground
            .drain
            .spawn(async move { issuer.refresh().await })
            .await;
        match refresh {
            Ok(refreshed) => refreshed.map_err(IssuerNotRefreshed::Failed),
            Err(_cut_off) => Err(IssuerNotRefreshed::Stopping),
        }
    }
}

/// The last error, unless a later request succeeded.
fn current_error(status: &IssuerStatus) -> Option<&LastError> {
    let error = status.last_error.as_ref()?;
    let healed = status.last_success.is_some_and(|worked| worked > error.at);
    (!healed).then_some(error)
}

fn backend(health: &Health) -> BackendOverview {
    BackendOverview {
        name: health.name.to_string(),
        kind: health.kind,
        reachable: health.reachable,
        last_error: health.last_error.map(Kind::as_str),
        last_success: health.last_success,
    }
}

fn overview(issuer: &Issuer) -> IssuerOverview {
    let status = issuer.status();
    let error = current_error(&status);
    IssuerOverview {
        name: Arc::clone(&issuer.settings().name),
        issuer: issuer.settings().issuer.clone(),
        last_error: error.map(|error| error.reason().label()),
        last_error_detail: error.map(advice),
        last_success: status.last_success.map(Moment::system_time),
        clock_skew_seconds: status.clock_skew.unwrap_or(0),
        metadata: status.metadata.map(metadata),
    }
}

fn metadata(metadata: IssuerMetadata) -> MetadataOverview {
    MetadataOverview {
        differences: metadata.differences(),
        used: endpoints(&metadata.used),
        configured: metadata.configured,
        read: metadata.read,
        stale: metadata.stale,
        waiting: metadata.waiting.as_deref().map(endpoints),
    }
}

fn endpoints(endpoints: &Discovered) -> EndpointsOverview {
    EndpointsOverview {
        token: endpoints.token.to_string(),
        revocation: endpoints.revocation.as_ref().map(ToString::to_string),
        auth_methods: endpoints.auth_methods.clone(),
    }
}

fn resource_metadata(metadata: &ResourceMetadata) -> ResourceMetadataOverview {
    ResourceMetadataOverview {
        resource: metadata.vouched.resource.clone(),
        scopes: metadata.vouched.scopes.clone(),
        read: metadata.read,
        stale: metadata.stale,
    }
}

/// The resources that tokens have verified.
fn resources(in_force: &InForce) -> Vec<ResourceOverview> {
    let mut rows = Vec::new();
    let tokens = &in_force.config.tokens;
    for token in tokens.iter().filter(|token| token.verify_resource) {
        let Some(issuer) = in_force.issuer(&token.client.issuer.name) else {
            continue;
        };
        rows.extend(token.resources.iter().map(|resource| {
            ResourceOverview {
                token: Arc::clone(&token.name),
                issuer: issuer.settings().issuer.clone(),
                resource: resource.clone(),
                metadata: issuer
                    .resource_metadata(resource)
                    .as_ref()
                    .map(resource_metadata),
            }
        }));
    }
    rows
}

/// Metadata changes that wait for an operator, then the warnings about the configuration.
fn warnings(in_force: &InForce) -> Vec<Warning> {
    let waiting = in_force.issuers.iter().filter_map(|issuer| {
        let fields = issuer.metadata()?.differences();
        (!fields.is_empty()).then(|| Warning::Metadata {
            issuer: Arc::clone(issuer.name()),
            fields,
        })
    });
    let configured = in_force.config.warnings.iter().cloned();
    waiting
        .chain(configured.map(Warning::Configuration))
        .collect()
}
