//! Staging, promoting and retiring.
//!
//! Tests the contract of `SecretRotator`. Because a repeated step changes nothing and a late step is rejected, a rotation can
//! be interrupted at any point and completed by another node. Next: `register`.

use claviger_backend::{
    BackendError, Kind, MAX_VALUE_BYTES, SecretName, SecretRotator, Staged, VersionId,
    VersionSelector, VersionState,
};
use futures_util::future::join;

use crate::{Subject, expect_current, expect_exact, kind, label, name, secret, unknown};

fn rotator(subject: &dyn Subject) -> &dyn SecretRotator {
    let rotator = subject.backend().rotator.as_deref();
    rotator.unwrap_or_else(|| panic!("the backend rotates"))
}

async fn stage(
    subject: &dyn Subject,
    name: &SecretName,
    operation: &str,
    value: &str,
) -> Result<VersionId, BackendError> {
    let staged = Staged {
        value: secret(value),
        operation: label(operation),
    };
    rotator(subject).stage(name, staged).await
}

/// Seeds `one`, stages `two` and `three`, and returns the three versions.
async fn three(subject: &dyn Subject, name: &SecretName) -> [VersionId; 3] {
    subject.seed(name, secret("one")).await;
    let one = expect_current(subject, name, b"one").await;
    let two = stage(subject, name, "2", "two").await.unwrap();
    let three = stage(subject, name, "3", "three").await.unwrap();
    [one, two, three]
}

/// Readers of `Current` do not see a staged version; a reader of that version does.
pub async fn a_staged_value_is_invisible_until_promoted(subject: &dyn Subject) {
    let name = name("staged");
    subject.seed(&name, secret("one")).await;
    let one = expect_current(subject, &name, b"one").await;
    let two = stage(subject, &name, "2", "two").await.unwrap();
    assert_eq!(expect_current(subject, &name, b"one").await, one);
    expect_exact(subject, &name, &two, b"two").await;
    expect_state(subject, &name, &two, VersionState::Staged).await;
    rotator(subject).promote(&name, &one, &two).await.unwrap();
    assert_eq!(expect_current(subject, &name, b"two").await, two);
    expect_exact(subject, &name, &one, b"one").await;
    expect_state(subject, &name, &one, VersionState::Previous).await;
}

/// The cleanup after an interrupted operation can find the versions that this operation staged, and only those.
pub async fn a_staged_version_is_found_by_its_label(subject: &dyn Subject) {
    let name = name("found");
    let [one, two, three] = three(subject, &name).await;
    rotator(subject).promote(&name, &one, &two).await.unwrap();
    let Some(versions) = &subject.backend().versions else {
        panic!("rotation needs a list of versions, for cleaning up");
    };
    let listed = versions.versions(&name).await.unwrap();
    for (version, operation) in [(&one, None), (&two, Some("2")), (&three, Some("3"))] {
        let found = listed.iter().find(|info| &info.version == version);
        let found = found.map(|info| info.operation.clone());
        assert_eq!(found, Some(operation.map(label)), "{version}");
    }
}

/// Staging a label again changes nothing, whatever the value.
pub async fn staging_is_create_only_by_its_label(subject: &dyn Subject) {
    let name = name("label");
    subject.seed(&name, secret("one")).await;
    let first = stage(subject, &name, "2", "two").await.unwrap();
    let again = stage(subject, &name, "2", "two").await.unwrap();
    assert_eq!(first, again);
    // A backend may reject another value under the same label, or ignore it; it must not store it.
    match stage(subject, &name, "2", "other").await {
        Ok(version) => assert_eq!(version, first),
        Err(error) => assert_eq!(error.kind, Kind::Conflict),
    }
    expect_exact(subject, &name, &first, b"two").await;
    let other = stage(subject, &name, "3", "two").await.unwrap();
    assert_ne!(other, first, "a new label is a new version");
}

/// Staging fails if the secret does not exist or the value has a size that the backend cannot store.
pub async fn staging_needs_a_secret_and_a_value_of_allowed_size(subject: &dyn Subject) {
    let absent = stage(subject, &name("absent"), "1", "x").await;
    assert_eq!(kind(absent), Kind::NotFound);
    let name = name("sizes");
    subject.seed(&name, secret("one")).await;
    let one = expect_current(subject, &name, b"one").await;
    let largest = "x".repeat(MAX_VALUE_BYTES);
    let larger = "x".repeat(MAX_VALUE_BYTES + 1);
    assert_eq!(
        kind(stage(subject, &name, "2", &larger).await),
        Kind::Misconfigured
    );
    assert_eq!(
        kind(stage(subject, &name, "3", "").await),
        Kind::Misconfigured
    );
    let version = stage(subject, &name, "4", &largest).await.unwrap();
    expect_exact(subject, &name, &version, largest.as_bytes()).await;
    assert_eq!(expect_current(subject, &name, b"one").await, one);
}

/// Promotion succeeds only from the current version; repeating it changes nothing.
pub async fn promotion_is_conditional_and_idempotent(subject: &dyn Subject) {
    let name = name("promote");
    let [one, two, three] = three(subject, &name).await;
    let rotator = rotator(subject);
    rotator.promote(&name, &one, &two).await.unwrap();
    rotator.promote(&name, &one, &two).await.unwrap();
    let late = rotator.promote(&name, &one, &three).await;
    assert_eq!(kind(late), Kind::Conflict, "a third version is current");
    assert_eq!(expect_current(subject, &name, b"two").await, two);
    rotator.promote(&name, &two, &three).await.unwrap();
    assert_eq!(expect_current(subject, &name, b"three").await, three);
}

/// A failed rotation is rolled back by promoting the previous version.
pub async fn promotion_can_be_rolled_back(subject: &dyn Subject) {
    let name = name("back");
    let [one, two, _three] = three(subject, &name).await;
    rotator(subject).promote(&name, &one, &two).await.unwrap();
    rotator(subject).promote(&name, &two, &one).await.unwrap();
    assert_eq!(expect_current(subject, &name, b"one").await, one);
    expect_exact(subject, &name, &two, b"two").await;
}

/// An unreadable version cannot become current.
pub async fn promotion_needs_a_readable_version(subject: &dyn Subject) {
    let name = name("unreadable");
    let [one, two, _three] = three(subject, &name).await;
    let unknown = rotator(subject).promote(&name, &one, &unknown()).await;
    assert_eq!(kind(unknown), Kind::NotFound);
    rotator(subject).retire(&name, &two).await.unwrap();
    let gone = kind(rotator(subject).promote(&name, &one, &two).await);
    assert!(matches!(gone, Kind::Gone | Kind::NotFound), "{gone:?}");
    assert_eq!(expect_current(subject, &name, b"one").await, one);
}

/// Two nodes promote different versions from the same one: one of them gets a conflict.
pub async fn of_two_promotions_one_wins(subject: &dyn Subject) {
    for round in 0..20 {
        let name = name(&format!("race-{round}"));
        let [one, two, three] = three(subject, &name).await;
        let rotator = rotator(subject);
        let (a, b) = join(
            rotator.promote(&name, &one, &two),
            rotator.promote(&name, &one, &three),
        )
        .await;
        match (a, b) {
            (Ok(()), Err(late)) => {
                assert_eq!(late.kind, Kind::Conflict);
                assert_eq!(expect_current(subject, &name, b"two").await, two);
            }
            (Err(late), Ok(())) => {
                assert_eq!(late.kind, Kind::Conflict);
                assert_eq!(expect_current(subject, &name, b"three").await, three);
            }
            both => panic!("exactly one wins: {both:?}"),
        }
    }
}

/// A retired version cannot be read, and retiring it again is not an error.
pub async fn a_retired_version_is_permanently_unreadable(subject: &dyn Subject) {
    let name = name("retire");
    let [one, two, three] = three(subject, &name).await;
    let rotator = rotator(subject);
    rotator.promote(&name, &one, &two).await.unwrap();
    for version in [&one, &three] {
        rotator.retire(&name, version).await.unwrap();
        rotator.retire(&name, version).await.unwrap();
        let exact = VersionSelector::Exact(version.clone());
        let fetched = subject.backend().secrets.fetch(&name, &exact).await;
        assert_eq!(kind(fetched), Kind::Gone);
        expect_state(subject, &name, version, VersionState::Retired).await;
    }
    let unknown = rotator.retire(&name, &unknown()).await;
    assert_eq!(kind(unknown), Kind::NotFound);
    assert_eq!(expect_current(subject, &name, b"two").await, two);
}

/// The current version cannot be retired.
pub async fn the_current_version_is_never_retired(subject: &dyn Subject) {
    let name = name("current");
    let [one, two, _three] = three(subject, &name).await;
    let current = rotator(subject).retire(&name, &one).await;
    assert_eq!(kind(current), Kind::Conflict);
    rotator(subject).promote(&name, &one, &two).await.unwrap();
    let current = rotator(subject).retire(&name, &two).await;
    assert_eq!(kind(current), Kind::Conflict);
    assert_eq!(expect_current(subject, &name, b"two").await, two);
}

/// Rotation changes no byte of a staged, current or previous value.
pub async fn rotation_preserves_every_byte(subject: &dyn Subject) {
    let name = name("bytes");
    let first = "erste 🔑\n";
    let second = "{\"a\": \"zweite\\n\"}\r\n\n";
    subject.seed(&name, secret(first)).await;
    let one = expect_current(subject, &name, first.as_bytes()).await;
    let two = stage(subject, &name, "2", second).await.unwrap();
    expect_exact(subject, &name, &two, second.as_bytes()).await;
    rotator(subject).promote(&name, &one, &two).await.unwrap();
    expect_current(subject, &name, second.as_bytes()).await;
    expect_exact(subject, &name, &one, first.as_bytes()).await;
}

/// Asserts the listed state of a version, if the backend lists versions.
async fn expect_state(
    subject: &dyn Subject,
    name: &SecretName,
    version: &VersionId,
    expected: VersionState,
) {
    let Some(versions) = &subject.backend().versions else {
        return;
    };
    let listed = versions.versions(name).await.unwrap();
    let found = listed.iter().find(|info| &info.version == version);
    assert_eq!(found.map(|info| info.state), Some(expected), "{version}");
}
