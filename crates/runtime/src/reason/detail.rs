//! What one failure says beyond its reason.
//!
//! Owns [`Detail`]: facts that every caller may read, such as two identifiers that differ, and what an issuer said, which
//! operators alone may read. Texts of other systems get in here bounded, and without any character that is not printable
//! ASCII. Never holds a secret.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

/// The longest text that is kept of another system, in bytes.
const LONGEST: usize = 256;

/// The details of one failure. Prints them as operators read them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// What differs or was found, for example two identifiers or an HTTP status. No secret.
    pub fact: Option<Arc<str>>,
    /// What an issuer said about its refusal, escaped. For operators only: it may describe the client.
    pub said: Option<Arc<str>>,
}

impl Detail {
    /// A fact for every caller.
    #[must_use]
    pub fn fact(fact: impl Into<Arc<str>>) -> Self {
        Self {
            fact: Some(fact.into()),
            said: None,
        }
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fact.is_none() && self.said.is_none()
    }
}

impl Display for Detail {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let fact = self.fact.as_deref().unwrap_or_default();
        match &self.said {
            None => f.write_str(fact),
            Some(said) if fact.is_empty() => write!(f, "the issuer says \"{said}\""),
            Some(said) => write!(f, "{fact}; the issuer says \"{said}\""),
        }
    }
}

/// The beginning of another system's text, at most 256 bytes; what is not printable ASCII is a question mark.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut kept = text
        .chars()
        .map(|c| if matches!(c, ' '..='~') { c } else { '?' });
    let mut start: String = kept.by_ref().take(LONGEST).collect();
    if kept.next().is_some() {
        start.push_str("...");
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_other_systems_are_bounded_and_printable() {
        assert_eq!(printable("https://a.example/"), "https://a.example/");
        assert_eq!(printable("\u{1b}[31m\"a\nb\u{fc}"), "?[31m\"a?b?");
        assert_eq!(printable(&"a".repeat(257)), "a".repeat(256) + "...");
    }
}
