//! The conformance suite: what every backend of claviger is held to.
//!
//! Owns one test per promise of the traits in `claviger_backend`, as plain async functions over a [`Subject`], and the macro
//! [`suite!`] that makes each of them a test of the crate that calls it. Knows no backend and needs no runtime: a subject
//! brings a fresh backend, a way to put a value there from outside, and the errors that only it can be brought to.
//!
//! A backend names the groups that it has capabilities for (`reads`, `versions`, `creation`, `rotation`, `register`); a
//! capability that is there and not named, or named and not there, fails too, so nothing is skipped in silence.
//!
//! What the traits leave open is decided here: an empty value is no secret. Staging one is `Misconfigured` everywhere,
//! because an empty credential is always a mistake and some stores cannot hold it.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "the functions are tests: to panic is how they fail"
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

/// A backend under test. Every test gets its own, with nothing in it.
#[async_trait]
pub trait Subject: Send + Sync {
    /// The backend.
    fn backend(&self) -> &Backend;

    /// Makes `value` the current version of a secret, from outside the traits: as an operator would. Makes the secret if
    /// there is none.
    async fn seed(&self, name: &SecretName, value: Secret);

    /// Names that are well-formed and that this backend cannot have. Empty if it takes all.
    fn impossible_names(&self) -> Vec<SecretName>;

    /// Errors that only this backend can be brought to, such as those of a broken connection or a damaged file, provoked by
    /// reading `name`, which holds a value. It need not work afterwards.
    async fn provoke(&self, name: &SecretName) -> Vec<BackendError>;
}

/// Makes a test of each promise in the named groups. The first argument is an `async fn` that returns a fresh [`Subject`];
/// the calling crate needs tokio with `macros` and `rt-multi-thread` for its tests.
///
/// ```text
/// claviger_backend_conformance::suite!(fresh: reads, versions, creation, rotation, register);
/// ```
#[macro_export]
macro_rules! suite {
    ($fresh:path: $($group:ident),+ $(,)?) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn capabilities_are_those_that_are_tested() {
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
            what_is_not_there_is_not_found,
            impossible_names_are_misconfigured,
            values_come_back_byte_for_byte,
            names_do_not_run_into_each_other,
            reads_run_side_by_side,
            a_cancelled_read_changes_nothing,
            a_probe_answers,
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

/// The tests of making secrets.
#[macro_export]
macro_rules! creation {
    ($fresh:path) => {
        $crate::cases!($fresh, creation:
            a_new_secret_is_current_at_once,
            what_is_there_is_never_made_again,
            of_two_creations_one_wins,
            a_secret_is_made_of_a_value_that_fits,
        );
    };
}

/// The tests of rotation.
#[macro_export]
macro_rules! rotation {
    ($fresh:path) => {
        $crate::cases!($fresh, rotation:
            a_staged_value_is_invisible_until_promoted,
            what_an_operation_staged_is_found_by_its_label,
            staging_is_create_only_by_its_label,
            staging_needs_a_secret_and_a_value_that_fits,
            promotion_is_conditional_and_idempotent,
            promotion_goes_back,
            promotion_needs_a_readable_version,
            of_two_promotions_one_wins,
            retiring_makes_unreadable_for_good,
            the_current_version_is_never_retired,
            every_byte_survives_rotation,
        );
    };
}

/// The tests of the register.
#[macro_export]
macro_rules! register {
    ($fresh:path) => {
        $crate::cases!($fresh, register:
            an_absent_document_is_an_answer,
            a_document_needs_no_secret,
            a_swap_is_seen_and_moves_the_revision,
            a_stale_revision_conflicts,
            a_document_is_created_once,
            of_eight_writers_exactly_one_wins_each_round,
            a_document_has_its_limit,
            documents_and_values_are_apart,
        );
    };
}

/// Turns functions of this crate into tests of the calling one.
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

/// The backend can what is tested, and nothing that is not.
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

/// A name. Which one is of no importance, except that two texts give two names. Letters, digits and `-` suit every backend.
fn name(text: &str) -> SecretName {
    format!("claviger-conformance-{text}").parse().unwrap()
}

/// The label of an operation, as a rotation draws it.
fn label(text: &str) -> OperationId {
    uuid(text).parse().unwrap()
}

/// A version that no backend has made.
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
    // Not `assert_eq`: these tests run against real stores too, and their output is kept.
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

/// The kind of error of a call that must fail.
fn kind<T: std::fmt::Debug>(result: Result<T, BackendError>) -> Kind {
    result.unwrap_err().kind
}
