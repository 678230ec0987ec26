//! Whether a resource accepts tokens of the issuer.
//!
//! Owns the metadata of protected resources (RFC 9728): read where the resource itself puts it, accepted only if it names
//! exactly the configured resource, and used for one thing, to confirm the configured issuer. It never leads to another one:
//! otherwise an attacker who can change a resource's metadata could have the client's credential sent anywhere. Knows no
//! credential and no token. How long a document is kept, and that one request serves all callers, is in `document`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::ErrorKind;
use crate::document::{Change, Document, Kept, Known, Reader};
use crate::failed::Failed;
use claviger_oauth_wire::Scopes;
use claviger_oauth_wire::resource_metadata::{self, ResourceMetadata};
use claviger_outbound::endpoint::EndpointRules;
use claviger_runtime::telemetry::{EVENTS, Event};

/// The resources that tokens of one issuer are for.
#[derive(Debug)]
pub(crate) struct Resources {
    issuer: Confirmed,
    /// By their text. Dropped with the last token that is for them.
    known: Mutex<HashMap<String, Weak<Resource>>>,
}

/// The issuer that resources must name, and how their metadata is read.
#[derive(Clone, Debug)]
struct Confirmed {
    name: Arc<str>,
    /// The issuer exactly as configured.
    issuer: String,
    rules: EndpointRules,
    reader: Reader,
}

/// One resource.
#[derive(Debug)]
pub(crate) struct Resource(Kept<ResourceDocument>);

#[derive(Debug)]
struct ResourceDocument {
    /// The resource exactly as configured.
    resource: String,
    issuer: Confirmed,
}

/// What a resource says about itself, once it has named the issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// The resource exactly as configured.
    pub resource: String,
    /// The scopes that mean something there, if it says. What is no scope (RFC 6749 §3.3) is ignored.
    pub scopes: Option<Vec<String>>,
}

impl Resources {
    /// Without any resource yet. `issuer` is the identifier exactly as configured; `reader` has the trust of the issuer's
    /// settings.
    pub(crate) fn new(
        name: Arc<str>,
        issuer: String,
        rules: EndpointRules,
        reader: Reader,
    ) -> Self {
        Self {
            issuer: Confirmed {
                name,
                issuer,
                rules,
                reader,
            },
            known: Mutex::default(),
        }
    }

    /// The resource of this text, shared by all callers.
    pub(crate) fn get(&self, resource: &str) -> Arc<Resource> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(resource) = known.get(resource).and_then(Weak::upgrade) {
            return resource;
        }
        known.retain(|_, one| one.strong_count() > 0);
        let document = ResourceDocument {
            resource: resource.to_owned(),
            issuer: self.issuer.clone(),
        };
        let one = Arc::new(Resource(Kept::new(document, &self.issuer.reader)));
        known.insert(resource.to_owned(), Arc::downgrade(&one));
        one
    }
}

impl Resources {
    /// The last good metadata of the resource of this text; `None` if no token is for it, or it was never read. Makes no
    /// request.
    pub(crate) fn known(&self, resource: &str) -> Option<Known<Vouched>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let resource = known.get(resource).and_then(Weak::upgrade)?;
        drop(known);
        resource.0.known()
    }
}

impl Resource {
    /// Checks that the resource names the issuer; requests its metadata if need be, and waits at most `limit` for that.
    ///
    /// # Errors
    /// [`ErrorKind::ResourceMismatch`] if it does not, or has no metadata; else why the metadata could not be read.
    pub(crate) async fn vouched(&self, limit: Duration) -> Result<Arc<Vouched>, Failed> {
        let vouched = self.0.current(limit).await;
        vouched.map_err(|failed| {
            if let ErrorKind::Refused { status } = failed.kind {
                // There is no metadata: a mistake in the configuration, here or at the resource.
                return Failed::with(ErrorKind::ResourceMismatch, format!("HTTP {status}"));
            }
            failed
        })
    }
}

impl Document for ResourceDocument {
    type Checked = Vouched;

    async fn fetch(&self) -> Result<Vouched, Failed> {
        let place =
            resource_metadata::well_known(&self.resource).ok_or(ErrorKind::ResourceMismatch)?;
        let url = self.issuer.rules.configured(&place).map_err(|flaw| {
            tracing::warn!(resource = %self.resource, %flaw, "the resource is not acceptable");
            ErrorKind::ResourceMismatch
        })?;
        let reader = &self.issuer.reader;
        let answer = reader.read(&url, resource_metadata::MAX_BODY).await?;
        let metadata = resource_metadata::parse(&answer.body.0).map_err(|flaw| {
            tracing::debug!(resource = %self.resource, bytes = answer.body.0.len(), %flaw, "metadata");
            ErrorKind::InvalidResponse
        })?;
        self.check(metadata)
    }

    fn changed(&self, _old: &Vouched, new: &Vouched) -> Change {
        tracing::info!(resource = %new.resource, "the resource's metadata has changed");
        Change::Adopt
    }

    /// A document that contradicts the configuration replaces the one before; a failed request does not.
    fn failed(&self, failed: &Failed) -> bool {
        tracing::warn!(
            resource = %self.resource,
            issuer = %self.issuer.name,
            reason = failed.kind.as_str(),
            detail = %failed.detail,
            "the resource's metadata does not confirm the issuer"
        );
        failed.kind != ErrorKind::ResourceMismatch
    }
}

impl ResourceDocument {
    fn check(&self, metadata: ResourceMetadata) -> Result<Vouched, Failed> {
        let field = if !metadata.is_about(&self.resource) {
            Some("resource")
        } else if !metadata.names(&self.issuer.issuer) {
            Some("authorization_servers")
        } else {
            None
        };
        if let Some(field) = field {
            tracing::warn!(
                target: EVENTS,
                event_type = Event::ResourceMismatch.name(),
                resource = %self.resource,
                issuer = %self.issuer.name,
                field,
                "the resource's metadata contradicts the configuration"
            );
            let fact = format!("its `{field}` contradicts the configuration");
            return Err(Failed::with(ErrorKind::ResourceMismatch, fact));
        }
        if !metadata.takes_bearer() {
            tracing::warn!(resource = %self.resource, "the resource says that it takes no bearer tokens");
        }
        let mut scopes = metadata.scopes_supported;
        if let Some(scopes) = &mut scopes {
            scopes.retain(|scope| Scopes::new([scope]).is_ok());
        }
        Ok(Vouched {
            resource: metadata.resource,
            scopes,
        })
    }
}
