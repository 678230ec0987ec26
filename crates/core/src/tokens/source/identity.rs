//! What makes a token the same token in two configurations.
//!
//! Owns the comparison by value across a type that the cache does not know: the settings of a token, its client and its
//! issuer belong to the OAuth engine.

use std::any::Any;
use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

/// Compares with a value that may be of another type.
pub trait SameAs: Any + Send + Sync {
    /// Whether `other` has the same type and the same value.
    fn same_as(&self, other: &dyn SameAs) -> bool;
}

impl<T: PartialEq + Send + Sync + 'static> SameAs for T {
    fn same_as(&self, other: &dyn SameAs) -> bool {
        (other as &dyn Any)
            .downcast_ref::<T>()
            .is_some_and(|other| self == other)
    }
}

/// Everything that decides which token the issuer gives, except the scopes of one request. A cached token survives a reload
/// only if its definition has an equal identity before and after.
#[derive(Clone)]
pub struct Identity(Arc<dyn SameAs>);

impl Identity {
    /// An identity that equals another one of the same type and value.
    pub fn new(value: impl SameAs) -> Self {
        Self(Arc::new(value))
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.0.same_as(&*other.0)
    }
}

/// Prints nothing of the value: settings are printed by the room that owns them.
impl Debug for Identity {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_equal_by_type_and_value() {
        assert_eq!(Identity::new("a"), Identity::new("a"));
        assert_ne!(Identity::new("a"), Identity::new("b"));
        assert_ne!(Identity::new(1_u8), Identity::new(1_u16));
    }
}
