//! The names of secrets, and references to them.
//!
//! Owns the parsing of `backend:path#field` and `backend:path@version#field`, the only way in which the configuration refers to
//! a secret. Checks the rules that apply to every backend; each backend also checks its own pattern. Pure, total and fuzzed:
//! any input yields a reference or an [`InvalidReference`], never a panic.

use std::fmt;
use std::str::FromStr;

/// Why a text is not a reference. Never repeats the text, because it may be a secret pasted into the wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// The text does not begin with `backend:`.
    #[error("expected `backend:path#field`, but there is no `:`")]
    NoBackend,
    /// The part before the colon is not a valid backend name.
    #[error(
        "a backend's name is 1 to 63 of a-z, 0-9, `-` and `_`, beginning with a letter or digit"
    )]
    Backend,
    /// The path is not a valid secret name.
    #[error(
        "a path is 1 to 512 printable ASCII characters without spaces, `@`, `#`, `%`, `?`, `\\` or a `.`, `..` or empty segment"
    )]
    Path,
    /// The part after `@` is not a valid version.
    #[error("a version, after `@`, is 1 to 128 of A-Z, a-z, 0-9, `-`, `_` and `.`")]
    Version,
    /// The text is not a valid operation label.
    #[error("an operation's label is 32 to 64 of A-Z, a-z, 0-9 and `-`, such as a UUID")]
    Operation,
    /// The part after `#` is not a valid field name.
    #[error("a field, after `#`, is 1 to 128 printable ASCII characters without spaces or `#`")]
    Field,
}

/// Declares a validated name whose `Display` is the original text.
macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $error:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Box<str>);

        impl $type {
            /// The name as it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidReference;

            fn from_str(text: &str) -> Result<Self, InvalidReference> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.into())) } else { Err(InvalidReference::$error) }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// The name of a backend in the configuration, for example `prod`.
    BackendName, Backend, |text| {
        let mut bytes = text.bytes();
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        text.len() <= 63
            && bytes.next().is_some_and(word)
            && bytes.all(|byte| word(byte) || byte == b'-' || byte == b'_')
    }
}

name! {
    /// The name of a secret inside its backend: a path for Vault, an identifier elsewhere.
    SecretName, Path, |text| {
        text.len() <= 512
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"@#%?\\".contains(&byte))
            && text.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
    }
}

name! {
    /// The backend's own identifier of a version. Opaque: compare for equality only.
    VersionId, Version, |text| {
        (1..=128).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    }
}

name! {
    /// The unique label of an operation, carried by everything that the operation creates. Its character set and length are
    /// accepted by every backend unchanged.
    OperationId, Operation, |text| {
        (32..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    }
}

name! {
    /// A field of a secret whose value is an object.
    FieldName, Field, |text| {
        (1..=128).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
    }
}

/// Selects a version of a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VersionSelector {
    /// The version that readers should use now. Never a staged one.
    Current,
    /// Exactly this one.
    Exact(VersionId),
}

/// Refers to a value: `backend:path#field` or `backend:path@version#field`.
///
/// Without a field, it refers to the whole value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretRef {
    /// The backend, by its name in the configuration.
    pub backend: BackendName,
    /// The secret in that backend.
    pub name: SecretName,
    /// The version of that secret.
    pub version: VersionSelector,
    /// The field of that version; `None` for the whole value.
    pub field: Option<FieldName>,
}

impl FromStr for SecretRef {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let (backend, rest) = text.split_once(':').ok_or(InvalidReference::NoBackend)?;
        let (rest, field) = match rest.split_once('#') {
            Some((rest, field)) => (rest, Some(field.parse()?)),
            None => (rest, None),
        };
        let (name, version) = match rest.split_once('@') {
            Some((name, version)) => (name, VersionSelector::Exact(version.parse()?)),
            None => (rest, VersionSelector::Current),
        };
        Ok(Self {
            backend: backend.parse()?,
            name: name.parse()?,
            version,
            field,
        })
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.backend, self.name)?;
        if let VersionSelector::Exact(version) = &self.version {
            write!(f, "@{version}")?;
        }
        if let Some(field) = &self.field {
            write!(f, "#{field}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn references_of_every_form_parse_and_print_back() {
        for text in [
            "prod:oauth/billing#client_secret",
            "prod:oauth/billing@3#client_secret",
            "vault:secret/oauth/encryption-key#value",
            "aws:oauth-google-credentials",
            "local:a@0c1d2e",
            "gcp:projects/p/secrets/s#a/b",
        ] {
            assert_eq!(text.parse::<SecretRef>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_invalid_reference_is_rejected_with_its_reason() {
        use InvalidReference as E;
        let long = format!("prod:{}", "a".repeat(513));
        for (text, error) in [
            ("", E::NoBackend),
            ("client_secret", E::NoBackend),
            (":a", E::Backend),
            ("Prod:a", E::Backend),
            ("-p:a", E::Backend),
            ("prod:", E::Path),
            ("prod:/a", E::Path),
            ("prod:a//b", E::Path),
            ("prod:a/../b", E::Path),
            ("prod:./a", E::Path),
            ("prod:a b", E::Path),
            ("prod:a%2e", E::Path),
            ("prod:a?b", E::Path),
            ("prod:ä", E::Path),
            (&long, E::Path),
            ("prod:a@", E::Version),
            ("prod:a@1@2", E::Version),
            ("prod:a#", E::Field),
            ("prod:a#b#c", E::Field),
            ("prod:a#b c", E::Field),
        ] {
            assert_eq!(text.parse::<SecretRef>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn operation_labels_are_limited_to_what_every_backend_accepts() {
        let uuid = "2f6c1f0a-8b1d-4a53-9d60-000000000001";
        assert_eq!(uuid.parse::<OperationId>().unwrap().as_str(), uuid);
        let (short, long) = ("a".repeat(31), "a".repeat(65));
        for text in [
            "",
            &short,
            &long,
            &uuid.replace('-', "_"),
            &uuid.replace('-', "/"),
        ] {
            let refused = text.parse::<OperationId>();
            assert_eq!(refused, Err(InvalidReference::Operation), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_fails_or_parses_and_prints_back(text in ".{0,80}") {
            if let Ok(reference) = text.parse::<SecretRef>() {
                prop_assert_eq!(reference.to_string(), text);
            }
        }
    }
}
