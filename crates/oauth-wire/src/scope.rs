//! Scope sets (RFC 6749 §3.3).
//!
//! Owns [`Scopes`], a sorted set of scope tokens. Two requests for the same scopes in another order are the same request,
//! so sets are compared, hashed and sent in sorted order.

use std::fmt;
use std::sync::Arc;

/// The most scopes in one set, and the longest scope in bytes. Neither is in the RFC; both bound the memory that a peer can
/// occupy.
const MOST_SCOPES: usize = 128;
const LONGEST_SCOPE: usize = 256;

/// Why a text is not a set of scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidScope {
    /// A scope is empty, too long, or has a character that RFC 6749 §3.3 does not allow.
    #[error(
        "a scope is 1 to {LONGEST_SCOPE} printable ASCII characters without spaces, `\"` and `\\`"
    )]
    Token,
    /// There are too many.
    #[error("at most {MOST_SCOPES} scopes can be requested at once")]
    TooMany,
}

/// A sorted set of scope tokens. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scopes(Arc<[Box<str>]>);

impl Scopes {
    /// The empty set: the issuer's default.
    #[must_use]
    pub fn none() -> Self {
        Self(Arc::from([]))
    }

    /// Checks and sorts `scopes`; duplicates are dropped.
    ///
    /// # Errors
    /// If one of them is not a scope token, or there are too many.
    pub fn new<S: AsRef<str>>(scopes: impl IntoIterator<Item = S>) -> Result<Self, InvalidScope> {
        let mut set = Vec::<Box<str>>::new();
        for scope in scopes {
            let scope = scope.as_ref();
            if set.len() >= MOST_SCOPES {
                return Err(InvalidScope::TooMany);
            }
            let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
            if scope.is_empty() || scope.len() > LONGEST_SCOPE || !scope.bytes().all(allowed) {
                return Err(InvalidScope::Token);
            }
            set.push(scope.into());
        }
        set.sort_unstable();
        set.dedup();
        Ok(Self(set.into()))
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `scope` is in it.
    #[must_use]
    pub fn contains(&self, scope: &str) -> bool {
        self.0.binary_search_by(|own| (**own).cmp(scope)).is_ok()
    }

    /// Whether every scope of `other` is in it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.iter().all(|scope| self.contains(scope))
    }

    /// The scopes that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(
            self.0
                .iter()
                .filter(|scope| other.contains(scope))
                .cloned()
                .collect(),
        )
    }

    /// The scopes, sorted.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }
}

/// As RFC 6749 §3.3 writes it: separated by single spaces.
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_repetition_do_not_matter() {
        let one = Scopes::new(["write", "read", "write"]).unwrap();
        assert_eq!(one, Scopes::new(["read", "write"]).unwrap());
        assert_eq!(one.to_string(), "read write");
        assert!(one.contains("read") && !one.contains("rea"));
    }

    #[test]
    fn invalid_scopes_are_refused() {
        for bad in ["", "a b", "a\"", "a\\", "ä", "a\n", &"x".repeat(257)] {
            assert_eq!(Scopes::new([bad]), Err(InvalidScope::Token), "{bad:?}");
        }
        assert_eq!(
            Scopes::new((0..129).map(|n| n.to_string())),
            Err(InvalidScope::TooMany)
        );
    }

    #[test]
    fn sets_compare_as_sets() {
        let wide = Scopes::new(["a", "b", "c"]).unwrap();
        let narrow = Scopes::new(["a", "c", "d"]).unwrap();
        assert_eq!(wide.intersection(&narrow), Scopes::new(["a", "c"]).unwrap());
        assert!(wide.covers(&Scopes::none()) && !wide.covers(&narrow));
    }
}
