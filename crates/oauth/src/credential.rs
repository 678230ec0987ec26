//! A client's identifier and secret, on their way into one request.
//!
//! Owns the handles on what a client authenticates with, and which version of it a request uses. The values live in
//! `secrets`, which replaces them as the backend does; each request uses the newest ones, or the ones before if the issuer
//! refuses those. Next: `proof`, which puts them into a request.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use claviger_backend::SecretRef;

use crate::proof::{self, Proof};
use crate::request::FormRequest;
use crate::values::{Identifier, Values};
use crate::{ClientId, ClientSettings, ErrorKind};
use claviger_core::secrets::{Live, Missing, Pace, Reread};
use claviger_runtime::clock::Moment;

/// Handles on what a client authenticates with, and the way it does.
#[derive(Debug)]
pub struct Credential {
    id: Identifier<Live>,
    secret: Live,
    proof: Box<dyn Proof>,
}

/// Which version of the credential a request uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generation {
    /// The newest.
    Current,
    /// The one that it replaced.
    Previous,
}

impl Credential {
    /// The credential that `settings` describes; `live` gives the handle on a reference of theirs.
    pub fn new(settings: &ClientSettings, live: impl Fn(&SecretRef) -> Live) -> Self {
        let id = match &settings.id {
            ClientId::Literal(id) => Identifier::Literal(id.as_str().into()),
            ClientId::Reference(reference) => Identifier::Referred(live(reference)),
        };
        Self {
            id,
            secret: live(settings.auth.secret()),
            proof: proof::of(&settings.auth),
        }
    }

    /// A number for the cached versions: the same as long as those are, also for another configuration's handles on them.
    /// `None` if one of them is missing.
    pub(super) fn number(&self, now: Moment) -> Option<u64> {
        // Unkeyed on purpose: the number must be the same after a reload. It is no secret, and no peer chooses its input.
        let mut hasher = DefaultHasher::new();
        let mut add = |live: &Live| {
            let version = live.current(now).ok()?;
            // With the generation: another store may have another value under the same version.
            (live.reference(), &version.id, version.generation).hash(&mut hasher);
            Some(())
        };
        add(&self.secret)?;
        match &self.id {
            Identifier::Literal(id) => id.hash(&mut hasher),
            Identifier::Referred(live) => add(live)?,
        }
        Some(hasher.finish())
    }

    /// The values that a request uses now.
    ///
    /// # Errors
    /// `NoCredential` if one of them is missing.
    pub(super) fn values(&self, generation: Generation, now: Moment) -> Result<Values, ErrorKind> {
        let of = |live: &Live| match generation {
            Generation::Current => live.current(now),
            // A half that was not replaced is the same in both generations.
            Generation::Previous => live.previous(now).map_or_else(|| live.current(now), Ok),
        };
        Ok(Values {
            id: match &self.id {
                Identifier::Literal(id) => Identifier::Literal(Arc::clone(id)),
                Identifier::Referred(live) => Identifier::Referred(of(live).map_err(missing)?),
            },
            secret: of(&self.secret).map_err(missing)?,
        })
    }

    /// Whether a version before the current one is still cached.
    pub(super) fn has_previous(&self, now: Moment) -> bool {
        let id = match &self.id {
            Identifier::Literal(_) => None,
            Identifier::Referred(live) => live.previous(now),
        };
        id.or_else(|| self.secret.previous(now)).is_some()
    }

    /// Reads both halves from their backend again. Returns whether one has changed.
    pub(super) async fn reread(&self, pace: Pace) -> bool {
        let id = async {
            match &self.id {
                Identifier::Literal(_) => Reread::Unchanged,
                Identifier::Referred(live) => live.reread(pace).await,
            }
        };
        let (id, secret) = futures_util::join!(id, self.secret.reread(pace));
        id == Reread::Changed || secret == Reread::Changed
    }

    /// Adds client authentication to a request. Returns the values that it used.
    ///
    /// # Errors
    /// `NoCredential` if a value is missing; else why no proof can be made.
    pub(super) async fn prove(
        &self,
        request: &mut FormRequest,
        generation: Generation,
        now: Moment,
    ) -> Result<Values, ErrorKind> {
        let values = self.values(generation, now)?;
        self.proof.prove(request, &values).await?;
        Ok(values)
    }

    /// The name of the method in metadata.
    pub(super) fn method(&self) -> &'static str {
        self.proof.method()
    }
}

fn missing(missing: Missing) -> ErrorKind {
    ErrorKind::NoCredential {
        retry_after: missing.retry_in,
    }
}
