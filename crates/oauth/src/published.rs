//! The metadata of an issuer and of its resources, for operators.
//!
//! Owns the view of it: what was read and checked, since when, and whether it is stale. Nothing else of a document is kept,
//! so nothing else can be shown. Reading this never contacts the issuer; [`Issuer::refresh`] does.

use std::sync::Arc;

use crate::Error;
use crate::discovery::{Discovered, Discovery};
use crate::issuer::Issuer;
use crate::resource::Vouched;
use claviger_runtime::clock::Moment;

/// An issuer's endpoints as they are used, and where they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerMetadata {
    /// The endpoints in use.
    pub used: Discovered,
    /// The fields of it that the configuration gives.
    pub configured: Vec<&'static str>,
    /// When the rest was read; `None` if there is no rest.
    pub read: Option<Moment>,
    /// Whether that is older than it should be, or could not be read again the last time.
    pub stale: bool,
    /// The changed metadata, if it waits for an operator.
    pub waiting: Option<Arc<Discovered>>,
}

/// What a resource says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceMetadata {
    /// What it says, once it has named the issuer.
    pub vouched: Arc<Vouched>,
    /// When that was read.
    pub read: Moment,
    /// Whether it is older than it should be, or could not be read again the last time.
    pub stale: bool,
}

impl IssuerMetadata {
    /// The fields in which the changed metadata differs from that in use.
    #[must_use]
    pub fn differences(&self) -> Vec<&'static str> {
        let waiting = self.waiting.as_ref();
        let mut fields = waiting.map_or_else(Vec::new, |waiting| self.used.differences(waiting));
        fields.retain(|field| !self.configured.contains(field));
        fields
    }
}

impl Issuer {
    /// Its endpoints as far as they are known. `None` if its metadata was never read.
    #[must_use]
    pub fn metadata(&self) -> Option<IssuerMetadata> {
        let endpoints = &self.endpoints;
        let mut configured = Vec::new();
        let given = [
            ("token_endpoint", &endpoints.token),
            ("revocation_endpoint", &endpoints.revocation),
        ];
        for (field, url) in given {
            if url.is_some() {
                configured.push(field);
            }
        }
        let known = endpoints.discovery.as_ref().map(Discovery::known);
        let (used, read, stale, waiting) = match (known, &endpoints.token) {
            (Some(known), _) => {
                let known = known?;
                let used = Discovered::clone(&known.checked);
                (used, Some(known.read), known.stale, known.waiting)
            }
            (None, Some(token)) => {
                let used = Discovered {
                    token: token.clone(),
                    revocation: None,
                    auth_methods: None,
                    scopes: None,
                };
                (used, None, false, None)
            }
            (None, None) => return None,
        };
        let revocation = endpoints.revocation.clone().or(used.revocation);
        Some(IssuerMetadata {
            used: Discovered { revocation, ..used },
            configured,
            read,
            stale,
            waiting,
        })
    }

    /// The metadata of a resource that tokens of this issuer are for, and that must name it. `None` if there is no such
    /// resource, or it could not be read.
    #[must_use]
    pub fn resource_metadata(&self, resource: &str) -> Option<ResourceMetadata> {
        let known = self.resources.known(resource)?;
        Some(ResourceMetadata {
            vouched: known.checked,
            read: known.read,
            stale: known.stale,
        })
    }

    /// Reads its metadata now and accepts it, on behalf of an operator. Returns whether it differs from before.
    ///
    /// # Errors
    /// If the metadata cannot be read or is not acceptable; the last good metadata stays in use.
    pub async fn refresh(&self) -> Result<bool, Error> {
        let Some(discovery) = &self.endpoints.discovery else {
            return Ok(false);
        };
        let refreshed = discovery.refresh(self.settings().outbound.timeout).await;
        if refreshed == Ok(true) {
            tracing::info!(issuer = %self.name(), "an operator took the issuer's metadata as it is now");
        }
        refreshed.map_err(|failed| self.error(&failed))
    }
}
