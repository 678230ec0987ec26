//! Where a backend keeps the keys it holds for long.
//!
//! Owns the seam between a backend that has keys of its own and a process that has better places for them than the heap:
//! [`KeyKeeper`] and what it gives, [`KeptKey`]. The daemon's keeper has pages that not even root reads; [`HeapKeeper`] is
//! for a process that ends in a moment, such as a command, and for tests. Never holds a value or a token: a place in
//! protected memory is a whole page of a small limit.
//!
//! A key is written into its place and never moved. Nothing here is asynchronous, and all of it may be shared by threads.

use std::fmt::Debug;

use zeroize::Zeroizing;

/// Gives places for long-lived keys.
pub trait KeyKeeper: Debug + Send + Sync {
    /// A place of `length` bytes with what `write` put there.
    ///
    /// `write` is called at most once, with `length` bytes that are all zero; it derives or decodes the key right into
    /// them, so that no copy has to be wiped. From then on nobody writes to the place, until it is wiped when the key is
    /// dropped.
    ///
    /// # Errors
    /// [`NotKept`] if there is no such memory; it says what to do. The key is then nowhere.
    fn keep(
        &self,
        length: usize,
        write: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Box<dyn KeptKey>, NotKept>;
}

/// A key in its place. Cannot be cloned or printed, and is wiped when dropped.
pub trait KeptKey: Send + Sync {
    /// The bytes that were written, not to be copied to a place that is not wiped. A disallowed method outside the places
    /// that ARCHITECTURE.md lists.
    fn expose(&self) -> &[u8];
}

/// There is no place for a key. The text names the reason and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotKept(Box<str>);

impl NotKept {
    /// For this reason, with its remedy.
    pub fn because(reason: impl Into<Box<str>>) -> Self {
        Self(reason.into())
    }
}

/// Keeps keys on the heap, where they are wiped when dropped but can be swapped out, and read by root and by a debugger.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeapKeeper;

impl KeyKeeper for HeapKeeper {
    fn keep(
        &self,
        length: usize,
        write: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Box<dyn KeptKey>, NotKept> {
        let mut place = Zeroizing::new(vec![0; length].into_boxed_slice());
        write(&mut place);
        Ok(Box::new(OnHeap(place)))
    }
}

struct OnHeap(Zeroizing<Box<[u8]>>);

impl KeptKey for OnHeap {
    fn expose(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests look inside")]
mod tests {
    use super::*;

    #[test]
    fn the_heap_keeps_what_was_written() {
        let key = HeapKeeper.keep(3, &mut |place| {
            assert_eq!(place, [0; 3]);
            place.copy_from_slice(b"key");
        });
        assert_eq!(key.unwrap().expose(), b"key");
    }
}
