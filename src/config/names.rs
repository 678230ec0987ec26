//! The names that a configuration declares, and their use.
//!
//! Owns [`Declared`]: every name of one kind, taken from the file before anything is read, so that a reference to a
//! definition that has faults of its own is not a second fault. Remembers which names were used.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::reader::{Found, Section};
use crate::config::report::{Place, Report, nearest};

/// The longest name of a client, issuer, token or secret.
const LONGEST_NAME: usize = 63;

/// All names of one kind.
#[derive(Debug)]
pub(super) struct Declared<'a> {
    /// The word for one of them.
    kind: &'static str,
    places: BTreeMap<&'a str, Place>,
    used: RefCell<BTreeSet<&'a str>>,
}

impl<'a> Declared<'a> {
    /// The names of the tables below `key`.
    pub(super) fn below(root: &Section<'a>, key: &str, kind: &'static str) -> Self {
        let names = root.names(key).into_iter();
        Self {
            kind,
            places: names.map(|found| (found.value, found.place)).collect(),
            used: RefCell::default(),
        }
    }

    /// Whether `name` is declared. Counts as a use of it.
    pub(super) fn uses(&self, name: &str) -> bool {
        let Some((name, _)) = self.places.get_key_value(name) else {
            return false;
        };
        self.used.borrow_mut().insert(name);
        true
    }

    /// The declared name that is most like `name`.
    pub(super) fn meant(&self, name: &str) -> Option<&'a str> {
        let known = self.places.keys().copied();
        nearest(name, known.filter(|name| is_name(name)))
    }

    /// The declared name at `found`; reports a problem if it is not declared.
    pub(super) fn resolve(&self, report: &Report, found: &Found<&str>) -> Option<Arc<str>> {
        if self.uses(found.value) {
            return Some(found.value.into());
        }
        let message = format!("no {} of this name is configured", self.kind);
        report.problem_meant(&found.place, message, self.meant(found.value));
        None
    }

    /// Where `name` is declared.
    pub(super) fn place(&self, name: &str) -> Option<&Place> {
        self.places.get(name)
    }

    /// The places of the declared names that nothing used.
    pub(super) fn unused(&self) -> Vec<Place> {
        let used = self.used.borrow();
        let unused = self.places.iter().filter(|(name, _)| !used.contains(*name));
        unused.map(|(_, place)| place.clone()).collect()
    }
}

/// Whether `text` can be a name: `^[a-z0-9][a-z0-9._-]{0,62}$`.
pub(super) fn is_name(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut bytes = text.bytes();
    text.len() <= LONGEST_NAME
        && bytes.next().is_some_and(word)
        && bytes.all(|byte| word(byte) || b"._-".contains(&byte))
}

/// The name of `section`; reports a problem if it is not a valid name.
pub(super) fn checked(name: &str, section: &Section<'_>) -> Option<Arc<str>> {
    if is_name(name) {
        return Some(name.into());
    }
    section.report.problem(
        &section.place,
        "a name is 1 to 63 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit",
    );
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_plain_words() {
        let longest = "a".repeat(63);
        for good in ["a", "0", "billing-api", "a.b_c-d", &longest] {
            assert!(is_name(good), "{good}");
        }
        let longer = "a".repeat(64);
        for bad in ["", "A", "-a", ".a", "_a", "a b", "ä", "a/b", "a\n", &longer] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
