//! Replacing the key of a store.
//!
//! Owns the operation that rewrites every record: it builds a new generation, sealed with the new key, beside the current one
//! and switches to it with a single rename. Before the rename only the old key opens the store, after it only the new key;
//! there is no state in between. The next writer removes what a crash leaves behind, under the lock and only after the current
//! generation has opened.
//!
//! Readers use the old generation until the rename, and read the key file again after it.

use crate::config::StoreKey;
use crate::disk::Write;
use crate::error::{Damage, Error};
use crate::generation::Generation;
use crate::roster::Roster;
use crate::store::{FileStore, Writing, switch};

impl FileStore {
    /// Seals all records again with another key, and returns the number of secrets. From then on only `key` opens this store;
    /// open it again with that key. Values of retired versions and leftovers of crashes are not copied.
    ///
    /// # Errors
    /// The error of the new key, the first damaged record, or why the store cannot be written. The store then still opens with
    /// the old key, unless the error's kind is `InDoubt`.
    pub fn rekey(&self, key: &StoreKey) -> Result<usize, Error> {
        drop(key.read_for_sealing()?);
        let writing = self.writing()?;
        let (next, count) = Generation::make(&writing.root, key, self.keeper(), |next| {
            carry_all(&writing, next)
        })?;
        switch(&writing.root, &next, Write::Replace)?;
        let former = writing.root.remove_dir(writing.generation.name());
        former.map_err(|error| Error::FormerLeft(Box::new(error)))?;
        Ok(count)
    }
}

/// Seals all records again, durably, and returns the number of secrets.
fn carry_all(writing: &Writing, next: &Generation) -> Result<usize, Error> {
    let mut roster = Roster::following(writing.roster.counter);
    let (indexes, documents) = writing.generation.contents(&writing.roster)?;
    for file in &indexes {
        carry_secret(writing, next, &mut roster, file)?;
    }
    for file in &documents {
        let document = writing.generation.document_in(&writing.roster, file)?;
        let document = document.ok_or_else(|| missing(writing, file))?;
        let file = next.write_document(&document, Write::New)?;
        roster.note(&file, document.counter());
    }
    next.write_roster(&roster)?;
    next.dir().sync()?;
    writing.root.sync()?;
    Ok(indexes.len())
}

/// Copies the index of one secret and its readable values.
fn carry_secret(
    writing: &Writing,
    next: &Generation,
    roster: &mut Roster,
    file: &str,
) -> Result<(), Error> {
    let index = writing.generation.index_in(&writing.roster, file)?;
    let index = index.ok_or_else(|| missing(writing, file))?;
    let damaged =
        |_not_a_name| Error::damaged(writing.generation.dir().path_of(file), Damage::Contents);
    let name = index.name().parse().map_err(damaged)?;
    for version in index.readable() {
        let value = writing.generation.value(&name, &version)?;
        let value = value.ok_or_else(|| writing.generation.value_missing(&name, &version))?;
        // The generation is new and no other process writes to it, so the file cannot exist.
        let _written = next.write_value(index.name(), &version, &value)?;
    }
    let file = next.write_index(&index, Write::New)?;
    roster.note(&file, index.counter());
    Ok(())
}

fn missing(writing: &Writing, file: &str) -> Error {
    Error::damaged(writing.generation.dir().path_of(file), Damage::Missing)
}
