//! Creating secrets.
//!
//! Tests the contract of `SecretCreator`: a new secret is readable at once, and an existing secret is never modified.

use claviger_backend::{
    BackendError, Kind, MAX_VALUE_BYTES, SecretName, VersionId, VersionSelector, VersionState,
};
use futures_util::future::join;

use crate::{Subject, expect_current, kind, name, secret};

async fn create(
    subject: &dyn Subject,
    name: &SecretName,
    value: &str,
) -> Result<VersionId, BackendError> {
    let creator = subject.backend().creator.as_deref();
    let creator = creator.unwrap_or_else(|| panic!("the backend creates secrets"));
    creator.create(name, secret(value)).await
}

/// A new secret reads back byte for byte, with one current version.
pub async fn a_new_secret_is_current_at_once(subject: &dyn Subject) {
    let name = name("new");
    let value = "erste 🔑\r\n\n";
    let version = create(subject, &name, value).await.unwrap();
    let current = expect_current(subject, &name, value.as_bytes()).await;
    assert_eq!(current, version);
    if let Some(versions) = &subject.backend().versions {
        let listed = versions.versions(&name).await.unwrap();
        let states: Vec<_> = listed.iter().map(|info| info.state).collect();
        assert_eq!(states, [VersionState::Current]);
    }
}

/// Creating an existing secret fails, no matter how that secret was created.
pub async fn an_existing_secret_is_never_created_again(subject: &dyn Subject) {
    let (made, put) = (name("made"), name("put"));
    create(subject, &made, "one").await.unwrap();
    subject.seed(&put, secret("one")).await;
    for name in [&made, &put] {
        let again = create(subject, name, "two").await;
        assert_eq!(kind(again), Kind::Conflict);
        let same = create(subject, name, "one").await;
        assert_eq!(kind(same), Kind::Conflict, "even with the same value");
        expect_current(subject, name, b"one").await;
    }
}

/// Two nodes create the same secret at once: one of them gets a conflict.
pub async fn of_two_creations_one_wins(subject: &dyn Subject) {
    for round in 0..20 {
        let name = name(&format!("race-{round}"));
        let both = join(create(subject, &name, "one"), create(subject, &name, "two")).await;
        let (late, left) = match both {
            (Ok(_), Err(late)) => (late, "one"),
            (Err(late), Ok(_)) => (late, "two"),
            both => panic!("exactly one wins: {both:?}"),
        };
        assert_eq!(late.kind, Kind::Conflict);
        expect_current(subject, &name, left.as_bytes()).await;
    }
}

/// A value that the backend cannot store is rejected, and leaves nothing behind.
pub async fn a_secret_is_created_from_a_value_of_allowed_size(subject: &dyn Subject) {
    let name = name("sizes");
    for value in [String::new(), "x".repeat(MAX_VALUE_BYTES + 1)] {
        let refused = create(subject, &name, &value).await;
        assert_eq!(kind(refused), Kind::Misconfigured);
        let source = &subject.backend().secrets;
        let found = source.fetch(&name, &VersionSelector::Current).await;
        assert_eq!(kind(found), Kind::NotFound);
    }
    let largest = "x".repeat(MAX_VALUE_BYTES);
    create(subject, &name, &largest).await.unwrap();
    expect_current(subject, &name, largest.as_bytes()).await;
}
