//! The proof that a release is recorded.

use std::ops::Deref;

/// A value that may leave the daemon, because its release is recorded. Only `audit` makes one.
///
/// ```compile_fail,E0451
/// use claviger_core::audit::Released;
///
/// let forged = Released { value: "a credential" };
/// ```
/// ```compile_fail,E0624
/// use claviger_core::audit::Released;
///
/// let forged = Released::new("a credential");
/// ```
#[derive(Debug)]
pub struct Released<T> {
    value: T,
}

impl<T> Released<T> {
    pub(super) fn new(value: T) -> Self {
        Self { value }
    }

    /// The value, for a use inside the daemon: without the proof no encoder accepts it.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T> Deref for Released<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
