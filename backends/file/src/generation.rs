//! One generation: all records of a store under one set of keys.
//!
//! Owns [`Generation`], an open subdirectory with its keys, and the names and labels of the records in it. A store has one
//! current generation; `claviger file rekey` builds the next one beside it and switches. Reads take no lock: every file is
//! replaced atomically, and the order of writes in `store` (value, index, roster) lets a reader distinguish a write in progress
//! from damage. Next: `store`.

use claviger_backend::{KeyKeeper, MAX_VALUE_BYTES, Secret, SecretName, VersionId};
use serde::Serialize;

use crate::config::StoreKey;
use crate::disk::{self, Dir, Write, Written};
use crate::document::{self, Document};
use crate::error::{Damage, Error};
use crate::index::{self, Index};
use crate::roster::{self, Roster};
use crate::seal::{Header, Keys, Label, OVERHEAD, RecordKind, random_hex};

const HEADER: &str = "header";
const CHECK: &str = "check";
const ROSTER: &str = "roster";
const INDEX: &str = ".index";
const DOCUMENT: &str = ".document";
const PREFIX: &str = "g-";

/// The size limit of the header, which is JSON and a checksum, in bytes.
const MAX_HEADER: usize = 4096;

/// An open generation.
#[derive(Debug)]
pub(crate) struct Generation {
    name: String,
    dir: Dir,
    keys: Keys,
}

impl Generation {
    /// Opens a generation and verifies the key.
    pub(crate) fn open(
        root: &Dir,
        name: &str,
        dir: Dir,
        key: &StoreKey,
        keeper: &dyn KeyKeeper,
    ) -> Result<Self, Error> {
        let damaged = |how| Error::damaged(dir.path_of(HEADER), how);
        let header = dir
            .read(HEADER, MAX_HEADER)?
            .ok_or_else(|| damaged(Damage::Missing))?;
        let header = Header::from_bytes(&header).map_err(damaged)?;
        if header.sort() != key.sort() {
            return Err(Error::WrongSort {
                directory: root.path().to_owned(),
                expected: header.sort(),
                given: key.sort(),
            });
        }
        let keys = header.derive(&key.read()?, keeper)?;
        let name = name.to_owned();
        let generation = Self { name, dir, keys };
        match generation.read(CHECK, label(RecordKind::Check, "", ""), OVERHEAD) {
            Ok(Some(_proof)) => Ok(generation),
            Ok(None) => Err(generation.damaged(CHECK, Damage::Missing)),
            // The header is intact, so the key is not the one that sealed this generation. An altered check record gives the
            // same result and cannot be distinguished.
            Err(Error::Damaged {
                how: Damage::Altered,
                ..
            }) => Err(Error::WrongKey(root.path().to_owned())),
            Err(other) => Err(other),
        }
    }

    /// Creates a generation and has `fill` write its contents. It becomes current only when the store switches to it; after a
    /// failure it is removed.
    pub(crate) fn make<T>(
        root: &Dir,
        key: &StoreKey,
        keeper: &dyn KeyKeeper,
        fill: impl FnOnce(&Self) -> Result<T, Error>,
    ) -> Result<(Self, T), Error> {
        let unsealer = key.read_for_sealing()?;
        let header = Header::new(&unsealer)?;
        let keys = header.derive(&unsealer, keeper)?;
        let name = format!("{PREFIX}{}", random_hex::<16>()?);
        let made = root.make_dir(&name).and_then(|dir| {
            let name = name.clone();
            let generation = Self { name, dir, keys };
            generation.write(HEADER, &header.to_bytes()?, Write::New)?;
            let check = label(RecordKind::Check, "", "");
            let check = generation.keys.seal(check, b"")?;
            generation.write(CHECK, &check, Write::New)?;
            let filled = fill(&generation)?;
            Ok((generation, filled))
        });
        made.map_err(|error| {
            // An incomplete generation is useless. If removing it fails, the next writer does it.
            drop(root.remove_dir(&name));
            error.before_commit()
        })
    }

    /// Whether a name in the store's directory is the name of a generation.
    pub(crate) fn is_name(name: &str) -> bool {
        name.strip_prefix(PREFIX).is_some_and(|rest| {
            rest.len() == 32 && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// The files that must exist.
    pub(crate) fn roster(&self) -> Result<Roster, Error> {
        let limit = roster::MAX_BYTES;
        let plain = self
            .read(ROSTER, label(RecordKind::Roster, "", ""), limit)?
            .ok_or_else(|| self.damaged(ROSTER, Damage::Missing))?;
        Roster::from_bytes(&plain).map_err(|how| self.damaged(ROSTER, how))
    }

    pub(crate) fn write_roster(&self, roster: &Roster) -> Result<(), Error> {
        let label = label(RecordKind::Roster, "", "");
        let record = self.keys.seal(label, &json(roster)?)?;
        self.write(ROSTER, &record, Write::Replace)
    }

    /// The index of a secret; `None` if the secret does not exist.
    pub(crate) fn index(&self, roster: &Roster, name: &SecretName) -> Result<Option<Index>, Error> {
        let file = self.index_file(name.as_str());
        let index = self.index_in(roster, &file)?;
        match index {
            Some(index) if index.name() != name.as_str() => {
                Err(self.damaged(&file, Damage::Contents))
            }
            other => Ok(other),
        }
    }

    /// The index in the given file of the generation.
    pub(crate) fn index_in(&self, roster: &Roster, file: &str) -> Result<Option<Index>, Error> {
        let subject = file.strip_suffix(INDEX).unwrap_or(file);
        let label = label(RecordKind::Index, subject, "");
        let plain = self.read(file, label, index::MAX_BYTES)?;
        let Some(plain) = self.expected(roster, file, plain)? else {
            return Ok(None);
        };
        let index = Index::from_bytes(&plain).map_err(|how| self.damaged(file, how))?;
        if index.counter() < roster.floor(file) {
            return Err(self.damaged(file, Damage::RolledBack));
        }
        Ok(Some(index))
    }

    /// Writes an index, and returns the name of its file.
    pub(crate) fn write_index(&self, index: &Index, how: Write) -> Result<String, Error> {
        let subject = self.keys.subject(index.name());
        let record = self
            .keys
            .seal(label(RecordKind::Index, &subject, ""), &json(index)?)?;
        let file = format!("{subject}{INDEX}");
        self.write(&file, &record, how)?;
        Ok(file)
    }

    /// A value; `None` if its file does not exist.
    pub(crate) fn value(
        &self,
        name: &SecretName,
        version: &VersionId,
    ) -> Result<Option<Secret>, Error> {
        let subject = self.keys.subject(name.as_str());
        let label = label(RecordKind::Value, &subject, version.as_str());
        let file = value_file(&subject, version);
        let record = self
            .dir
            .read(&file, MAX_VALUE_BYTES.saturating_add(OVERHEAD))?;
        record
            .map(|record| self.keys.open_value(label, record))
            .transpose()
            .map_err(|how| self.damaged(&file, how))
    }

    /// Writes the value of a new version; [`Written::Exists`] if that number was used before.
    pub(crate) fn write_value(
        &self,
        name: &str,
        version: &VersionId,
        value: &Secret,
    ) -> Result<Written, Error> {
        let subject = self.keys.subject(name);
        let label = label(RecordKind::Value, &subject, version.as_str());
        let record = self.keys.seal_value(label, value)?;
        let file = value_file(&subject, version);
        self.dir.write(&file, &record, Write::New)
    }

    /// Destroys a value.
    pub(crate) fn remove_value(&self, name: &str, version: &VersionId) -> Result<(), Error> {
        let subject = self.keys.subject(name);
        self.dir.remove(&value_file(&subject, version))?;
        self.dir.sync()
    }

    /// The error for a value whose file is missing.
    pub(crate) fn value_missing(&self, name: &SecretName, version: &VersionId) -> Error {
        let subject = self.keys.subject(name.as_str());
        self.damaged(&value_file(&subject, version), Damage::Missing)
    }

    /// The control document of a secret; `None` if there is none yet.
    pub(crate) fn document(
        &self,
        roster: &Roster,
        name: &SecretName,
    ) -> Result<Option<Document>, Error> {
        let subject = self.keys.subject(name.as_str());
        let file = format!("{subject}{DOCUMENT}");
        match self.document_in(roster, &file)? {
            Some(document) if document.name() != name.as_str() => {
                Err(self.damaged(&file, Damage::Contents))
            }
            other => Ok(other),
        }
    }

    /// The control document in the given file of the generation.
    pub(crate) fn document_in(
        &self,
        roster: &Roster,
        file: &str,
    ) -> Result<Option<Document>, Error> {
        let subject = file.strip_suffix(DOCUMENT).unwrap_or(file);
        let label = label(RecordKind::Document, subject, "");
        let plain = self.read(file, label, document::MAX_BYTES)?;
        let Some(plain) = self.expected(roster, file, plain)? else {
            return Ok(None);
        };
        let document = Document::from_bytes(&plain).map_err(|how| self.damaged(file, how))?;
        if document.counter() < roster.floor(file) {
            return Err(self.damaged(file, Damage::RolledBack));
        }
        Ok(Some(document))
    }

    /// Writes a control document, and returns the name of its file.
    pub(crate) fn write_document(&self, document: &Document, how: Write) -> Result<String, Error> {
        let subject = self.keys.subject(document.name());
        let label = label(RecordKind::Document, &subject, "");
        let record = self.keys.seal(label, &json(document)?)?;
        let file = format!("{subject}{DOCUMENT}");
        self.write(&file, &record, how)?;
        Ok(file)
    }

    /// The files of all indexes and of all documents, both those that exist and those that the roster lists.
    pub(crate) fn contents(&self, roster: &Roster) -> Result<(Vec<String>, Vec<String>), Error> {
        let mut files = self.dir.names()?;
        files.extend(roster.files().map(str::to_owned));
        files.sort_unstable();
        files.dedup();
        let ending = |suffix: &str| {
            let matching = files.iter().filter(|file| file.ends_with(suffix));
            matching.cloned().collect::<Vec<_>>()
        };
        Ok((ending(INDEX), ending(DOCUMENT)))
    }

    /// Whether no secret or document was ever stored in it.
    pub(crate) fn is_blank(dir: &Dir) -> Result<bool, Error> {
        let names = dir.names()?;
        let known = [HEADER, CHECK, ROSTER, disk::WRITING];
        Ok(names.iter().all(|name| known.contains(&name.as_str())))
    }

    /// The file of the index of a secret.
    pub(crate) fn index_file(&self, name: &str) -> String {
        format!("{}{INDEX}", self.keys.subject(name))
    }

    /// Fails if the roster lists a file that does not exist.
    fn expected(
        &self,
        roster: &Roster,
        file: &str,
        plain: Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>, Error> {
        if plain.is_none() && roster.floor(file) > 0 {
            return Err(self.damaged(file, Damage::Missing));
        }
        Ok(plain)
    }

    fn read(&self, file: &str, label: Label<'_>, limit: usize) -> Result<Option<Vec<u8>>, Error> {
        let record = self.dir.read(file, limit.saturating_add(OVERHEAD))?;
        record
            .map(|record| self.keys.open(label, record))
            .transpose()
            .map_err(|how| self.damaged(file, how))
    }

    fn write(&self, file: &str, bytes: &[u8], how: Write) -> Result<(), Error> {
        match self.dir.write(file, bytes, how)? {
            Written::Done => Ok(()),
            // Only a process that ignores the lock can have created it since.
            Written::Exists => Err(Error::Conflict(None)),
        }
    }

    fn damaged(&self, file: &str, how: Damage) -> Error {
        Error::damaged(self.dir.path_of(file), how)
    }
}

fn label<'a>(kind: RecordKind, subject: &'a str, version: &'a str) -> Label<'a> {
    Label {
        kind,
        subject,
        version,
    }
}

fn value_file(subject: &str, version: &VersionId) -> String {
    format!("{subject}.{version}.value")
}

/// The JSON of a plain struct. This never fails, but the library's signature allows for it.
fn json(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|_plain_data| Error::Crypto)
}
