//! Control documents and compare-and-swap.
//!
//! Tests the contract of `Register`, on which all coordination between nodes relies. The race runs for many rounds, because a
//! backend that compares and writes in two steps fails only by chance. Next: `leaks`.

use claviger_backend::{Kind, Loaded, Register, Revision, SecretName, VersionSelector};
use futures_util::future::join_all;

use crate::{Subject, expect_current, kind, name, secret};

/// The contract's limit.
const MAX_DOCUMENT: usize = 2048;

fn register(subject: &dyn Subject) -> &dyn Register {
    let register = subject.backend().register.as_deref();
    register.unwrap_or_else(|| panic!("the backend has a register"))
}

async fn loaded(subject: &dyn Subject, name: &SecretName) -> (Revision, Vec<u8>) {
    let loaded = register(subject).load(name).await.unwrap();
    let Loaded {
        revision, document, ..
    } = loaded.unwrap_or_else(|| panic!("there is a document for {name}"));
    (revision, document)
}

/// A missing document is not an error, whether or not the secret exists.
pub async fn a_missing_document_is_none(subject: &dyn Subject) {
    let (absent, present) = (name("absent"), name("present"));
    subject.seed(&present, secret("x")).await;
    for name in [absent, present] {
        assert_eq!(register(subject).load(&name).await.unwrap(), None);
    }
}

/// A document may describe something that is not a secret of this backend, such as a grant that nodes share.
pub async fn a_document_needs_no_secret(subject: &dyn Subject) {
    let name = name("no-secret");
    let revision = register(subject).swap(&name, None, b"{}").await.unwrap();
    assert_eq!(loaded(subject, &name).await, (revision, b"{}".to_vec()));
    let source = &subject.backend().secrets;
    let fetched = source.fetch(&name, &VersionSelector::Current).await;
    assert_eq!(
        kind(fetched),
        Kind::NotFound,
        "a document creates no secret"
    );
}

/// A load returns the document just written, with the revision that the swap returned.
pub async fn a_swap_is_visible_and_changes_the_revision(subject: &dyn Subject) {
    let name = name("seen");
    subject.seed(&name, secret("x")).await;
    let mut revisions = Vec::new();
    for document in [
        r#"{"v":1,"phase":"idle"}"#,
        r#"{"v":1,"phase":"claimed"}"#,
        "{}",
        "{}",
    ] {
        let expected = revisions.last();
        let revision = register(subject)
            .swap(&name, expected, document.as_bytes())
            .await
            .unwrap();
        let found = loaded(subject, &name).await;
        assert_eq!(found, (revision.clone(), document.as_bytes().to_vec()));
        assert!(!revisions.contains(&revision), "a revision names one write");
        revisions.push(revision);
    }
}

/// A writer that has not seen the last write gets a conflict.
pub async fn a_stale_revision_conflicts(subject: &dyn Subject) {
    let name = name("stale");
    subject.seed(&name, secret("x")).await;
    let register = register(subject);
    let first = register.swap(&name, None, b"{\"n\":1}").await.unwrap();
    let second = register
        .swap(&name, Some(&first), b"{\"n\":2}")
        .await
        .unwrap();
    for stale in [None, Some(&first)] {
        let late = register.swap(&name, stale, b"{\"n\":3}").await;
        assert_eq!(kind(late), Kind::Conflict);
    }
    let found = loaded(subject, &name).await;
    assert_eq!(found, (second, b"{\"n\":2}".to_vec()));
}

/// Of several writers that create a document one succeeds; expecting a revision of a missing document fails.
pub async fn a_document_is_created_once(subject: &dyn Subject) {
    let (name, other) = (name("create"), name("other"));
    for name in [&name, &other] {
        subject.seed(name, secret("x")).await;
    }
    let register = register(subject);
    let revision = register.swap(&other, None, b"{}").await.unwrap();
    let nothing = register.swap(&name, Some(&revision), b"{}").await;
    assert_eq!(kind(nothing), Kind::Conflict);
    assert_eq!(register.load(&name).await.unwrap(), None);
    let writers = (0..8).map(|_| register.swap(&name, None, b"{}"));
    let won = join_all(writers).await;
    assert_eq!(won.iter().filter(|result| result.is_ok()).count(), 1);
}

/// Eight writers race from the same revision; exactly one succeeds in each round.
pub async fn of_eight_writers_exactly_one_wins_each_round(subject: &dyn Subject) {
    let name = name("race");
    subject.seed(&name, secret("x")).await;
    let register = register(subject);
    let mut revision = register.swap(&name, None, b"{}").await.unwrap();
    for round in 0..60 {
        let documents = (0..8).map(|writer| format!("{{\"round\":{round},\"writer\":{writer}}}"));
        let documents = documents.collect::<Vec<_>>();
        let writers = documents
            .iter()
            .map(|document| register.swap(&name, Some(&revision), document.as_bytes()));
        let mut winner = None;
        for (result, document) in join_all(writers).await.into_iter().zip(&documents) {
            match result {
                Ok(won) => {
                    assert!(winner.is_none(), "two winners in round {round}");
                    winner = Some((won, document.as_bytes().to_vec()));
                }
                Err(error) => assert_eq!(error.kind, Kind::Conflict, "round {round}"),
            }
        }
        let winner = winner.unwrap_or_else(|| panic!("no winner in round {round}"));
        assert_eq!(loaded(subject, &name).await, winner);
        revision = winner.0;
    }
}

/// A document of 2 KiB is accepted, a larger one is rejected.
pub async fn a_document_has_a_size_limit(subject: &dyn Subject) {
    let name = name("limit");
    subject.seed(&name, secret("x")).await;
    let register = register(subject);
    let largest = format!("{{\"p\":\"{}\"}}", "x".repeat(MAX_DOCUMENT - 8));
    let revision = register
        .swap(&name, None, largest.as_bytes())
        .await
        .unwrap();
    let larger = vec![b' '; MAX_DOCUMENT + 1];
    let refused = register.swap(&name, Some(&revision), &larger).await;
    assert_eq!(kind(refused), Kind::Misconfigured);
    let found = loaded(subject, &name).await;
    assert_eq!(found, (revision, largest.into_bytes()));
}

/// Writing a document changes no value, and writing a value changes no document.
pub async fn documents_and_values_are_independent(subject: &dyn Subject) {
    let name = name("apart");
    subject.seed(&name, secret("one")).await;
    let before = expect_current(subject, &name, b"one").await;
    let revision = register(subject).swap(&name, None, b"{}").await.unwrap();
    assert_eq!(expect_current(subject, &name, b"one").await, before);
    subject.seed(&name, secret("two")).await;
    assert_eq!(loaded(subject, &name).await, (revision, b"{}".to_vec()));
}
