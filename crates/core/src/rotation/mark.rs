//! The mark "rotate now".
//!
//! Owns its form and its place: a small document of its own beside the control document of a secret, which only an adopted
//! secret has. Changed by compare-and-swap, like everything in a register.

use std::time::Duration;

use claviger_backend::{BackendError, Kind, Register, SecretName, VersionId};
use serde::{Deserialize, Serialize};

/// The form that is written, and the only one that is understood.
const FORM: u32 = 1;

/// What the name of a secret is followed by in the name of its mark. Letters and `-` suit the names of every backend.
const SUFFIX: &str = "-rotate-now";

/// How often the mark is tried when others write at the same time.
const ATTEMPTS: u32 = 4;

/// One version of a secret that must be replaced at its source.
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

/// Why there is no mark.
#[derive(Debug, thiserror::Error)]
pub enum Unmarked {
    /// The backend keeps no documents.
    #[error("the backend keeps no marks")]
    Nowhere,
    /// The name of the secret is too long for a name beside it.
    #[error("the secret's name is too long for a mark beside it")]
    Name,
    /// A later version may have written it; this one does not touch what it does not know.
    #[error("something else is kept where the mark would be")]
    Foreign,
    /// The mark cannot be written down.
    #[error("the mark has no form")]
    Form,
    /// The register refused or failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// A mark as it is kept.
#[derive(Serialize, Deserialize)]
struct Document {
    v: u32,
    version: String,
    reason: Reason,
    at: u64,
}

/// Marks a version of a secret; one that is marked already keeps its mark. Another version's mark is replaced.
///
/// # Errors
/// [`Unmarked`].
pub async fn set(
    register: &dyn Register,
    secret: &SecretName,
    mark: &Mark,
) -> Result<(), Unmarked> {
    let place = place(secret).ok_or(Unmarked::Name)?;
    let document = Document {
        v: FORM,
        version: mark.version.as_str().to_owned(),
        reason: mark.reason,
        at: mark.at.as_secs(),
    };
    let document = serde_json::to_vec(&document).map_err(|_plain_data| Unmarked::Form)?;
    let mut left = ATTEMPTS;
    loop {
        let found = register.load(&place).await?;
        let revision = match &found {
            None => None,
            Some(loaded) => match read(&loaded.document) {
                None => return Err(Unmarked::Foreign),
                Some(marked) if marked.version == mark.version => return Ok(()),
                Some(_of_another_version) => Some(&loaded.revision),
            },
        };
        left = left.saturating_sub(1);
        match register.swap(&place, revision, &document).await {
            Ok(_) => return Ok(()),
            // The next look tells what has become of it.
            Err(error) if left > 0 && matches!(error.kind, Kind::Conflict | Kind::InDoubt) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The mark of a secret. Whether it means anything is for who knows the current version to say.
///
/// # Errors
/// Whatever keeps the register from answering.
pub async fn find(
    register: &dyn Register,
    secret: &SecretName,
) -> Result<Option<Mark>, BackendError> {
    let Some(place) = place(secret) else {
        return Ok(None);
    };
    let found = register.load(&place).await?;
    Ok(found.and_then(|loaded| read(&loaded.document)))
}

/// Where the mark of a secret is.
fn place(secret: &SecretName) -> Option<SecretName> {
    format!("{secret}{SUFFIX}").parse().ok()
}

/// What a document says. One of another form, as a later version may write it, says nothing.
fn read(bytes: &[u8]) -> Option<Mark> {
    let document = serde_json::from_slice::<Document>(bytes).ok()?;
    Some(Mark {
        version: (document.v == FORM).then(|| document.version.parse().ok())??,
        reason: document.reason,
        at: Duration::from_secs(document.at),
    })
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
            assert_eq!(name.as_str(), "oauth/billing-rotate-now");
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
            r#"{"v":1,"version":"4","reason":"lay_in_the_clear","at":9}"#
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
    async fn what_is_not_understood_is_no_mark_and_stays() {
        for document in [
            "",
            "{}",
            r#"{"v":2,"version":"3","reason":"lay_in_the_clear","at":7}"#,
            r#"{"v":1,"version":"3","reason":"else","at":7}"#,
            r#"{"v":1,"version":"a b","reason":"lay_in_the_clear","at":7}"#,
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
        let long = "a".repeat(510).parse().unwrap();
        let register = Memory::default();
        assert_eq!(find(&register, &long).await.unwrap(), None);
        let unmarked = set(&register, &long, &mark("3", 7)).await;
        assert!(matches!(unmarked, Err(Unmarked::Name)));
    }
}
