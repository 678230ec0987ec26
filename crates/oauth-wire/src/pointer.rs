//! JSON pointers (RFC 6901).
//!
//! Owns [`Pointer`], the way to one value of an answer: for issuers that put the access token deeper than RFC 6749 §5.1 does.
//! Knows the syntax alone; `response` walks along it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest pointer in bytes, and the most steps in one. Answers are flat; both are far beyond what is seen.
const LONGEST: usize = 256;
const MOST_STEPS: usize = 8;

/// Why a text is no pointer to a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a JSON pointer (RFC 6901) such as /authed_user/access_token: 1 to {MOST_STEPS} steps, at most {LONGEST} bytes, with ~ only in ~0 and ~1"
)]
pub struct InvalidPointer;

/// The way to one value below the top of a document. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Pointer(Arc<[Box<str>]>);

impl Pointer {
    /// The names (or indices) to follow; one at least.
    pub(super) fn steps(&self) -> &[Box<str>] {
        &self.0
    }
}

impl FromStr for Pointer {
    type Err = InvalidPointer;

    fn from_str(text: &str) -> Result<Self, InvalidPointer> {
        if text.len() > LONGEST || text.contains(char::is_control) {
            return Err(InvalidPointer);
        }
        // The empty pointer is the whole document, which is no token.
        let steps = text.strip_prefix('/').ok_or(InvalidPointer)?;
        let steps = steps.split('/').map(unescaped);
        let steps = steps.collect::<Option<Vec<_>>>().ok_or(InvalidPointer)?;
        if steps.len() > MOST_STEPS {
            return Err(InvalidPointer);
        }
        Ok(Self(steps.into()))
    }
}

/// One step as it is named in the document (RFC 6901 §4).
fn unescaped(step: &str) -> Option<Box<str>> {
    let mut pieces = step.split('~');
    let mut name = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (letter, rest) = match (piece.strip_prefix('0'), piece.strip_prefix('1')) {
            (Some(rest), _) => ('~', rest),
            (None, Some(rest)) => ('/', rest),
            (None, None) => return None,
        };
        name.push(letter);
        name.push_str(rest);
    }
    Some(name.into())
}

/// The pointer as RFC 6901 writes it.
impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &*self.0 {
            write!(f, "/{}", step.replace('~', "~0").replace('/', "~1"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pointer({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn steps_are_unescaped_once() {
        for (text, steps) in [
            ("/a", vec!["a"]),
            (
                "/authed_user/access_token",
                vec!["authed_user", "access_token"],
            ),
            ("/a~1b/~0/~01", vec!["a/b", "~", "~1"]),
            ("/tokens/0", vec!["tokens", "0"]),
            ("/", vec![""]),
            ("/ä b", vec!["ä b"]),
        ] {
            let pointer: Pointer = text.parse().unwrap();
            let read: Vec<&str> = pointer.steps().iter().map(|step| &**step).collect();
            assert_eq!(read, steps, "{text}");
            assert_eq!(pointer.to_string(), text);
        }
    }

    #[test]
    fn invalid_pointers_are_refused() {
        let long = format!("/{}", "a".repeat(LONGEST));
        let deep = "/a".repeat(MOST_STEPS + 1);
        for text in [
            "", "a", "a/b", "#/a", "/~", "/~2", "/a~", "/a\n", &long, &deep,
        ] {
            assert_eq!(text.parse::<Pointer>(), Err(InvalidPointer), "{text:?}");
        }
        assert!("/a".repeat(MOST_STEPS).parse::<Pointer>().is_ok());
    }

    proptest! {
        #[test]
        fn every_pointer_is_written_as_it_was_read(text in "[/~01a-z#\\PC]{0,40}") {
            if let Ok(pointer) = text.parse::<Pointer>() {
                prop_assert_eq!(pointer.to_string(), text);
                prop_assert!(!pointer.steps().is_empty());
            }
        }
    }
}
