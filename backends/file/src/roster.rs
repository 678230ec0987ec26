//! Which files a generation has, and how far each has come.
//!
//! Owns [`Roster`], one sealed record per generation. A file may be ahead of it, because a writer may die between the file
//! and the roster; it is never behind it and never missing. That turns the removal of a file, or the return of an older
//! copy, into damage that is noticed instead of a secret that seems not to exist. Pure; `generation` reads and writes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Damage;

/// No roster is larger, in bytes.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;

/// How many indexes and documents one store has at most. As many fit into [`MAX_BYTES`].
pub(crate) const MAX_FILES: usize = 8192;

/// The files of a generation.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Roster {
    /// Counts the states of the roster itself.
    pub(crate) counter: u64,
    /// The counter that each file had when it was last written.
    files: BTreeMap<String, u64>,
}

impl Roster {
    /// An empty roster that follows one with `counter`.
    pub(crate) fn following(counter: u64) -> Self {
        Self {
            counter: counter.saturating_add(1),
            files: BTreeMap::new(),
        }
    }

    /// The lowest counter that the file may have; 0 if it may be missing.
    pub(crate) fn floor(&self, file: &str) -> u64 {
        self.files.get(file).copied().unwrap_or(0)
    }

    /// Notes that a file was written.
    pub(crate) fn note(&mut self, file: &str, counter: u64) {
        self.files.insert(file.to_owned(), counter);
        self.counter = self.counter.saturating_add(1);
    }

    /// The files that must be there.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Damage> {
        serde_json::from_slice(bytes).map_err(|_syntax| Damage::Contents)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_roster_remembers_and_goes_forward() {
        let mut roster = Roster::following(4);
        assert_eq!((roster.counter, roster.floor("a.index")), (5, 0));
        roster.note("a.index", 9);
        assert_eq!((roster.counter, roster.floor("a.index")), (6, 9));
        let bytes = serde_json::to_vec(&roster).unwrap();
        assert_eq!(Roster::from_bytes(&bytes), Ok(roster));
    }

    #[test]
    fn a_full_roster_fits() {
        let mut roster = Roster::default();
        for number in 0..MAX_FILES {
            roster.note(&format!("{number:064x}.document"), u64::MAX);
        }
        assert!(serde_json::to_vec(&roster).unwrap().len() < MAX_BYTES);
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_roster_or_damage(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Err(damage) = Roster::from_bytes(&bytes) {
                prop_assert_eq!(damage, Damage::Contents);
            }
        }
    }
}
