//! Where a credential is put, and how.
//!
//! Owns the writing to a backend. What is there is replaced in steps that no reader sees half done: a version is staged, read
//! back and compared, and only then promoted from the one that was current before. What is not there is made once. Until the
//! promotion everything can be taken back, and is if something fails. A lost answer is looked into, never guessed.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use claviger_backend::{
    Backend, BackendError, BackendName, Fetched, Kind, OperationId, Register, Secret, SecretName,
    SecretRef, Staged, VersionId, VersionSelector,
};

use crate::import::error::Error;
use crate::registry::Backends;
use claviger_core::secrets::object::{self, ObjectFault};
use claviger_core::secrets::{Live, Version, pick_one};
use claviger_runtime::clock::Moment;

/// A value that is imported, and where to.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// A handle on it as on any other value.
    pub(super) live: Live,
    version: Arc<Version>,
}

impl Part {
    pub(super) fn new(reference: SecretRef, value: Secret) -> Result<Self, Error> {
        // It has no version yet; the word only has to be one.
        let id = "imported".parse().map_err(|_never| Error::Internal)?;
        let live = Live::fixed(reference, value, id);
        let begin = Moment {
            boot: Duration::ZERO,
            wall: Duration::ZERO,
        };
        let version = live.current(begin).map_err(|_never| Error::Internal)?;
        Ok(Self { live, version })
    }

    fn reference(&self) -> &SecretRef {
        self.live.reference()
    }
}

/// One secret of a backend, and the parts of it that are imported.
#[derive(Debug)]
pub(super) struct Place {
    backend: Backend,
    name: SecretName,
    /// Where it is, for people.
    pub(super) address: String,
    parts: Vec<Part>,
    /// What was there.
    former: Option<Fetched>,
    change: Change,
}

/// What an import does to a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// There is none, and it is made.
    Made,
    /// This version is replaced.
    Replaced(VersionId),
    /// This version has the values already, so nothing is written.
    Unchanged(VersionId),
}

/// A version that was staged and may be taken back.
#[derive(Debug)]
struct Introduced<'a> {
    place: &'a Place,
    from: VersionId,
    to: VersionId,
}

impl Place {
    /// Looks at the secrets that `parts` belong to. Nothing is written.
    pub(super) async fn look(backends: &Backends, parts: &[Part]) -> Result<Vec<Self>, Error> {
        let mut places = Vec::<Self>::new();
        for part in parts {
            let reference = part.reference();
            let SecretRef { backend, name, .. } = reference;
            if reference.version != VersionSelector::Current {
                return Err(Error::Pinned(reference.to_string()));
            }
            match places.iter_mut().find(|place| place.is_of(reference)) {
                Some(place) => place.parts.push(part.clone()),
                None => places.push(Self::find(backends, backend, name, part).await?),
            }
        }
        for place in &mut places {
            place.change = place.compare()?;
            place.require_capability()?;
        }
        Ok(places)
    }

    async fn find(
        backends: &Backends,
        backend: &BackendName,
        name: &SecretName,
        part: &Part,
    ) -> Result<Self, Error> {
        let address = format!("{backend}:{name}");
        let backend = backends.get(backend).ok_or(Error::Internal)?.clone();
        let former = backend.secrets.fetch(name, &VersionSelector::Current);
        let former = match former.await {
            Ok(fetched) => Some(fetched),
            Err(error) if error.kind == Kind::NotFound => None,
            Err(error) => return Err(Error::backend(address, error)),
        };
        Ok(Self {
            backend,
            name: name.clone(),
            address,
            parts: vec![part.clone()],
            former,
            change: Change::Made,
        })
    }

    fn compare(&self) -> Result<Change, Error> {
        if let Some(former) = &self.former
            && self.holds(&former.value)
        {
            return Ok(Change::Unchanged(former.version.clone()));
        }
        // Whether it can be written is found out before anything is.
        if !self.holds(&self.value()?) {
            return Err(Error::Clash(self.address.clone()));
        }
        Ok(match &self.former {
            Some(former) => Change::Replaced(former.version.clone()),
            None => Change::Made,
        })
    }

    fn require_capability(&self) -> Result<(), Error> {
        let is_able = match self.change {
            Change::Made => self.backend.creator.is_some(),
            Change::Replaced(_) => self.backend.rotator.is_some(),
            Change::Unchanged(_) => true,
        };
        if is_able {
            Ok(())
        } else {
            Err(Error::Incapable(self.address.clone()))
        }
    }

    /// Whether this is the secret that a reference is about.
    pub(super) fn is_of(&self, reference: &SecretRef) -> bool {
        let own = self.parts.first().map(Part::reference);
        own.is_some_and(|own| (&own.backend, &own.name) == (&reference.backend, &reference.name))
    }

    /// Where documents about the secret are kept.
    pub(super) fn register(&self) -> Option<&dyn Register> {
        self.backend.register.as_deref()
    }

    pub(super) fn change(&self) -> &Change {
        &self.change
    }

    /// The whole value as it will be.
    fn value(&self) -> Result<Secret, Error> {
        let mut value: Option<Secret> = None;
        for part in &self.parts {
            let former = self.former.as_ref().map(|former| &former.value);
            let field = part.reference().field.as_ref();
            let next = object::with_part(value.as_ref().or(former), field, &part.version.value);
            value = Some(next.map_err(|fault| self.unfit(fault))?);
        }
        value.ok_or(Error::Internal)
    }

    fn unfit(&self, fault: ObjectFault) -> Error {
        Error::Unfit {
            address: self.address.clone(),
            fault,
        }
    }

    /// Whether readers find in `value` what is imported.
    fn holds(&self, value: &Secret) -> bool {
        self.parts.iter().all(|part| {
            let found = pick_one(value, part.reference().field.as_ref());
            found.is_ok_and(|found| same(&found, &part.version.value))
        })
    }

    /// Stages the new value and makes sure that the backend gives back what it was given.
    async fn introduce(
        &self,
        from: &VersionId,
        operation: &OperationId,
    ) -> Result<Introduced<'_>, Error> {
        let rotator = self.backend.rotator.as_ref();
        let rotator = rotator.ok_or_else(|| Error::Incapable(self.address.clone()))?;
        let stage = || async {
            let staged = Staged {
                value: self.value()?,
                operation: operation.clone(),
            };
            Ok::<_, Error>(rotator.stage(&self.name, staged).await)
        };
        let mut staged = stage().await?;
        if staged.as_ref().is_err_and(is_in_doubt) {
            // Create-only by its label: if it was done, it is not done again.
            staged = stage().await?;
        }
        let introduced = Introduced {
            place: self,
            from: from.clone(),
            to: staged.map_err(|error| self.failed(error))?,
        };
        match introduced.is_given_back().await {
            Ok(true) => Ok(introduced),
            Ok(false) => {
                introduced.take_back().await;
                Err(Error::NotGivenBack(self.address.clone()))
            }
            Err(error) => {
                introduced.take_back().await;
                Err(error)
            }
        }
    }

    /// Makes the secret. One that is there with the same values is as good.
    async fn make(&self) -> Result<(), Error> {
        let creator = self.backend.creator.as_ref();
        let creator = creator.ok_or_else(|| Error::Incapable(self.address.clone()))?;
        match creator.create(&self.name, self.value()?).await {
            Ok(_) => Ok(()),
            Err(error) if is_in_doubt(&error) || error.kind == Kind::Conflict => {
                match self.current().await {
                    Ok(current) if self.holds(&current.value) => Ok(()),
                    _ => Err(self.failed(error)),
                }
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn current(&self) -> Result<Fetched, BackendError> {
        let source = &self.backend.secrets;
        source.fetch(&self.name, &VersionSelector::Current).await
    }

    /// The current version, which must have what was imported: only then may the file go.
    pub(super) async fn confirm(&self) -> Result<VersionId, Error> {
        match self.current().await {
            Ok(current) if self.holds(&current.value) => Ok(current.version),
            _ => Err(Error::Unconfirmed(self.address.clone())),
        }
    }

    fn failed(&self, error: BackendError) -> Error {
        Error::backend(self.address.clone(), error)
    }
}

impl Introduced<'_> {
    async fn is_given_back(&self) -> Result<bool, Error> {
        let exact = VersionSelector::Exact(self.to.clone());
        let source = &self.place.backend.secrets;
        let given = source.fetch(&self.place.name, &exact).await;
        let given = given.map_err(|error| self.place.failed(error))?;
        Ok(same(&given.value, &self.place.value()?))
    }

    async fn promote(&self) -> Result<(), Error> {
        let place = self.place;
        let rotator = place.backend.rotator.as_ref();
        let rotator = rotator.ok_or_else(|| Error::Incapable(place.address.clone()))?;
        let promote = || rotator.promote(&place.name, &self.from, &self.to);
        let mut promoted = promote().await;
        if promoted.as_ref().is_err_and(is_in_doubt) {
            // Nothing changes if it was done.
            promoted = promote().await;
        }
        promoted.map_err(|error| place.failed(error))
    }

    /// Has readers see what they saw before, and destroys what they were not to see. If that fails as well, a version that
    /// nobody reads stays behind.
    async fn take_back(&self) {
        if let Some(rotator) = &self.place.backend.rotator {
            drop(
                rotator
                    .promote(&self.place.name, &self.to, &self.from)
                    .await,
            );
            drop(rotator.retire(&self.place.name, &self.to).await);
        }
    }
}

/// Writes all of it: first what can be taken back without anybody noticing, last what readers see.
pub(super) async fn write(places: &[Place], operation: &OperationId) -> Result<(), Error> {
    let mut introduced = Vec::new();
    let written = write_noting(places, operation, &mut introduced).await;
    if written.is_err() {
        for version in introduced.iter().rev() {
            version.take_back().await;
        }
    }
    written
}

async fn write_noting<'a>(
    places: &'a [Place],
    operation: &OperationId,
    introduced: &mut Vec<Introduced<'a>>,
) -> Result<(), Error> {
    for place in places {
        if let Change::Replaced(from) = &place.change {
            introduced.push(place.introduce(from, operation).await?);
        }
    }
    for place in places {
        if place.change == Change::Made {
            place.make().await?;
        }
    }
    for version in &*introduced {
        version.promote().await?;
    }
    Ok(())
}

/// The value that a reference has now, for one that the file does not set.
pub(super) async fn read(backends: &Backends, reference: &SecretRef) -> Result<Live, Error> {
    let backend = backends.get(&reference.backend).ok_or(Error::Internal)?;
    let fetched = backend
        .secrets
        .fetch(&reference.name, &reference.version)
        .await;
    let absent = |kind: Kind| {
        if kind == Kind::NotFound {
            return Error::NoIdentifier(reference.to_string());
        }
        let error = BackendError::new(kind, &reference.backend, "fetch");
        Error::backend(reference.to_string(), error)
    };
    let fetched = match fetched {
        Ok(fetched) => fetched,
        Err(error) if error.kind == Kind::NotFound => return Err(absent(error.kind)),
        Err(error) => return Err(Error::backend(reference.to_string(), error)),
    };
    let value = pick_one(&fetched.value, reference.field.as_ref()).map_err(absent)?;
    Ok(Live::fixed(reference.clone(), value, fetched.version))
}

/// Whether a value is exactly this text, which is no secret.
pub(super) fn is_text(value: &Secret, text: &str) -> bool {
    same(value, &Secret::from_text(text.to_owned()))
}

fn same(one: &Secret, other: &Secret) -> bool {
    #[expect(clippy::disallowed_methods, reason = "compared in constant time")]
    let compared = verify_slices_are_equal(one.expose(), other.expose());
    compared.is_ok()
}

fn is_in_doubt(error: &BackendError) -> bool {
    error.kind == Kind::InDoubt
}
