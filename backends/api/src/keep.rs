//! Memory for a backend's long-lived keys.
//!
//! Owns the interface between a backend that has keys of its own and a process that can store them in better memory than the
//! heap: [`KeyKeeper`], and [`KeptKey`], which it returns. The daemon's keeper uses pages that not even root can read;
//! [`HeapKeeper`] is for short-lived processes such as commands, and for tests. Never holds a value or a token: each allocation
//! in protected memory takes a whole page, and the limit is small.
//!
//! A key is written in place and never moved. Nothing here is asynchronous, and all of it may be shared between threads.

use std::fmt::Debug;

use zeroize::Zeroizing;

/// Allocates memory for long-lived keys.
pub trait KeyKeeper: Debug + Send + Sync {
    /// Allocates `length` bytes and has `write` fill them.
    ///
    /// `write` is called at most once, with `length` bytes that are all zero. It derives or decodes the key directly into them,
    /// so that there is no copy to zero. The bytes do not change after that, until dropping the key zeroes them.
    ///
    /// # Errors
    /// [`NotKept`] if no such memory is available; it names the remedy. No copy of the key exists then.
    fn keep(
        &self,
        length: usize,
        write: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Box<dyn KeptKey>, NotKept>;
}

/// A key in memory. Cannot be cloned or printed, and is zeroed when dropped.
pub trait KeptKey: Send + Sync {
    /// The bytes of the key. Do not copy them to memory that is not zeroed. A disallowed method outside the call sites that
    /// ARCHITECTURE.md lists.
    fn expose(&self) -> &[u8];
}

/// No memory for a key. The text names the reason and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotKept(Box<str>);

impl NotKept {
    /// `reason` says why there is no memory, and the remedy.
    pub fn because(reason: impl Into<Box<str>>) -> Self {
        Self(reason.into())
    }
}

/// Keeps keys on the heap. They are zeroed when dropped, but the heap can be swapped out, and root and debuggers can read it.
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
