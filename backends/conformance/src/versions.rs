//! Listing versions.
//!
//! Tests the contract of `SecretVersions`: complete, in order, and with exactly one current version. Next: `rotation`.

use claviger_backend::{Kind, SecretVersions, VersionState};

use crate::{Subject, expect_current, kind, name, secret};

fn lister(subject: &dyn Subject) -> &dyn SecretVersions {
    let versions = subject.backend().versions.as_deref();
    versions.unwrap_or_else(|| panic!("the backend lists versions"))
}

/// Versions are listed in the order of their creation.
pub async fn versions_are_listed_oldest_first(subject: &dyn Subject) {
    let name = name("listed");
    let mut made = Vec::new();
    for value in ["one", "two", "three"] {
        subject.seed(&name, secret(value)).await;
        made.push(expect_current(subject, &name, value.as_bytes()).await);
    }
    let listed = lister(subject).versions(&name).await.unwrap();
    let ids = listed.iter().map(|info| info.version.clone());
    assert_eq!(ids.collect::<Vec<_>>(), made);
    let times = listed.iter().filter_map(|info| info.created);
    assert!(times.is_sorted(), "creation times go forward");
}

/// The version listed as current is the one that readers get.
pub async fn exactly_one_version_is_current(subject: &dyn Subject) {
    let name = name("one-current");
    for value in ["one", "two"] {
        subject.seed(&name, secret(value)).await;
        let read = expect_current(subject, &name, value.as_bytes()).await;
        let listed = lister(subject).versions(&name).await.unwrap();
        let mut current = listed
            .iter()
            .filter(|info| info.state == VersionState::Current);
        assert_eq!(current.next().map(|info| &info.version), Some(&read));
        assert_eq!(current.next(), None);
    }
}

/// A secret that does not exist is an error, not an empty list.
pub async fn an_unknown_secret_has_no_versions(subject: &dyn Subject) {
    let listed = lister(subject).versions(&name("absent")).await;
    assert_eq!(kind(listed), Kind::NotFound);
}
