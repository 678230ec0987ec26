//! Moves a credential out of a `.env` file.
//!
//! Owns the order of the steps, in which the only copy of a credential is never lost: read the file (`source`, `dotenv`),
//! choose its variables (`choice`), have the issuer grant a token for them, place them in the backend and mark the secret for
//! rotation (`rotation`), and last overwrite and remove the file, or replace it by one without these variables if it sets
//! more. A failure before that leaves backend and file unchanged, and after a crash the same import can be run again. Never
//! prints: `cli` does.

mod choice;
pub mod dotenv;
mod error;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use claviger_backend::{
    BackendName, Fetched, Kind, OperationId, Secret, SecretName, SecretRef, VersionId,
    VersionSelector,
};

use crate::config::Config;
use crate::registry::Backends;
use claviger_core::rotation::{self, Mark, Placement, Reason, Target, Unmarked};
use claviger_core::secrets::{Live, object, pick_one};
use claviger_core::tokens::source::{Ask, TokenSource as _, Urgency};
use claviger_oauth::{ClientId, Credential, Issuer, IssuerSettings, TokenClient};
use claviger_runtime::clock::Clock;

pub(crate) use choice::{Choice, Wish};
pub(crate) use error::Error;
pub(crate) use source::{Source, SourceFault};

/// The result of an import.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The current versions, in the order of the placements.
    pub(crate) versions: Vec<VersionId>,
    /// Whether the credential is marked for rotation, durably and for every node.
    pub(crate) mark: Result<(), Unmarked>,
}

/// A prepared import.
#[derive(Debug)]
pub(crate) struct Import<'a> {
    pub(crate) choice: Choice<'a>,
    source: Source,
    /// One per secret, in the order of their names.
    pub(crate) placements: Vec<Placement>,
    /// The values that the client authenticates with.
    credential: Vec<Live>,
}

/// A value of the file, and the reference to place it at.
#[derive(Clone, Copy)]
struct Part<'a> {
    reference: &'a SecretRef,
    value: &'a Secret,
}

/// Opens a file to import it.
pub(crate) fn open(path: &Path) -> Result<Source, Error> {
    Source::open(path).map_err(|source| Error::Source {
        path: path.to_owned(),
        source,
    })
}

impl<'a> Import<'a> {
    /// Finds out which values belong where, and what the backend has there. Sends nothing to an issuer and changes nothing.
    ///
    /// # Errors
    /// [`Error`]: why the import cannot be carried out.
    pub(crate) async fn prepare(
        config: &'a Config,
        backends: &Backends,
        source: Source,
        wish: &Wish<'_>,
    ) -> Result<Self, Error> {
        let variables = source.variables().map_err(|fault| Error::Line {
            path: source.path().to_owned(),
            source: fault,
        })?;
        let choice = choice::choose(config, variables, wish)?;
        let parts = parts(&choice)?;
        Ok(Self {
            placements: placements(backends, &parts).await?,
            credential: credential(backends, &choice, &parts).await?,
            choice,
            source,
        })
    }

    /// Proves, places and marks the credential, then clears the file.
    ///
    /// # Errors
    /// [`Error`]. The file is unchanged unless it is [`Error::Unfinished`], and readers see the former values unless it is that
    /// or [`PlaceError::Unconfirmed`](rotation::PlaceError::Unconfirmed).
    pub(crate) async fn carry_out(&self, clock: Arc<dyn Clock>) -> Result<Outcome, Error> {
        self.prove(Arc::clone(&clock)).await?;
        let operation: OperationId = format!("import-env-{:032x}", fastrand::u128(..))
            .parse()
            .map_err(|_never| Error::Internal)?;
        let versions = rotation::place(&self.placements, &operation).await?;
        let mark = self.mark(&versions, &*clock).await;
        self.clear_file()?;
        Ok(Outcome { versions, mark })
    }

    /// Requests a token as the daemon would. The token is zeroed and not revoked: some issuers revoke all tokens of a client
    /// with one.
    async fn prove(&self, clock: Arc<dyn Clock>) -> Result<(), Error> {
        let Choice { client, token, .. } = self.choice;
        let issuer = Issuer::new(IssuerSettings::clone(&client.issuer), Arc::clone(&clock))
            .map_err(Error::Issuer)?;
        let credential = Credential::new(client, |reference| {
            self.credential
                .iter()
                .find(|value| value.reference() == reference)
                .map_or_else(
                    || Live::missing(reference.clone(), clock.now().after(Duration::ZERO)),
                    Live::clone,
                )
        });
        let client = TokenClient::new(Arc::new(issuer), token.clone(), credential);
        let granted = client
            .obtain(&Ask::client(token.scopes.clone()), Urgency::Needed)
            .await;
        granted.map(drop).map_err(Error::Refused)
    }

    /// Marks the version of the secret for rotation, where rotation will look for it.
    async fn mark(&self, versions: &[VersionId], clock: &dyn Clock) -> Result<(), Unmarked> {
        let SecretRef { backend, name, .. } = self.choice.client.auth.secret();
        let address = format!("{backend}:{name}");
        let (target, version) = self
            .placements
            .iter()
            .map(Placement::target)
            .zip(versions)
            .find(|(target, _)| target.address == address)
            .ok_or(Unmarked::NoRegister)?;
        let register = target.backend.register.as_deref();
        let mark = Mark {
            version: version.clone(),
            reason: Reason::LayInTheClear,
            at: clock.now().wall,
        };
        rotation::set(register.ok_or(Unmarked::NoRegister)?, name, &mark).await
    }

    fn clear_file(&self) -> Result<(), Error> {
        let cleared = if self.choice.has_others {
            let spans: Vec<_> = self
                .choice
                .variables()
                .map(|one| one.span.clone())
                .collect();
            self.source.rewrite_without(&spans)
        } else {
            self.source.remove()
        };
        cleared.map_err(|source| Error::Unfinished {
            path: self.source.path().to_owned(),
            source,
        })
    }
}

/// The values and their references. An identifier in the configuration has no reference, but must be the same.
fn parts<'a>(choice: &'a Choice<'_>) -> Result<Vec<Part<'a>>, Error> {
    let Choice { client, secret, .. } = choice;
    if let Some(empty) = choice.variables().find(|one| one.value.is_empty()) {
        return Err(Error::Empty(empty.line));
    }
    let mut parts = Vec::new();
    if let Some(id) = &choice.id {
        match &client.id {
            ClientId::Reference(reference) => parts.push(Part {
                reference,
                value: &id.value,
            }),
            ClientId::Literal(literal) if id.value.same_as(&Secret::from_text(literal.clone())) => {
            }
            ClientId::Literal(_) => {
                return Err(Error::OtherClient {
                    line: id.line,
                    client: client.name.to_string(),
                });
            }
        }
    }
    parts.push(Part {
        reference: client.auth.secret(),
        value: &secret.value,
    });
    Ok(parts)
}

/// The values that the client authenticates with: those of the file, and the backend's identifier if the file sets none.
async fn credential(
    backends: &Backends,
    choice: &Choice<'_>,
    parts: &[Part<'_>],
) -> Result<Vec<Live>, Error> {
    // A value of the file has no version yet; a handle needs one.
    let version: VersionId = "imported".parse().map_err(|_never| Error::Internal)?;
    let mut credential = Vec::new();
    for Part { reference, value } in parts {
        let value = object::with_part(None, None, value).map_err(|_never| Error::Internal)?;
        credential.push(Live::fixed((*reference).clone(), value, version.clone()));
    }
    if let (ClientId::Reference(reference), None) = (&choice.client.id, &choice.id) {
        let absent = || Error::NoIdentifier(reference.to_string());
        let fetched = current(backends, reference).await?.ok_or_else(absent)?;
        let value = pick_one(&fetched.value, reference.field.as_ref());
        let value = value.map_err(|_absent_or_empty| absent())?;
        credential.push(Live::fixed(reference.clone(), value, fetched.version));
    }
    Ok(credential)
}

/// The version that a reference names; `None` if there is no such secret.
async fn current(backends: &Backends, reference: &SecretRef) -> Result<Option<Fetched>, Error> {
    let backend = backends.get(&reference.backend).ok_or(Error::Internal)?;
    let source = &backend.secrets;
    match source.fetch(&reference.name, &reference.version).await {
        Ok(fetched) => Ok(Some(fetched)),
        Err(error) if error.kind == Kind::NotFound => Ok(None),
        Err(source) => Err(Error::Backend {
            address: reference.to_string(),
            source,
        }),
    }
}

/// One placement per secret.
async fn placements(backends: &Backends, parts: &[Part<'_>]) -> Result<Vec<Placement>, Error> {
    let mut secrets = BTreeMap::<(&BackendName, &SecretName), Vec<Part<'_>>>::new();
    for part in parts {
        let SecretRef { backend, name, .. } = part.reference;
        if part.reference.version != VersionSelector::Current {
            return Err(Error::Pinned(part.reference.to_string()));
        }
        secrets.entry((backend, name)).or_default().push(*part);
    }
    let mut placements = Vec::new();
    for ((backend, name), parts) in secrets {
        let target = Target {
            backend: backends.get(backend).ok_or(Error::Internal)?.clone(),
            name: name.clone(),
            address: format!("{backend}:{name}"),
        };
        let former = match parts.first() {
            Some(part) => current(backends, part.reference).await?,
            None => None,
        };
        placements.push(placement(target, former, &parts)?);
    }
    Ok(placements)
}

/// The placement of `parts` in one secret, whose other fields stay.
fn placement(
    target: Target,
    former: Option<Fetched>,
    parts: &[Part<'_>],
) -> Result<Placement, Error> {
    let (mut value, former) = match former {
        Some(former) if holds(&former.value, parts) => {
            return Ok(Placement::unchanged(target, former));
        }
        Some(former) => (Some(former.value), Some(former.version)),
        None => (None, None),
    };
    for part in parts {
        let field = part.reference.field.as_ref();
        let next = object::with_part(value.as_ref(), field, part.value);
        value = Some(next.map_err(|source| Error::Unfit {
            address: target.address.clone(),
            source,
        })?);
    }
    match value {
        Some(value) if holds(&value, parts) => Ok(Placement::new(target, former, value)?),
        _ => Err(Error::Clash(target.address)),
    }
}

/// Whether readers find the parts in `value`.
fn holds(value: &Secret, parts: &[Part<'_>]) -> bool {
    parts.iter().all(|part| {
        let found = pick_one(value, part.reference.field.as_ref());
        found.is_ok_and(|found| found.same_as(part.value))
    })
}
