//! The state in force: one value, replaced by one pointer.
//!
//! Owns [`InForce`], the configuration with everything that was built from it, and [`Current`], the pointer to
//! it. The broker reads the world in it, operators read the rest, so both always see the same configuration. Never changes a
//! part of it: a reload builds the next one and installs it as a whole. Next: `assembly` builds one, `reload` installs it.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;

use crate::config::Config;
use crate::registry::Backends;
use claviger_core::broker::{CurrentWorld, World};
use claviger_oauth::Issuer;

/// A configuration, and what was built from it.
#[derive(Debug)]
pub(super) struct InForce {
    pub(super) config: Config,
    pub(super) backends: Backends,
    pub(super) issuers: Vec<Arc<Issuer>>,
    pub(super) world: Arc<World>,
    /// When it was built.
    pub(super) loaded: SystemTime,
}

impl InForce {
    /// The issuer with this name in the configuration.
    pub(super) fn issuer(&self, name: &str) -> Option<&Arc<Issuer>> {
        self.issuers.iter().find(|issuer| **issuer.name() == *name)
    }
}

/// The one that is in force.
#[derive(Debug)]
pub(super) struct Current(ArcSwap<InForce>);

impl Current {
    pub(super) fn new(first: InForce) -> Self {
        Self(ArcSwap::from_pointee(first))
    }

    pub(super) fn get(&self) -> Arc<InForce> {
        self.0.load_full()
    }

    /// Replaces it, for every request that begins from now on, on open connections too.
    pub(super) fn install(&self, next: InForce) {
        self.0.store(Arc::new(next));
    }
}

impl CurrentWorld for Current {
    fn world(&self) -> Arc<World> {
        Arc::clone(&self.0.load().world)
    }
}
