//! The files of a generation, with a counter for each.
//!
//! Owns [`Roster`], one sealed record per generation. The counter in a file may be ahead of the roster, because a writer may
//! die after writing the file and before writing the roster; it is never behind, and the file is never missing. So the removal
//! of a file, or its replacement by an older copy, is detected as damage, and does not look like a missing secret. Pure;
//! `generation` reads and writes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Damage;

/// The size limit of a roster, in bytes.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;

/// The limit on indexes and documents in one store. A roster of that many fits into [`MAX_BYTES`].
pub(crate) const MAX_FILES: usize = 8192;

/// The files of a generation.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Roster {
    /// The counter of the roster itself.
    pub(crate) counter: u64,
    /// The counter of each file when it was last written.
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

    /// The lowest valid counter of the file; 0 if the file may be missing.
    pub(crate) fn floor(&self, file: &str) -> u64 {
        self.files.get(file).copied().unwrap_or(0)
    }

    /// Records that a file was written.
    pub(crate) fn note(&mut self, file: &str, counter: u64) {
        self.files.insert(file.to_owned(), counter);
        self.counter = self.counter.saturating_add(1);
    }

    /// The files that must exist.
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
    fn a_roster_records_counters_and_counts_its_changes() {
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
