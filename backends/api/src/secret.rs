//! The container for plaintext.
//!
//! Owns [`Secret`], the only type in which plaintext travels between backends and the daemon. It cannot be cloned, printed or
//! serialized, is compared in constant time only, and is zeroed when dropped. Share it by `Arc`. `Secret::expose` is a
//! disallowed method: each call site carries an `#[expect]` with its reason and a row in ARCHITECTURE.md.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretSlice};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroize as _;

/// Bytes that must not leave memory except to a recipient that is entitled to them.
///
/// ```compile_fail
/// let secret = claviger_backend::Secret::new(vec![1]);
/// let copy = secret.clone(); // a secret has one owner
/// ```
/// ```compile_fail
/// let a = claviger_backend::Secret::new(vec![1]);
/// let b = claviger_backend::Secret::new(vec![1]);
/// assert!(a == b); // only `same_as` compares, in constant time
/// ```
/// ```compile_fail
/// println!("{}", claviger_backend::Secret::new(vec![1]));
/// ```
pub struct Secret(SecretSlice<u8>);

impl Secret {
    /// Takes ownership of `bytes`, without spare capacity and without leaving a copy behind.
    pub fn new(mut bytes: Vec<u8>) -> Self {
        if bytes.capacity() == bytes.len() {
            return Self(SecretSlice::from(bytes));
        }
        // `into_boxed_slice` may move the bytes and free the old block without zeroing it; so copy, and zero the original here.
        let exact = Box::<[u8]>::from(bytes.as_slice());
        bytes.zeroize();
        Self(SecretSlice::from(exact))
    }

    /// Takes ownership of the bytes of `text`.
    pub fn from_text(text: String) -> Self {
        Self::new(text.into_bytes())
    }

    /// The plaintext. A disallowed method outside the call sites that ARCHITECTURE.md lists.
    pub fn expose(&self) -> &[u8] {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the wrapper that all other code uses"
        )]
        self.0.expose_secret()
    }

    /// The number of bytes. Lengths may be logged; values never.
    pub fn len(&self) -> usize {
        #[expect(clippy::disallowed_methods, reason = "reads the length only")]
        self.0.expose_secret().len()
    }

    /// Whether both contain the same bytes. The time depends only on the lengths, never on where the bytes differ.
    pub fn same_as(&self, other: &Self) -> bool {
        #[expect(clippy::disallowed_methods, reason = "compared in constant time")]
        self.0.expose_secret().ct_eq(other.0.expose_secret()).into()
    }

    /// Whether the length is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Prints the length only.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret([{} bytes])", self.len())
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests look inside")]
mod tests {
    use super::*;

    #[test]
    fn a_secret_preserves_every_byte() {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(b"a\0b\n");
        assert_eq!(Secret::new(bytes).expose(), b"a\0b\n");
        assert_eq!(Secret::from_text("ü".to_owned()).len(), 2);
        assert!(Secret::new(Vec::new()).is_empty());
    }

    #[test]
    fn only_the_same_bytes_are_the_same() {
        let secret = |text: &str| Secret::from_text(text.to_owned());
        assert!(secret("abc").same_as(&secret("abc")));
        assert!(secret("").same_as(&secret("")));
        for other in ["", "ab", "abcd", "abd", "bbc"] {
            assert!(!secret("abc").same_as(&secret(other)), "{other}");
        }
    }

    #[test]
    fn debug_shows_the_length_only() {
        assert_eq!(
            format!("{:?}", Secret::from_text("hunter2".into())),
            "Secret([7 bytes])"
        );
    }
}
