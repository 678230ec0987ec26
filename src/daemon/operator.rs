//! What operators see of the daemon, and what is in force. What they do to it is in `reload`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::config::Config;
use crate::daemon::assembly::Assembled;
use crate::registry::Backends;
use claviger_core::broker::Broker;
use claviger_core::secrets::Secrets;
use claviger_kernel::Report;
use claviger_oauth::{
    Discovered, ErrorKind, Issuer, IssuerMetadata, IssuerStatus, ResourceMetadata,
};
use claviger_runtime::clock::{Clock, Moment};
use claviger_runtime::shutdown::Drain;
use claviger_server::{
    EndpointsOverview, IssuerOverview, MetadataOverview, Operator, Overview, ProtectionOverview,
    ResourceMetadataOverview, ResourceOverview,
};

/// The configuration that is in force, and what was built from it.
#[derive(Debug)]
pub(super) struct InForce {
    pub(super) config: Config,
    pub(super) backends: Backends,
    pub(super) assembled: Assembled,
    loaded: SystemTime,
}

impl InForce {
    pub(super) fn new(
        config: Config,
        backends: Backends,
        assembled: Assembled,
        clock: &dyn Clock,
    ) -> Self {
        Self {
            config,
            backends,
            assembled,
            loaded: clock.now().system_time(),
        }
    }
}

/// The daemon as operators see it.
#[derive(Debug)]
pub(super) struct Daemon {
    pub(super) broker: Arc<Broker>,
    pub(super) in_force: Mutex<InForce>,
    /// One reload at a time; the lock above is held for moments only.
    pub(super) reloading: Arc<tokio::sync::Mutex<()>>,
    protections: Report,
    started: SystemTime,
    /// What the host does not give. Never changes.
    shortcomings: Vec<String>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) drain: Drain,
}

impl Daemon {
    pub(super) fn new(
        broker: Arc<Broker>,
        in_force: InForce,
        (protections, shortcomings): (Report, Vec<String>),
        (clock, drain): (Arc<dyn Clock>, Drain),
    ) -> Arc<Self> {
        let started = in_force.loaded;
        Arc::new(Self {
            broker,
            in_force: Mutex::new(in_force),
            reloading: Arc::default(),
            protections,
            started,
            shortcomings,
            clock,
            drain,
        })
    }

    pub(super) fn with<T>(&self, read: impl FnOnce(&InForce) -> T) -> T {
        read(&self.in_force.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The secrets in force.
    pub(super) fn secrets(&self) -> Arc<Secrets> {
        self.with(|in_force| Arc::clone(&in_force.assembled.world.secrets))
    }

    pub(super) fn drain_grace(&self) -> Duration {
        self.with(|in_force| in_force.config.drain_grace)
    }
}

#[async_trait]
impl Operator for Daemon {
    fn overview(&self) -> Overview {
        let ready = self.broker.ready();
        self.with(|in_force| Overview {
            started: self.started,
            config_path: in_force.config.origin.clone(),
            config_digest: in_force.config.digest.clone(),
            config_loaded: in_force.loaded,
            ready,
            backend_kinds: in_force.backends.kinds(),
            issuers: in_force
                .assembled
                .issuers
                .iter()
                .map(|issuer| overview(issuer))
                .collect(),
            resources: resources(in_force),
            protections: self
                .protections
                .protections
                .iter()
                .map(|protection| ProtectionOverview {
                    name: protection.name,
                    holds: protection.holds,
                    detail: protection.detail.clone(),
                })
                .collect(),
            warnings: warnings(in_force)
                .into_iter()
                .chain(self.shortcomings.iter().map(String::clone))
                .collect(),
        })
    }

    async fn reload(self: Arc<Self>, dry_run: bool) -> Result<Vec<String>, Vec<String>> {
        self.reload_at_home(dry_run).await
    }

    async fn refresh_issuer(&self, name: &str) -> Result<bool, (&'static str, &'static str)> {
        let issuer = self.with(|in_force| {
            let mut issuers = in_force.assembled.issuers.iter();
            issuers
                .find(|issuer| &**issuer.name() == name)
                .map(Arc::clone)
        });
        let issuer = issuer.ok_or(("unknown", "The configuration has no issuer of that name."))?;
        if issuer.settings().endpoints.token.is_some() {
            return Err((
                "configured",
                "The configuration gives this issuer's token endpoint, so its metadata is not read.",
            ));
        }
        // At home: what the conversation leaves behind, connections above all, outlives the operator's.
        let refresh = self.drain.spawn(async move { issuer.refresh().await });
        match refresh.await {
            Ok(refreshed) => refreshed.map_err(|error| (error.kind.as_str(), error.kind.remedy())),
            Err(_cut_off) => Err(("stopping", "The daemon is stopping; ask the next one.")),
        }
    }
}

/// What went wrong last, unless it has worked again since.
fn current_error(status: &IssuerStatus) -> Option<ErrorKind> {
    let (kind, failed) = status.last_error?;
    let healed = status.last_success.is_some_and(|worked| worked > failed);
    (!healed).then_some(kind)
}

fn overview(issuer: &Issuer) -> IssuerOverview {
    let status = issuer.status();
    IssuerOverview {
        name: Arc::clone(&issuer.settings().name),
        issuer: issuer.settings().issuer.clone(),
        last_error: current_error(&status).map(ErrorKind::as_str),
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
    let InForce {
        config, assembled, ..
    } = in_force;
    let mut rows = Vec::new();
    for token in config.tokens.iter().filter(|token| token.verify_resource) {
        let name = &token.client.issuer.name;
        let mut issuers = assembled.issuers.iter();
        let Some(issuer) = issuers.find(|one| one.name() == name) else {
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

/// What waits for an operator, then what is odd about the configuration.
fn warnings(in_force: &InForce) -> Vec<String> {
    let waiting = in_force.assembled.issuers.iter().filter_map(|issuer| {
        let fields = issuer.metadata()?.differences();
        let name = issuer.name();
        (!fields.is_empty()).then(|| {
            format!(
                "issuers.{name}: its metadata changed ({}), and what was read before is used on; look at it, then take it with `claviger refresh --issuer {name}`",
                fields.join(", ")
            )
        })
    });
    let configured = in_force.config.warnings.iter().map(ToString::to_string);
    waiting.chain(configured).collect()
}
