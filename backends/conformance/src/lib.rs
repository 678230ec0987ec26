//! The conformance suite that every backend of claviger must pass.
//!
//! Owns one test per promise of the traits in `claviger_backend`, as plain async functions over a [`Subject`], and the macro
//! [`suite!`], which turns each of them into a test of the calling crate. Depends on no backend and no runtime: a subject
//! provides a fresh backend, a way to write a value from outside the traits, and the errors that are specific to it.
//!
//! A backend names the groups that it has capabilities for (`reads`, `versions`, `creation`, `rotation`, `register`). A
//! capability that is present but not named, or named but not present, fails a test, so nothing is skipped silently.
//!
//! One rule is decided here: an empty value is not a secret. Staging one is `Misconfigured` for every backend, because an empty
//! credential is always a mistake and some stores cannot store it.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "the functions are tests, which fail by panicking"
)]

use async_trait::async_trait;
use claviger_backend::{
    Backend, BackendError, Kind, OperationId, Secret, SecretName, VersionId, VersionSelector,
};

pub mod creation;
pub mod leaks;
pub mod reads;
pub mod register;
pub mod rotation;
pub mod versions;

/// A backend under test. Every test gets its own, empty one.
#[async_trait]
pub trait Subject: Send + Sync {
    /// The backend.
    fn backend(&self) -> &Backend;

    /// Makes `value` the current version of a secret, from outside the traits, as an operator would. Creates the secret if it
    /// does not exist.
    async fn seed(&self, name: &SecretName, value: Secret);

    /// Well-formed names that this backend does not support. Empty if it supports all of them.
    fn impossible_names(&self) -> Vec<SecretName>;

    /// Errors that are specific to this backend, such as those of a broken connection or a damaged file, provoked by reading
    /// `name`, which has a value. The backend need not work afterwards.
    async fn provoke(&self, name: &SecretName) -> Vec<BackendError>;
}

/// Generates one test per promise in the named groups. The first argument is an `async fn` that returns a fresh [`Subject`];
/// the calling crate needs tokio with `macros` and `rt-multi-thread` for its tests.
///
/// ```text
/// claviger_backend_conformance::suite!(fresh: reads, versions, creation, rotation, register);
/// ```
#[macro_export]
macro_rules! suite {
    ($fresh:path: $($group:ident),+ $(,)?) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn every_capability_is_tested() {
            $crate::capabilities(&$fresh().await, &[$(stringify!($group)),+]);
        }

        $crate::cases!($fresh, leaks: no_error_repeats_a_value);
        $($crate::$group!($fresh);)+
    };
}

/// The tests of reading.
#[macro_export]
macro_rules! reads {
    ($fresh:path) => {
        $crate::cases!($fresh, reads:
            the_current_version_comes_with_its_exact_id,
            an_exact_version_stays_readable,
            a_missing_secret_or_version_is_not_found,
            impossible_names_are_misconfigured,
            values_come_back_byte_for_byte,
            similar_names_are_different_secrets,
            reads_run_side_by_side,
            a_cancelled_read_changes_nothing,
            a_probe_succeeds,
        );
    };
}

/// The tests of listing versions.
#[macro_export]
macro_rules! versions {
    ($fresh:path) => {
        $crate::cases!($fresh, versions:
            versions_are_listed_oldest_first,
            exactly_one_version_is_current,
            an_unknown_secret_has_no_versions,
        );
    };
}

/// The tests of creating secrets.
#[macro_export]
macro_rules! creation {
    ($fresh:path) => {
        $crate::cases!($fresh, creation:
            a_new_secret_is_current_at_once,
            an_existing_secret_is_never_created_again,
            of_two_creations_one_wins,
            a_secret_is_created_from_a_value_of_allowed_size,
        );
    };
}

/// The tests of rotation.
#[macro_export]
macro_rules! rotation {
    ($fresh:path) => {
        $crate::cases!($fresh, rotation:
            a_staged_value_is_invisible_until_promoted,
            a_staged_version_is_found_by_its_label,
            staging_is_create_only_by_its_label,
            staging_needs_a_secret_and_a_value_of_allowed_size,
            promotion_is_conditional_and_idempotent,
            promotion_can_be_rolled_back,
            promotion_needs_a_readable_version,
            of_two_promotions_one_wins,
            a_retired_version_is_permanently_unreadable,
            the_current_version_is_never_retired,
            rotation_preserves_every_byte,
        );
    };
}

/// The tests of the register.
#[macro_export]
macro_rules! register {
    ($fresh:path) => {
        $crate::cases!($fresh, register:
            a_missing_document_is_none,
            a_document_needs_no_secret,
            a_swap_is_visible_and_changes_the_revision,
            a_stale_revision_conflicts,
            a_document_is_created_once,
            of_eight_writers_exactly_one_wins_each_round,
            a_document_has_a_size_limit,
            documents_and_values_are_independent,
        );
    };
}

/// Turns functions of this crate into tests of the calling crate.
#[doc(hidden)]
#[macro_export]
macro_rules! cases {
    ($fresh:path, $module:ident: $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::$module::$case(&$fresh().await).await;
            }
        )+
    };
}

/// Asserts that the backend has exactly the capabilities whose groups are tested.
pub fn capabilities(subject: &dyn Subject, groups: &[&str]) {
    let backend = subject.backend();
    assert!(groups.contains(&"reads"), "every backend reads");
    for (group, present) in [
        ("versions", backend.versions.is_some()),
        ("creation", backend.creator.is_some()),
        ("rotation", backend.rotator.is_some()),
        ("register", backend.register.is_some()),
    ] {
        assert_eq!(groups.contains(&group), present, "capability: {group}");
    }
    assert!(!backend.kind.is_empty());
}

/// A secret name that is unique to `text`. Every backend accepts letters, digits and `-`.
fn name(text: &str) -> SecretName {
    format!("claviger-conformance-{text}").parse().unwrap()
}

/// An operation label in the form that a rotation generates.
fn label(text: &str) -> OperationId {
    uuid(text).parse().unwrap()
}

/// A version that no backend has created.
fn unknown() -> VersionId {
    version("9")
}

fn version(text: &str) -> VersionId {
    uuid(text).parse().unwrap()
}

fn uuid(text: &str) -> String {
    format!("2f6c1f0a-8b1d-4a53-9d60-{text:0>12}")
}

fn secret(bytes: impl Into<Vec<u8>>) -> Secret {
    Secret::new(bytes.into())
}

#[expect(clippy::disallowed_methods, reason = "the suite compares values")]
fn shown(secret: &Secret) -> &[u8] {
    secret.expose()
}

/// Asserts that the current value is `expected`, and returns its version.
async fn expect_current(subject: &dyn Subject, name: &SecretName, expected: &[u8]) -> VersionId {
    let source = &subject.backend().secrets;
    let fetched = source.fetch(name, &VersionSelector::Current).await.unwrap();
    // Not `assert_eq`: these tests also run against real stores, and their output is stored.
    assert!(shown(&fetched.value) == expected, "the value of {name}");
    fetched.version
}

/// Asserts that a version has the value `expected`.
async fn expect_exact(
    subject: &dyn Subject,
    name: &SecretName,
    version: &VersionId,
    expected: &[u8],
) {
    let source = &subject.backend().secrets;
    let exact = VersionSelector::Exact(version.clone());
    let fetched = source.fetch(name, &exact).await.unwrap();
    assert!(shown(&fetched.value) == expected, "{name}@{version}");
    assert_eq!(&fetched.version, version);
}

/// The error kind of a call that must fail.
fn kind<T: std::fmt::Debug>(result: Result<T, BackendError>) -> Kind {
    result.unwrap_err().kind
}
