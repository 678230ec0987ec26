//! Reading values.
//!
//! Tests the contract of `SecretSource`: exact versions, exact bytes, and different error kinds for a missing secret and an
//! unsupported name. Values are seeded from outside, so the tests apply to a read-only backend. Next: `versions`.

use claviger_backend::{Kind, MAX_VALUE_BYTES, VersionSelector};
use futures_util::FutureExt as _;
use futures_util::future::join_all;

use crate::{Subject, expect_current, expect_exact, kind, name, secret, unknown};

/// A read of `Current` returns the exact identifier of the version.
pub async fn the_current_version_comes_with_its_exact_id(subject: &dyn Subject) {
    let name = name("current");
    subject.seed(&name, secret("one")).await;
    let first = expect_current(subject, &name, b"one").await;
    subject.seed(&name, secret("two")).await;
    let second = expect_current(subject, &name, b"two").await;
    assert_ne!(first, second, "a new value is a new version");
    let again = expect_current(subject, &name, b"two").await;
    assert_eq!(second, again, "reading creates no version");
}

/// A version that is no longer current can be read by its identifier.
pub async fn an_exact_version_stays_readable(subject: &dyn Subject) {
    let name = name("exact");
    subject.seed(&name, secret("one")).await;
    let first = expect_current(subject, &name, b"one").await;
    subject.seed(&name, secret("two")).await;
    let second = expect_current(subject, &name, b"two").await;
    expect_exact(subject, &name, &first, b"one").await;
    expect_exact(subject, &name, &second, b"two").await;
}

/// A missing secret and a missing version are both `NotFound`.
pub async fn a_missing_secret_or_version_is_not_found(subject: &dyn Subject) {
    let source = &subject.backend().secrets;
    let absent = name("absent");
    let exact = VersionSelector::Exact(unknown());
    for version in [&VersionSelector::Current, &exact] {
        assert_eq!(kind(source.fetch(&absent, version).await), Kind::NotFound);
    }
    let present = name("present");
    subject.seed(&present, secret("x")).await;
    assert_eq!(kind(source.fetch(&present, &exact).await), Kind::NotFound);
}

/// A name that the backend does not support is a configuration mistake, not a missing secret.
pub async fn impossible_names_are_misconfigured(subject: &dyn Subject) {
    let source = &subject.backend().secrets;
    for name in subject.impossible_names() {
        let fetched = source.fetch(&name, &VersionSelector::Current).await;
        assert_eq!(kind(fetched), Kind::Misconfigured, "{name}");
    }
}

/// A value reads back exactly as stored.
pub async fn values_come_back_byte_for_byte(subject: &dyn Subject) {
    let largest = "k".repeat(MAX_VALUE_BYTES);
    let texts = [
        "plain",
        "trailing newline\n",
        "\r\n\r\n",
        " spaces and\ttabs ",
        "pässwörd 密码 🔑 \u{200b}\u{fe0f}",
        r#"{"client_id":"a","client_secret":"b\nc","list":[1,2.50]}"#,
        "{\n  \"b\": 1,\n  \"a\": 1\n}\n",
        "null",
        "\"quoted\"",
        &largest,
    ];
    for (number, text) in texts.iter().enumerate() {
        let name = name(&format!("bytes-{number}"));
        subject.seed(&name, secret(*text)).await;
        expect_current(subject, &name, text.as_bytes()).await;
    }
}

/// Names that differ in case or punctuation only are different secrets.
pub async fn similar_names_are_different_secrets(subject: &dyn Subject) {
    let names = ["a", "A", "a-a", "a-", "aa"].map(name);
    let distinct =
        |name: &&claviger_backend::SecretName| !subject.impossible_names().contains(name);
    let names = names.iter().filter(distinct).collect::<Vec<_>>();
    for name in &names {
        subject.seed(name, secret(name.as_str())).await;
    }
    for name in &names {
        expect_current(subject, name, name.as_str().as_bytes()).await;
    }
}

/// Concurrent reads all succeed.
pub async fn reads_run_side_by_side(subject: &dyn Subject) {
    let name = name("parallel");
    subject.seed(&name, secret("x")).await;
    let reads = (0..32).map(|_| expect_current(subject, &name, b"x"));
    let versions = join_all(reads).await;
    assert!(versions.windows(2).all(|pair| pair.first() == pair.last()));
}

/// A cancelled read neither harms the backend nor keeps a resource.
pub async fn a_cancelled_read_changes_nothing(subject: &dyn Subject) {
    let name = name("cancelled");
    subject.seed(&name, secret("x")).await;
    let source = &subject.backend().secrets;
    let before = expect_current(subject, &name, b"x").await;
    for _ in 0..32 {
        // Poll once, so that the read starts, then drop it.
        drop(
            source
                .fetch(&name, &VersionSelector::Current)
                .now_or_never(),
        );
    }
    assert_eq!(expect_current(subject, &name, b"x").await, before);
}

/// The probe of a working backend succeeds.
pub async fn a_probe_succeeds(subject: &dyn Subject) {
    subject.backend().secrets.probe().await.unwrap();
}
