//! The versions of one secret, and how their states may change.
//!
//! Owns [`Index`]: the versions, their states, and the rules for changing them. Exactly one version is current at any time.
//! Pure: no file, no clock, no value. A version's number is never reused, so a version identifies one value permanently.
//! `secrets` carries out the changes decided here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use claviger_backend::{
    OperationId, SecretName, VersionId, VersionInfo, VersionSelector, VersionState,
};
use serde::{Deserialize, Serialize};

use crate::error::{Damage, Error};

/// The size limit of an index, in bytes.
pub(crate) const MAX_BYTES: usize = 512 * 1024;

/// The limit on the versions of a secret, retired ones included.
pub(crate) const MAX_VERSIONS: usize = 1000;

/// The metadata of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Index {
    name: String,
    counter: u64,
    /// The number of the next version.
    next: u64,
    /// Oldest first.
    versions: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: u64,
    state: State,
    created_ms: u64,
    /// The label of the operation that staged it. Staging the same label twice creates one version.
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Current,
    Staged,
    Previous,
    Retired,
}

impl From<State> for VersionState {
    fn from(state: State) -> Self {
        match state {
            State::Current => Self::Current,
            State::Staged => Self::Staged,
            State::Previous => Self::Previous,
            State::Retired => Self::Retired,
        }
    }
}

/// The result of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The index is unchanged.
    None,
    /// The index changed and must be written.
    Made,
}

impl Index {
    /// The index of a new secret, without versions.
    pub(crate) fn new(name: &SecretName) -> Self {
        Self {
            name: name.as_str().to_owned(),
            counter: 0,
            next: 1,
            versions: Vec::new(),
        }
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Damage> {
        let index: Self = serde_json::from_slice(bytes).map_err(|_syntax| Damage::Contents)?;
        let current = index.in_state(State::Current).count();
        let known = index.versions.iter().all(|entry| entry.id < index.next);
        let ordered = index.versions.is_sorted_by(|a, b| a.id < b.id);
        if current == 1 && known && ordered {
            Ok(index)
        } else {
            Err(Damage::Contents)
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The number of times that it was written.
    pub(crate) fn counter(&self) -> u64 {
        self.counter
    }

    /// Increments the counter. Call it once per write.
    pub(crate) fn count(&mut self) {
        self.counter = self.counter.saturating_add(1);
    }

    /// The current version; `None` in a new index only.
    pub(crate) fn current(&self) -> Option<VersionId> {
        self.in_state(State::Current)
            .next()
            .and_then(|entry| version_id(entry.id))
    }

    /// The selected version, and when it was created.
    pub(crate) fn select(
        &self,
        version: &VersionSelector,
    ) -> Result<(VersionId, SystemTime), Error> {
        let entry = match version {
            VersionSelector::Current => self.in_state(State::Current).next(),
            VersionSelector::Exact(id) => self.entry(id),
        };
        let entry = entry.ok_or(Error::NoVersion)?;
        if entry.state == State::Retired {
            return Err(Error::Retired);
        }
        let id = version_id(entry.id).ok_or(Error::NoVersion)?;
        Ok((id, entry.created()))
    }

    /// All versions, oldest first.
    pub(crate) fn versions(&self) -> Vec<VersionInfo> {
        let info = |entry: &Entry| {
            Some(VersionInfo {
                version: version_id(entry.id)?,
                created: Some(entry.created()),
                state: entry.state.into(),
                operation: entry
                    .operation
                    .as_deref()
                    .and_then(|label| label.parse().ok()),
            })
        };
        self.versions.iter().filter_map(info).collect()
    }

    /// The versions that have a value.
    pub(crate) fn readable(&self) -> Vec<VersionId> {
        let readable = self.versions().into_iter();
        readable
            .filter(|info| info.state != VersionState::Retired)
            .map(|info| info.version)
            .collect()
    }

    /// Allocates the next number. A number that is allocated but not used is never reused.
    pub(crate) fn allocate(&mut self) -> Result<VersionId, Error> {
        let full = Error::Full {
            what: "versions of one secret; retire some",
            limit: MAX_VERSIONS,
        };
        if self.versions.len() >= MAX_VERSIONS {
            let oldest = self.versions.iter();
            let retired = oldest
                .clone()
                .position(|entry| entry.state == State::Retired);
            match retired {
                Some(at) => drop(self.versions.remove(at)),
                None => return Err(full),
            }
        }
        let id = version_id(self.next).ok_or(full)?;
        self.next = self.next.saturating_add(1);
        Ok(id)
    }

    /// The version that an operation staged earlier.
    pub(crate) fn staged_by(&self, operation: &OperationId) -> Option<VersionId> {
        let by = |entry: &&Entry| entry.operation.as_deref() == Some(operation.as_str());
        self.versions
            .iter()
            .find(by)
            .and_then(|entry| version_id(entry.id))
    }

    /// Adds the version allocated last: staged if there is an operation, otherwise current.
    pub(crate) fn add(&mut self, operation: Option<&OperationId>, created: SystemTime) {
        let state = if operation.is_some() {
            State::Staged
        } else {
            self.demote();
            State::Current
        };
        let since = created.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.versions.push(Entry {
            id: self.next.saturating_sub(1),
            state,
            created_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            operation: operation.map(|operation| operation.as_str().to_owned()),
        });
    }

    /// Makes `to` current if `from` is current.
    pub(crate) fn promote(&mut self, from: &VersionId, to: &VersionId) -> Result<Change, Error> {
        let current = self.current();
        if current.as_ref() == Some(to) {
            return Ok(Change::None);
        }
        if current.as_ref() != Some(from) {
            return Err(Error::Conflict(current));
        }
        match self.entry(to).map(|entry| entry.state) {
            None => return Err(Error::NoVersion),
            Some(State::Retired) => return Err(Error::Retired),
            Some(State::Current | State::Staged | State::Previous) => {}
        }
        self.demote();
        self.set(to, State::Current);
        Ok(Change::Made)
    }

    /// Makes a version unreadable.
    pub(crate) fn retire(&mut self, version: &VersionId) -> Result<Change, Error> {
        match self.entry(version).map(|entry| entry.state) {
            None => Err(Error::NoVersion),
            Some(State::Current) => Err(Error::Conflict(self.current())),
            Some(State::Retired) => Ok(Change::None),
            Some(State::Staged | State::Previous) => {
                self.set(version, State::Retired);
                Ok(Change::Made)
            }
        }
    }

    fn demote(&mut self) {
        for entry in &mut self.versions {
            if entry.state == State::Current {
                entry.state = State::Previous;
            }
        }
    }

    fn set(&mut self, version: &VersionId, state: State) {
        for entry in &mut self.versions {
            if is(entry, version) {
                entry.state = state;
            }
        }
    }

    fn entry(&self, version: &VersionId) -> Option<&Entry> {
        self.versions.iter().find(|entry| is(entry, version))
    }

    fn in_state(&self, state: State) -> impl Iterator<Item = &Entry> {
        self.versions
            .iter()
            .filter(move |entry| entry.state == state)
    }
}

impl Entry {
    fn created(&self) -> SystemTime {
        let since = Duration::from_millis(self.created_ms);
        UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
    }
}

fn is(entry: &Entry, version: &VersionId) -> bool {
    version.as_str() == entry.id.to_string()
}

/// A number as a version identifier. This never fails, but the type's parser allows for it.
fn version_id(number: u64) -> Option<VersionId> {
    number.to_string().parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u64) -> VersionId {
        version_id(number).unwrap()
    }

    fn label(text: &str) -> OperationId {
        format!("{text:a>32}").parse().unwrap()
    }

    /// Version 1 is previous, 2 current, 3 staged by `op`, 4 retired.
    fn example() -> Index {
        let mut index = Index::new(&"a/b".parse().unwrap());
        for operation in [None, None, Some("op"), Some("gone")] {
            index.allocate().unwrap();
            let operation = operation.map(label);
            index.add(operation.as_ref(), UNIX_EPOCH + Duration::from_secs(7));
        }
        index.retire(&id(4)).unwrap();
        index
    }

    fn states(index: &Index) -> Vec<VersionState> {
        index.versions().iter().map(|info| info.state).collect()
    }

    #[test]
    fn versions_are_selected_and_listed_with_their_states() {
        use VersionState::{Current, Previous, Retired, Staged};
        let index = example();
        assert_eq!(states(&index), [Previous, Current, Staged, Retired]);
        assert_eq!(index.readable(), [id(1), id(2), id(3)]);
        let operations = index.versions().into_iter().map(|info| info.operation);
        let expected = [None, None, Some(label("op")), Some(label("gone"))];
        assert_eq!(operations.collect::<Vec<_>>(), expected);
        let (current, created) = index.select(&VersionSelector::Current).unwrap();
        assert_eq!(current, id(2));
        assert_eq!(created, UNIX_EPOCH + Duration::from_secs(7));
        let exact = |number| index.select(&VersionSelector::Exact(id(number)));
        assert_eq!(exact(3).unwrap().0, id(3));
        assert!(matches!(exact(4), Err(Error::Retired)));
        assert!(matches!(exact(5), Err(Error::NoVersion)));
        let padded = VersionSelector::Exact("02".parse().unwrap());
        assert!(matches!(index.select(&padded), Err(Error::NoVersion)));
    }

    #[test]
    fn promotion_is_conditional_on_the_current_version() {
        for (from, to, expected) in [
            (2, 3, "made"),
            (2, 1, "made"),
            (9, 2, "nothing to do"),
            (1, 3, "conflict"),
            (2, 4, "retired"),
            (2, 5, "no version"),
        ] {
            let mut index = example();
            let before = index.clone();
            let found = match index.promote(&id(from), &id(to)) {
                Ok(Change::Made) => "made",
                Ok(Change::None) => "nothing to do",
                Err(Error::Conflict(current)) => {
                    assert_eq!(current, Some(id(2)));
                    "conflict"
                }
                Err(Error::Retired) => "retired",
                Err(Error::NoVersion) => "no version",
                Err(other) => panic!("{other}"),
            };
            assert_eq!(found, expected, "{from} to {to}");
            assert_eq!(index == before, expected != "made");
        }
    }

    #[test]
    fn the_current_version_cannot_be_retired() {
        let mut index = example();
        assert!(matches!(index.retire(&id(2)), Err(Error::Conflict(_))));
        assert_eq!(index.retire(&id(4)).unwrap(), Change::None);
        assert_eq!(index.retire(&id(3)).unwrap(), Change::Made);
        assert_eq!(
            index.staged_by(&label("op")),
            Some(id(3)),
            "the label stays used"
        );
    }

    #[test]
    fn a_full_index_drops_retired_versions_only() {
        let mut index = Index::new(&"a".parse().unwrap());
        for _ in 0..MAX_VERSIONS {
            index.allocate().unwrap();
            index.add(None, UNIX_EPOCH);
        }
        assert!(matches!(index.allocate(), Err(Error::Full { .. })));
        index.retire(&id(5)).unwrap();
        assert_eq!(index.allocate().unwrap(), id(1001));
        index.add(None, UNIX_EPOCH);
        assert!(index.entry(&id(5)).is_none());
        let bytes = serde_json::to_vec(&index).unwrap();
        assert!(bytes.len() < MAX_BYTES / 2);
        assert_eq!(Index::from_bytes(&bytes), Ok(index));
    }

    proptest! {
        #[test]
        fn exactly_one_version_is_current_after_any_steps(steps in proptest::collection::vec((0..4_u8, 1..12_u64, 1..12_u64), 1..60)) {
            let mut index = Index::new(&"a".parse().unwrap());
            index.allocate().unwrap();
            index.add(None, UNIX_EPOCH);
            for (step, a, b) in steps {
                let before = index.clone();
                match step {
                    0 => { index.allocate().unwrap(); index.add(None, UNIX_EPOCH); }
                    1 => { index.allocate().unwrap(); index.add(Some(&label(&a.to_string())), UNIX_EPOCH); }
                    2 => if index.promote(&id(a), &id(b)).is_err() { prop_assert_eq!(&index, &before) },
                    _ => if index.retire(&id(a)).is_err() { prop_assert_eq!(&index, &before) },
                }
                let bytes = serde_json::to_vec(&index).unwrap();
                prop_assert_eq!(Index::from_bytes(&bytes).unwrap(), index.clone());
            }
        }

        #[test]
        fn any_bytes_give_an_index_or_damage(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(Index::from_bytes(&bytes), Err(Damage::Contents));
        }
    }
}
