//! The control document of a secret, as far as it is needed yet: the mark "rotate now".
//!
//! Owns the format of the one document that a secret has in the register of its backend, in the phase `Idle`, and the field
//! `rotate_now` in it. A document is created with the first mark, and rotation takes over that very document. Changed by
//! compare-and-swap alone; fields that are not known here are kept, and a document of another format or in another phase is
//! left alone. Never holds a value or anything computed from one.

use std::time::Duration;

use claviger_backend::{BackendError, Kind, Register, SecretName, VersionId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The format that is written, and the only one that is read.
const FORMAT: u32 = 1;

/// How often the mark is tried when others write at the same time.
const ATTEMPTS: u32 = 4;

/// One version of a secret that must be replaced at its issuer now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The version that is meant, and no other.
    pub version: VersionId,
    /// Why.
    pub reason: Reason,
    /// Since when it is known, counted from the Unix epoch. For people.
    pub at: Duration,
}

/// Why a version must be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It was imported from a file in which it lay in the clear.
    LayInTheClear,
}

impl Reason {
    /// The word for it in documents and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LayInTheClear => "lay_in_the_clear",
        }
    }
}

/// Why a version was not marked.
#[derive(Debug, thiserror::Error)]
pub enum Unmarked {
    /// The backend has no register.
    #[error("the backend keeps no control documents")]
    NoRegister,
    /// A later version of claviger may have written it, or a rotation is in progress.
    #[error("the secret's control document is in another format or phase")]
    Foreign,
    /// The document cannot be encoded.
    #[error("cannot encode the control document")]
    Encoding,
    /// The register refused or failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// A control document between two rotations.
#[derive(Serialize, Deserialize)]
struct Document {
    v: u32,
    /// Counts the promotions.
    #[serde(rename = "gen")]
    generation: u64,
    phase: Phase,
    /// The credential in use: its `version` in the backend, and its `id` at the issuer where that is known.
    cur: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rotate_now: Option<RotateNow>,
    /// Everything else, kept as it is.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// The phases in which a mark may be set.
#[derive(Serialize, Deserialize)]
enum Phase {
    Idle,
}

/// A mark as it is written.
#[derive(Serialize, Deserialize)]
struct RotateNow {
    version: String,
    reason: Reason,
    at: u64,
}

impl Document {
    /// The document in `bytes`, if it is one that may be changed here.
    fn read(bytes: &[u8]) -> Option<Self> {
        let document = serde_json::from_slice::<Self>(bytes).ok()?;
        (document.v == FORMAT).then_some(document)
    }

    fn new() -> Self {
        Self {
            v: FORMAT,
            generation: 0,
            phase: Phase::Idle,
            cur: Map::new(),
            rotate_now: None,
            rest: Map::new(),
        }
    }

    fn mark(&self) -> Option<Mark> {
        let RotateNow {
            version,
            reason,
            at,
        } = self.rotate_now.as_ref()?;
        Some(Mark {
            version: version.parse().ok()?,
            reason: *reason,
            at: Duration::from_secs(*at),
        })
    }

    /// With the mark, whose version readers see now.
    fn marked(mut self, mark: &Mark) -> Self {
        let version = mark.version.as_str();
        if self.cur.get("version").and_then(Value::as_str) != Some(version) {
            if !self.cur.is_empty() {
                self.generation = self.generation.saturating_add(1);
            }
            // Another credential, whose identifier at the issuer is not known.
            self.cur = Map::from_iter([("version".to_owned(), version.into())]);
        }
        self.rotate_now = Some(RotateNow {
            version: version.to_owned(),
            reason: mark.reason,
            at: mark.at.as_secs(),
        });
        self
    }
}

/// Marks the current version of a secret. A version that is marked already keeps its mark, and the mark of another version is
/// replaced.
///
/// # Errors
/// [`Unmarked`].
pub async fn set(
    register: &dyn Register,
    secret: &SecretName,
    mark: &Mark,
) -> Result<(), Unmarked> {
    let mut left = ATTEMPTS;
    loop {
        let found = register.load(secret).await?;
        let former = match &found {
            None => Document::new(),
            Some(loaded) => Document::read(&loaded.document).ok_or(Unmarked::Foreign)?,
        };
        if former
            .mark()
            .is_some_and(|found| found.version == mark.version)
        {
            return Ok(());
        }
        let document =
            serde_json::to_vec(&former.marked(mark)).map_err(|_plain_data| Unmarked::Encoding)?;
        let revision = found.as_ref().map(|loaded| &loaded.revision);
        left = left.saturating_sub(1);
        match register.swap(secret, revision, &document).await {
            Ok(_) => return Ok(()),
            // Loading it again shows the outcome.
            Err(error) if left > 0 && matches!(error.kind, Kind::Conflict | Kind::InDoubt) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The mark of a secret. It means nothing once another version is current, which the caller has to compare.
///
/// # Errors
/// Whatever keeps the register from answering.
pub async fn find(
    register: &dyn Register,
    secret: &SecretName,
) -> Result<Option<Mark>, BackendError> {
    let found = register.load(secret).await?;
    Ok(found.and_then(|loaded| Document::read(&loaded.document)?.mark()))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use claviger_backend::{Loaded, Revision};

    use super::*;

    /// A register in memory whose next swaps fail in a chosen way.
    #[derive(Debug, Default)]
    struct Memory {
        cell: Mutex<Option<(u32, Vec<u8>)>>,
        /// The failures to come, and whether each happens after the write.
        failures: Mutex<Vec<(Kind, bool)>>,
    }

    #[async_trait]
    impl Register for Memory {
        async fn load(&self, name: &SecretName) -> Result<Option<Loaded>, BackendError> {
            assert_eq!(name.as_str(), "oauth/billing");
            let cell = self.cell.lock().unwrap().clone();
            Ok(cell.map(|(revision, document)| Loaded {
                revision: Revision::new(revision.to_string()),
                document,
                answered: None,
            }))
        }

        async fn swap(
            &self,
            _name: &SecretName,
            expected: Option<&Revision>,
            document: &[u8],
        ) -> Result<Revision, BackendError> {
            assert!(document.len() < 2048);
            let fail = |kind| BackendError::new(kind, &"b".parse().unwrap(), "swap");
            let failure = self.failures.lock().unwrap().pop();
            if let Some((kind, false)) = failure {
                return Err(fail(kind));
            }
            let mut cell = self.cell.lock().unwrap();
            let revision = cell.as_ref().map(|(revision, _)| revision.to_string());
            if revision.as_deref() != expected.map(Revision::as_str) {
                return Err(fail(Kind::Conflict));
            }
            let next = cell.as_ref().map_or(1, |(revision, _)| revision + 1);
            *cell = Some((next, document.to_vec()));
            match failure {
                Some((kind, _)) => Err(fail(kind)),
                None => Ok(Revision::new(next.to_string())),
            }
        }
    }

    fn mark(version: &str, at: u64) -> Mark {
        Mark {
            version: version.parse().unwrap(),
            reason: Reason::LayInTheClear,
            at: Duration::from_secs(at),
        }
    }

    fn secret() -> SecretName {
        "oauth/billing".parse().unwrap()
    }

    #[tokio::test]
    async fn a_mark_stands_for_one_version() {
        let register = Memory::default();
        assert_eq!(find(&register, &secret()).await.unwrap(), None);
        set(&register, &secret(), &mark("3", 7)).await.unwrap();
        assert_eq!(
            find(&register, &secret()).await.unwrap(),
            Some(mark("3", 7))
        );
        // Seen again later, it has been known since the first time.
        set(&register, &secret(), &mark("3", 9)).await.unwrap();
        assert_eq!(
            find(&register, &secret()).await.unwrap(),
            Some(mark("3", 7))
        );
        set(&register, &secret(), &mark("4", 9)).await.unwrap();
        assert_eq!(
            find(&register, &secret()).await.unwrap(),
            Some(mark("4", 9))
        );
        let written = register.cell.lock().unwrap().clone().unwrap().1;
        assert_eq!(
            String::from_utf8(written).unwrap(),
            r#"{"v":1,"gen":1,"phase":"Idle","cur":{"version":"4"},"rotate_now":{"version":"4","reason":"lay_in_the_clear","at":9}}"#
        );
    }

    #[tokio::test]
    async fn a_lost_race_and_a_lost_answer_are_looked_into() {
        let register = Memory {
            failures: Mutex::new(vec![(Kind::InDoubt, true), (Kind::Conflict, false)]),
            ..Memory::default()
        };
        set(&register, &secret(), &mark("3", 7)).await.unwrap();
        assert_eq!(register.cell.lock().unwrap().as_ref().unwrap().0, 1);
        let register = Memory {
            failures: Mutex::new(vec![(Kind::Conflict, false); 9]),
            ..Memory::default()
        };
        let never = set(&register, &secret(), &mark("3", 7)).await;
        assert!(matches!(never, Err(Unmarked::Backend(error)) if error.kind == Kind::Conflict));
        let register = Memory {
            failures: Mutex::new(vec![(Kind::PermissionDenied, false)]),
            ..Memory::default()
        };
        let denied = set(&register, &secret(), &mark("3", 7)).await;
        assert!(
            matches!(denied, Err(Unmarked::Backend(error)) if error.kind == Kind::PermissionDenied)
        );
        assert_eq!(*register.cell.lock().unwrap(), None);
    }

    #[tokio::test]
    async fn an_unknown_document_is_no_mark_and_is_left_alone() {
        for document in [
            "",
            "{}",
            r#"{"v":2,"gen":0,"phase":"Idle","cur":{"version":"3"}}"#,
            r#"{"v":1,"gen":0,"phase":"Staged","op":"x","cur":{"version":"3"}}"#,
            r#"{"v":1,"phase":"Idle","cur":{"version":"3"}}"#,
            r#"{"v":1,"gen":0,"phase":"Idle","cur":{},"rotate_now":{"version":"3","reason":"else","at":7}}"#,
        ] {
            let register = Memory {
                cell: Mutex::new(Some((1, document.as_bytes().to_vec()))),
                ..Memory::default()
            };
            assert_eq!(find(&register, &secret()).await.unwrap(), None);
            let unmarked = set(&register, &secret(), &mark("3", 7)).await;
            assert!(matches!(unmarked, Err(Unmarked::Foreign)));
            assert_eq!(register.cell.lock().unwrap().as_ref().unwrap().0, 1);
        }
    }

    /// A document that rotation has adopted keeps what is not said here, and its credential if it is the one that is marked.
    #[tokio::test]
    async fn an_adopted_document_is_marked_and_otherwise_kept() {
        let adopted = r#"{"v":1,"gen":6,"phase":"Idle","cur":{"id":"k-1","version":"3"},"next_at":99,"later":[1]}"#;
        for (version, expected) in [
            (
                "3",
                r#"{"v":1,"gen":6,"phase":"Idle","cur":{"id":"k-1","version":"3"},"rotate_now":{"version":"3","reason":"lay_in_the_clear","at":7},"later":[1],"next_at":99}"#,
            ),
            (
                "4",
                r#"{"v":1,"gen":7,"phase":"Idle","cur":{"version":"4"},"rotate_now":{"version":"4","reason":"lay_in_the_clear","at":7},"later":[1],"next_at":99}"#,
            ),
        ] {
            let register = Memory {
                cell: Mutex::new(Some((1, adopted.as_bytes().to_vec()))),
                ..Memory::default()
            };
            assert_eq!(find(&register, &secret()).await.unwrap(), None);
            set(&register, &secret(), &mark(version, 7)).await.unwrap();
            let written = register.cell.lock().unwrap().clone().unwrap().1;
            let written: Value = serde_json::from_slice(&written).unwrap();
            assert_eq!(written, serde_json::from_str::<Value>(expected).unwrap());
        }
    }
}
