//! No error contains a value.
//!
//! Searches for a marker in every error of a failing backend. The marker is in the values, staged values and documents that the
//! calls carry; every error that can be provoked is formatted with `Display` and `Debug`, and so is its chain of sources. A
//! text that contains the marker in plain, base64 or hexadecimal form fails the test.

use std::error::Error as StdError;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use claviger_backend::{
    Backend, BackendError, Kind, MAX_VALUE_BYTES, SecretName, Staged, VersionSelector,
};

use crate::{Subject, expect_current, label, name, secret, unknown};

/// Long and random enough never to match by chance.
const MARKER: &str = "mK7-canary-q2Zr9Vt4Lx8Wb3Nc6Hs1Jd5Gf0Pz";

/// Provokes every error and searches it for the marker.
pub async fn no_error_repeats_a_value(subject: &dyn Subject) {
    let name = name("leaks");
    let value = format!("{{\"client_secret\":\"{MARKER}\"}}");
    subject.seed(&name, secret(value.as_str())).await;
    expect_current(subject, &name, value.as_bytes()).await;
    let backend = subject.backend();
    let mut errors = reading(backend, &name).await;
    errors.extend(writing(backend, &name).await);
    errors.extend(subject.provoke(&name).await);
    let not_found = |error: &&BackendError| error.kind == Kind::NotFound;
    assert!(errors.iter().any(|error| not_found(&error)));
    for error in &errors {
        let said = everything(error);
        assert!(!holds_marker(&said), "{} leaks", error.operation);
    }
    let source = &backend.secrets;
    if let Ok(fetched) = source.fetch(&name, &VersionSelector::Current).await {
        assert!(!holds_marker(&format!("{fetched:?} {fetched:#?}")));
    }
    assert!(!holds_marker(&format!("{backend:?} {backend:#?}")));
}

async fn reading(backend: &Backend, present: &SecretName) -> Vec<BackendError> {
    let mut errors = Vec::new();
    let exact = VersionSelector::Exact(unknown());
    let absent = name("leaks-absent");
    for (name, version) in [(&absent, &VersionSelector::Current), (present, &exact)] {
        errors.extend(backend.secrets.fetch(name, version).await.err());
    }
    if let Some(versions) = &backend.versions {
        errors.extend(versions.versions(&absent).await.err());
    }
    errors
}

async fn writing(backend: &Backend, name: &SecretName) -> Vec<BackendError> {
    let mut errors = Vec::new();
    let absent = crate::name("leaks-absent");
    let (one, two) = (unknown(), crate::version("2"));
    if let Some(creator) = &backend.creator {
        let large = MARKER.repeat(MAX_VALUE_BYTES / MARKER.len() + 1);
        for (name, value) in [(name, MARKER), (&absent, large.as_str())] {
            errors.extend(creator.create(name, secret(value)).await.err());
        }
    }
    if let Some(rotator) = &backend.rotator {
        let large = MARKER.repeat(MAX_VALUE_BYTES / MARKER.len() + 1);
        for (name, value) in [(&absent, MARKER), (name, &large)] {
            let staged = Staged {
                value: secret(value),
                operation: label("1"),
            };
            errors.extend(rotator.stage(name, staged).await.err());
        }
        errors.extend(rotator.promote(name, &one, &two).await.err());
        errors.extend(rotator.promote(&absent, &one, &two).await.err());
        errors.extend(rotator.retire(name, &one).await.err());
    }
    if let Some(register) = &backend.register {
        // A document is public, but an error must not repeat it either.
        let document = format!("{{\"op\":\"{MARKER}\"}}");
        let revision = register.swap(name, None, document.as_bytes()).await;
        let again = register.swap(name, None, document.as_bytes()).await;
        errors.extend([revision.err(), again.err()].into_iter().flatten());
        let large = MARKER.repeat(100);
        errors.extend(register.swap(name, None, large.as_bytes()).await.err());
    }
    errors
}

/// An error and its sources in every format.
fn everything(error: &BackendError) -> String {
    let mut said = String::new();
    let mut next: Option<&dyn StdError> = Some(error);
    while let Some(error) = next {
        writeln!(said, "{error} {error:#} {error:?} {error:#?}").unwrap();
        next = error.source();
    }
    said
}

/// Searches for the marker in plain text and in the usual encodings. Base64 of a text within another has three forms, depending
/// on its offset; the first and last characters depend on the neighboring text and are left out.
fn holds_marker(text: &str) -> bool {
    let hexadecimal = MARKER.bytes().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    let mut forms = vec![
        MARKER.to_owned(),
        hexadecimal.clone(),
        hexadecimal.to_uppercase(),
    ];
    for shift in 0..3 {
        let shifted = format!("{}{MARKER}", "x".repeat(shift));
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&shifted);
            let inner = encoded.get(4..encoded.len() - 4).unwrap_or_default();
            forms.push(inner.to_owned());
        }
    }
    // A list of bytes, as a derived `Debug` prints it.
    forms.push(
        format!("{:?}", MARKER.as_bytes())
            .trim_matches(['[', ']'])
            .to_owned(),
    );
    forms.iter().any(|form| text.contains(form.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marker_is_found_in_every_form() {
        let engine = STANDARD_NO_PAD;
        for text in [
            format!("a {MARKER} b"),
            engine.encode(MARKER),
            engine.encode(format!("a{MARKER}b")),
            engine.encode(format!("ab{MARKER}cd")),
            format!("{:?}", format!("x{MARKER}").as_bytes()),
        ] {
            assert!(holds_marker(&text), "{text}");
        }
        assert!(!holds_marker("backend \"prod\": fetch failed: timeout"));
    }
}
