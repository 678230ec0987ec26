//! An access token on its way from the body of an answer into its `Secret`.
//!
//! Owns the checks that every token must pass, and the [`Shape`] by which the engine judges
//! it later without opening its box again. `Secret` itself belongs to the backends' API, which parsers do not know; hence
//! [`AccessToken`], which can only be wiped or boxed.

use std::fmt;

use zeroize::Zeroizing;

use crate::jwt;

/// An access token that cannot be read: it can only be boxed or wiped.
pub struct AccessToken(Zeroizing<Vec<u8>>);

impl AccessToken {
    /// Copies `text` once, into room of exactly its size.
    pub(super) fn new(text: &[u8]) -> Self {
        Self(Zeroizing::new(text.to_vec()))
    }

    /// The bytes, for a box that takes them over without copying.
    #[must_use]
    pub fn into_bytes(mut self) -> Vec<u8> {
        std::mem::take(&mut *self.0)
    }
}

/// Prints the length only.
impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessToken([{} bytes])", self.0.len())
    }
}

/// Tokens from this length on are refused: no header could carry them.
pub const TOO_LONG: usize = 16 * 1024;

/// A token seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its length.
    pub bytes: usize,
    /// How many parts its dots make: 3 for a JWT, 5 for a JWE.
    pub parts: usize,
    /// The `exp` claim, in seconds since the Unix epoch, if it is a readable JWT. Not verified.
    pub expiry: Option<u64>,
}

/// Why a text cannot be an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFlaw {
    /// There is nothing in it.
    #[error("the token is empty")]
    Empty,
    /// It has [`TOO_LONG`] bytes or more.
    #[error("the token has 16 KiB or more")]
    TooLong,
    /// It has a character that no `Authorization` header can carry (RFC 6750 §2.1).
    #[error("the token has characters that are not printable ASCII")]
    NotPrintable,
}

/// Checks a token.
///
/// # Errors
/// If it cannot be one.
pub fn inspect(token: &[u8]) -> Result<Shape, TokenFlaw> {
    if token.is_empty() {
        return Err(TokenFlaw::Empty);
    }
    if token.len() >= TOO_LONG {
        return Err(TokenFlaw::TooLong);
    }
    if !token.iter().all(u8::is_ascii_graphic) {
        return Err(TokenFlaw::NotPrintable);
    }
    Ok(Shape {
        bytes: token.len(),
        parts: token.split(|&byte| byte == b'.').count(),
        expiry: jwt::expiry(token),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_tokens_are_refused() {
        for (token, flaw) in [
            (&b""[..], TokenFlaw::Empty),
            (b"a b", TokenFlaw::NotPrintable),
            (b"a\n", TokenFlaw::NotPrintable),
            (b"a\0", TokenFlaw::NotPrintable),
            ("ü".as_bytes(), TokenFlaw::NotPrintable),
            (&[b'a'; TOO_LONG], TokenFlaw::TooLong),
        ] {
            assert_eq!(inspect(token), Err(flaw));
        }
        assert_eq!(inspect(&[b'a'; TOO_LONG - 1]).unwrap().parts, 1);
    }

    #[test]
    fn parts_are_counted_not_judged() {
        for (token, parts) in [("opaque", 1), ("ya29.x", 2), ("a.b.c", 3), ("a.b.c.d.e", 5)] {
            let shape = inspect(token.as_bytes()).unwrap();
            assert_eq!((shape.parts, shape.bytes), (parts, token.len()));
        }
    }
}
