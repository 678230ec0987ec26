//! Placing a value in a backend.
//!
//! Owns the order of the writes. The value of a secret that exists is replaced in steps that no reader sees half done: the
//! new one is staged, read back and compared, and only then promoted from the version that was current before. A secret that
//! does not exist is created once. Until the last promotion everything can be rolled back, and is if a step fails. A lost
//! answer is resolved by the same call again or by reading, never by a guess. Never looks into a value: it compares whole
//! ones. Next: `control`, which marks what was placed.

use claviger_backend::{
    Backend, BackendError, Fetched, Kind, OperationId, Secret, SecretName, SecretRotator, Staged,
    VersionId, VersionSelector,
};

/// A secret of a backend.
#[derive(Clone, Debug)]
pub struct Target {
    /// The backend.
    pub backend: Backend,
    /// The name of the secret in it.
    pub name: SecretName,
    /// `backend:name`, for messages.
    pub address: String,
}

/// What a placement does to a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// There is none, and it is created.
    Created,
    /// This version is replaced.
    Replaced(VersionId),
    /// This version has the value already, so nothing is written.
    Unchanged(VersionId),
}

/// A secret, and the whole value that its readers shall see.
#[derive(Debug)]
pub struct Placement {
    target: Target,
    change: Change,
    value: Secret,
}

/// Why a value was not placed. Readers see what they saw before unless it is [`PlaceError::Unconfirmed`].
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The backend cannot create the secret, or not replace it in steps.
    #[error("the backend of {0} does not support staged writes")]
    Incapable(String),
    /// The backend refused or failed.
    #[error("cannot write {address}")]
    Backend {
        /// The secret.
        address: String,
        /// The backend's answer.
        source: BackendError,
    },
    /// The staged value reads back as another one.
    #[error("{0} does not read back as it was written")]
    NotReadBack(String),
    /// Everything was written, but the current version is not the value that was placed, or cannot be read.
    #[error("{0} was written, but its current version could not be confirmed")]
    Unconfirmed(String),
}

/// A version that was staged and can be rolled back.
struct Introduced<'a> {
    placement: &'a Placement,
    from: &'a VersionId,
    to: VersionId,
}

impl Placement {
    /// Of `value` in place of the version `former`, or as a new secret if there is none. Writes nothing.
    ///
    /// # Errors
    /// [`PlaceError::Incapable`].
    pub fn new(
        target: Target,
        former: Option<VersionId>,
        value: Secret,
    ) -> Result<Self, PlaceError> {
        let (change, is_able) = match former {
            Some(former) => (Change::Replaced(former), target.backend.rotator.is_some()),
            None => (Change::Created, target.backend.creator.is_some()),
        };
        if !is_able {
            return Err(PlaceError::Incapable(target.address));
        }
        Ok(Self {
            target,
            change,
            value,
        })
    }

    /// Of the value that is there already.
    #[must_use]
    pub fn unchanged(target: Target, current: Fetched) -> Self {
        Self {
            target,
            change: Change::Unchanged(current.version),
            value: current.value,
        }
    }

    /// The secret.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What is done to it.
    #[must_use]
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// A copy to write: a write consumes its value, and may have to be repeated.
    fn copy(&self) -> Secret {
        #[expect(
            clippy::disallowed_methods,
            reason = "a write consumes its value and may be repeated"
        )]
        Secret::new(self.value.expose().to_vec())
    }

    fn rotator(&self) -> Result<&dyn SecretRotator, PlaceError> {
        let rotator = self.target.backend.rotator.as_deref();
        rotator.ok_or_else(|| PlaceError::Incapable(self.target.address.clone()))
    }

    /// Stages the value, and makes sure that the backend gives it back.
    async fn introduce<'a>(
        &'a self,
        from: &'a VersionId,
        operation: &OperationId,
    ) -> Result<Introduced<'a>, PlaceError> {
        let rotator = self.rotator()?;
        let stage = || {
            let (value, operation) = (self.copy(), operation.clone());
            rotator.stage(&self.target.name, Staged { value, operation })
        };
        let mut staged = stage().await;
        if staged.as_ref().is_err_and(is_in_doubt) {
            // Create-only by its label: if it was done, it is not done again.
            staged = stage().await;
        }
        let introduced = Introduced {
            placement: self,
            from,
            to: staged.map_err(|error| self.failed(error))?,
        };
        let exact = VersionSelector::Exact(introduced.to.clone());
        let fault = match self.fetch(&exact).await {
            Ok(fetched) if fetched.value.same_as(&self.value) => return Ok(introduced),
            Ok(_another) => PlaceError::NotReadBack(self.target.address.clone()),
            Err(error) => self.failed(error),
        };
        introduced.roll_back().await;
        Err(fault)
    }

    /// Creates the secret. One that exists with the same value is as good.
    async fn create(&self) -> Result<(), PlaceError> {
        let creator = self.target.backend.creator.as_ref();
        let creator = creator.ok_or_else(|| PlaceError::Incapable(self.target.address.clone()))?;
        match creator.create(&self.target.name, self.copy()).await {
            Ok(_) => Ok(()),
            Err(error) if is_in_doubt(&error) || error.kind == Kind::Conflict => {
                match self.confirm().await {
                    Ok(_) => Ok(()),
                    Err(_other_value) => Err(self.failed(error)),
                }
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The version that readers see now, which must have the value.
    async fn confirm(&self) -> Result<VersionId, PlaceError> {
        match self.fetch(&VersionSelector::Current).await {
            Ok(current) if current.value.same_as(&self.value) => Ok(current.version),
            _ => Err(PlaceError::Unconfirmed(self.target.address.clone())),
        }
    }

    async fn fetch(&self, version: &VersionSelector) -> Result<Fetched, BackendError> {
        let source = &self.target.backend.secrets;
        source.fetch(&self.target.name, version).await
    }

    fn failed(&self, source: BackendError) -> PlaceError {
        PlaceError::Backend {
            address: self.target.address.clone(),
            source,
        }
    }
}

impl Introduced<'_> {
    async fn promote(&self) -> Result<(), PlaceError> {
        let rotator = self.placement.rotator()?;
        let name = &self.placement.target.name;
        let mut promoted = rotator.promote(name, self.from, &self.to).await;
        if promoted.as_ref().is_err_and(is_in_doubt) {
            // Nothing changes if it was done.
            promoted = rotator.promote(name, self.from, &self.to).await;
        }
        promoted.map_err(|error| self.placement.failed(error))
    }

    /// Has readers see the former version again, and retires the new one. If that fails as well, a version that no reader
    /// sees stays behind.
    async fn roll_back(&self) {
        if let Ok(rotator) = self.placement.rotator() {
            let name = &self.placement.target.name;
            drop(rotator.promote(name, &self.to, self.from).await);
            drop(rotator.retire(name, &self.to).await);
        }
    }
}

/// Places all of them, and returns the versions that readers see now, in the same order. Everything that the placements
/// write carries the label `operation`.
///
/// # Errors
/// [`PlaceError`].
pub async fn place(
    placements: &[Placement],
    operation: &OperationId,
) -> Result<Vec<VersionId>, PlaceError> {
    let mut introduced = Vec::new();
    if let Err(error) = write(placements, operation, &mut introduced).await {
        for version in introduced.iter().rev() {
            version.roll_back().await;
        }
        return Err(error);
    }
    let mut versions = Vec::new();
    for placement in placements {
        versions.push(placement.confirm().await?);
    }
    Ok(versions)
}

/// First what no reader sees, last the promotions.
async fn write<'a>(
    placements: &'a [Placement],
    operation: &OperationId,
    introduced: &mut Vec<Introduced<'a>>,
) -> Result<(), PlaceError> {
    for placement in placements {
        if let Change::Replaced(from) = &placement.change {
            introduced.push(placement.introduce(from, operation).await?);
        }
    }
    for placement in placements {
        if placement.change == Change::Created {
            placement.create().await?;
        }
    }
    for version in &*introduced {
        version.promote().await?;
    }
    Ok(())
}

fn is_in_doubt(error: &BackendError) -> bool {
    error.kind == Kind::InDoubt
}
