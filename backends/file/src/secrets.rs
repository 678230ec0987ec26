//! The operations on secrets, for the command line and the daemon.
//!
//! Owns the operations of [`FileStore`] on values and versions, and the traits of a backend on top of them. Crash safety
//! depends only on the order of writes: a value is written before an index refers to it, and removed only when no index does.
//! Never caches or retries. Time is only recorded (a version's `created`); no decision depends on it.

use std::time::SystemTime;

use async_trait::async_trait;
use claviger_backend::{
    BackendError, Fetched, Kind, MAX_VALUE_BYTES, OperationId, Secret, SecretCreator, SecretName,
    SecretRotator, SecretSource, SecretVersions, Staged, VersionId, VersionInfo, VersionSelector,
};

use crate::disk::{Write, Written};
use crate::error::{Damage, Error};
use crate::index::{Change, Index};
use crate::store::{FileStore, Writing};
use crate::{Effect, FileBackend};

/// The state of a secret that a writer expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Any state.
    Anything,
    /// The secret does not exist yet.
    Nothing,
    /// This version is current.
    Version(VersionId),
}

/// A secret in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: SecretName,
    /// Its current version.
    pub current: VersionInfo,
    /// The number of its versions, retired ones included.
    pub versions: usize,
}

impl FileStore {
    /// Reads one version of a secret.
    ///
    /// # Errors
    /// [`Error::NoSecret`], [`Error::NoVersion`], [`Error::Retired`], or why the store cannot be read.
    pub fn get(&self, name: &SecretName, version: &VersionSelector) -> Result<Fetched, Error> {
        self.reading(|generation, roster| {
            let index = || generation.index(roster, name)?.ok_or(Error::NoSecret);
            let mut known = index()?;
            loop {
                let (version, created) = known.select(version)?;
                if let Some(value) = generation.value(name, &version)? {
                    let created = Some(created);
                    return Ok(Fetched {
                        value,
                        version,
                        created,
                    });
                }
                // The version was retired between the two reads, or its value is lost.
                let now = index()?;
                if now.counter() == known.counter() {
                    return Err(generation.value_missing(name, &version));
                }
                known = now;
            }
        })
    }

    /// All versions of a secret, oldest first.
    ///
    /// # Errors
    /// [`Error::NoSecret`], or why the store cannot be read.
    pub fn versions(&self, name: &SecretName) -> Result<Vec<VersionInfo>, Error> {
        self.reading(|generation, roster| {
            let index = generation.index(roster, name)?.ok_or(Error::NoSecret)?;
            Ok(index.versions())
        })
    }

    /// All secrets, by name.
    ///
    /// # Errors
    /// Why the store cannot be read. One damaged record fails the whole call, because the list would be incomplete.
    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        self.reading(|generation, roster| {
            let (indexes, _documents) = generation.contents(roster)?;
            let mut listed = Vec::with_capacity(indexes.len());
            for file in &indexes {
                // Only a file that the roster does not list may have been removed since the directory was read.
                if let Some(index) = generation.index_in(roster, file)? {
                    let damaged =
                        || Error::damaged(generation.dir().path_of(file), Damage::Contents);
                    listed.push(summary(&index).ok_or_else(damaged)?);
                }
            }
            listed.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(listed)
        })
    }

    /// Writes a value as the current version; creates the secret if it does not exist. The previous version stays readable by
    /// its number.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the secret is not in the expected state, [`Error::Empty`], [`Error::TooLarge`], [`Error::Full`],
    /// or why the store cannot be written.
    pub fn put(
        &self,
        name: &SecretName,
        value: &Secret,
        expected: &Expected,
    ) -> Result<VersionId, Error> {
        check_value(value)?;
        let mut writing = self.writing()?;
        let found = writing.generation.index(&writing.roster, name)?;
        let current = found.as_ref().and_then(Index::current);
        match expected {
            Expected::Anything => {}
            Expected::Nothing if current.is_none() => {}
            Expected::Version(version) if current.as_ref() == Some(version) => {}
            Expected::Version(_) if current.is_none() => return Err(Error::NoSecret),
            Expected::Nothing | Expected::Version(_) => return Err(Error::Conflict(current)),
        }
        let how = if found.is_some() {
            Write::Replace
        } else {
            writing.make_room()?;
            Write::New
        };
        let index = found.unwrap_or_else(|| Index::new(name));
        add(&mut writing, index, how, value, None)
    }

    /// Writes a value that is not visible to readers of the current version. Staging the same `operation` twice creates one
    /// version.
    ///
    /// # Errors
    /// [`Error::NoSecret`], [`Error::Empty`], [`Error::TooLarge`], [`Error::Full`], or why the store cannot be written.
    pub fn stage(
        &self,
        name: &SecretName,
        value: &Secret,
        operation: &OperationId,
    ) -> Result<VersionId, Error> {
        check_value(value)?;
        let mut writing = self.writing()?;
        let index = known(&writing, name)?;
        if let Some(version) = index.staged_by(operation) {
            make_sure(&mut writing, &index)?;
            return Ok(version);
        }
        add(&mut writing, index, Write::Replace, value, Some(operation))
    }

    /// Makes `to` current if `from` is current; changes nothing if `to` is already current.
    ///
    /// # Errors
    /// [`Error::Conflict`] if a third version is current, [`Error::NoVersion`], [`Error::Retired`], or why the store cannot
    /// be written.
    pub fn promote(
        &self,
        name: &SecretName,
        from: &VersionId,
        to: &VersionId,
    ) -> Result<(), Error> {
        let mut writing = self.writing()?;
        let mut index = known(&writing, name)?;
        match index.promote(from, to)? {
            Change::None => make_sure(&mut writing, &index),
            Change::Made => save(&mut writing, index, Write::Replace),
        }
    }

    /// Destroys the value of a version that is not current. Idempotent.
    ///
    /// # Errors
    /// [`Error::Conflict`] if it is current, [`Error::NoVersion`], or why the store cannot be written.
    pub fn retire(&self, name: &SecretName, version: &VersionId) -> Result<(), Error> {
        let mut writing = self.writing()?;
        let mut index = known(&writing, name)?;
        if index.retire(version)? == Change::Made {
            save(&mut writing, index, Write::Replace)?;
        }
        // Also for a version that was already retired: the process that retired it may have died before this line.
        writing
            .generation
            .remove_value(name.as_str(), version)
            .map_err(Error::after_commit)
    }
}

fn check_value(value: &Secret) -> Result<(), Error> {
    match value.len() {
        0 => Err(Error::Empty),
        length if length > MAX_VALUE_BYTES => Err(Error::TooLarge {
            length,
            limit: MAX_VALUE_BYTES,
        }),
        _ => Ok(()),
    }
}

fn known(writing: &Writing, name: &SecretName) -> Result<Index, Error> {
    let index = writing.generation.index(&writing.roster, name)?;
    index.ok_or(Error::NoSecret)
}

/// Adds a version: writes its value, then the index that refers to it. If writing the index fails, the value is removed;
/// otherwise every attempt on a full disk would leave a value behind.
fn add(
    writing: &mut Writing,
    mut index: Index,
    how: Write,
    value: &Secret,
    operation: Option<&OperationId>,
) -> Result<VersionId, Error> {
    let name = index.name().to_owned();
    let version = write_value(writing, &mut index, &name, value)?;
    index.add(operation, now());
    match save(writing, index, how) {
        Ok(()) => Ok(version),
        Err(error) => {
            if error.kind() != Kind::InDoubt {
                drop(writing.generation.remove_value(&name, &version));
            }
            Err(error)
        }
    }
}

/// Writes a value under the next free number. If the file of a number exists, a writer died before an index referred to it;
/// that number is skipped, so that no file is ever overwritten.
fn write_value(
    writing: &Writing,
    index: &mut Index,
    name: &str,
    value: &Secret,
) -> Result<VersionId, Error> {
    loop {
        let version = index.allocate()?;
        match writing.generation.write_value(name, &version, value) {
            Ok(Written::Done) => return Ok(version),
            Ok(Written::Exists) => {}
            Err(error) => {
                drop(writing.generation.remove_value(name, &version));
                return Err(error.before_commit());
            }
        }
    }
}

fn save(writing: &mut Writing, mut index: Index, how: Write) -> Result<(), Error> {
    index.count();
    let file = writing.generation.write_index(&index, how)?;
    writing.note(&file, index.counter())
}

/// Makes a change that is already visible durable: the writer that made it may have died before syncing it or recording it in
/// the roster. The caller relies on the result, and may destroy the previous version.
fn make_sure(writing: &mut Writing, index: &Index) -> Result<(), Error> {
    let file = writing.generation.index_file(index.name());
    if writing.roster.floor(&file) < index.counter() {
        return writing.note(&file, index.counter());
    }
    let dir = writing.generation.dir();
    dir.sync().map_err(Error::after_commit)
}

fn summary(index: &Index) -> Option<Listed> {
    let current = index.current()?;
    let versions = index.versions();
    Some(Listed {
        name: index.name().parse().ok()?,
        versions: versions.len(),
        current: versions.into_iter().find(|info| info.version == current)?,
    })
}

fn now() -> SystemTime {
    #[expect(
        clippy::disallowed_methods,
        reason = "recorded for people; no decision depends on it"
    )]
    SystemTime::now()
}

#[async_trait]
impl SecretSource for FileBackend {
    async fn fetch(
        &self,
        name: &SecretName,
        version: &VersionSelector,
    ) -> Result<Fetched, BackendError> {
        let (name, version) = (name.clone(), version.clone());
        self.run("fetch", Effect::Reads, move |store| {
            store.get(&name, &version)
        })
        .await
    }

    async fn probe(&self) -> Result<(), BackendError> {
        self.run("probe", Effect::Reads, FileStore::check).await
    }
}

#[async_trait]
impl SecretVersions for FileBackend {
    async fn versions(&self, name: &SecretName) -> Result<Vec<VersionInfo>, BackendError> {
        let name = name.clone();
        self.run("versions", Effect::Reads, move |store| {
            store.versions(&name)
        })
        .await
    }
}

#[async_trait]
impl SecretCreator for FileBackend {
    async fn create(&self, name: &SecretName, value: Secret) -> Result<VersionId, BackendError> {
        let name = name.clone();
        self.run("create", Effect::Writes, move |store| {
            store.put(&name, &value, &Expected::Nothing)
        })
        .await
    }
}

#[async_trait]
impl SecretRotator for FileBackend {
    async fn stage(&self, name: &SecretName, staged: Staged) -> Result<VersionId, BackendError> {
        let name = name.clone();
        self.run("stage", Effect::Writes, move |store| {
            store.require_local()?;
            store.stage(&name, &staged.value, &staged.operation)
        })
        .await
    }

    async fn promote(
        &self,
        name: &SecretName,
        from: &VersionId,
        to: &VersionId,
    ) -> Result<(), BackendError> {
        let (name, from, to) = (name.clone(), from.clone(), to.clone());
        self.run("promote", Effect::Writes, move |store| {
            store.require_local()?;
            store.promote(&name, &from, &to)
        })
        .await
    }

    async fn retire(&self, name: &SecretName, version: &VersionId) -> Result<(), BackendError> {
        let (name, version) = (name.clone(), version.clone());
        self.run("retire", Effect::Writes, move |store| {
            store.require_local()?;
            store.retire(&name, &version)
        })
        .await
    }
}
