//! The proofs that a peer may do one thing.
//!
//! Owns [`TokenPermit`], [`RevokePermit`] and [`SecretPermit`]. Their fields are private and their constructors end at
//! `policy`, so a value of one of these types proves that policy was asked. Each cache takes the type of its own permit: a
//! permit to revoke a token cannot read it, and a permit for a token reads no secret. A permit names no peer and no time, and
//! stays with the request that it was made for. Cheap to clone.

use std::sync::Arc;

use crate::policy::ScopeLimit;
use claviger_oauth_wire::Scopes;

/// A token's name, and the scopes of it that a permit reaches.
///
/// ```compile_fail,E0451
/// use claviger_oauth_wire::Scopes;
/// use claviger_core::policy::{Reach, ScopeLimit};
///
/// let forged = Reach {
///     name: "billing-api".into(),
///     limit: ScopeLimit::Definition,
///     requested: Scopes::none(),
///     rule: 1,
/// };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    name: Arc<str>,
    limit: ScopeLimit,
    requested: Scopes,
    rule: u32,
}

impl Reach {
    /// What rule number `rule` gives to a request for no scopes in particular.
    pub(super) fn of_rule(name: &Arc<str>, limit: &ScopeLimit, rule: u32) -> Self {
        Self {
            name: Arc::clone(name),
            limit: limit.clone(),
            requested: Scopes::none(),
            rule,
        }
    }

    /// The same, for a request for `scopes`. The caller has checked that the limit covers them.
    pub(super) fn narrowed_to(&self, scopes: &Scopes) -> Self {
        Self {
            requested: scopes.clone(),
            ..self.clone()
        }
    }

    /// The token's name in the configuration.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The requested scopes; empty for "all that I may have".
    ///
    /// They are within [`Reach::limit`]. Where that is [`ScopeLimit::Definition`] policy does not know the bound: the token
    /// cache compares them with the token's definition.
    #[must_use]
    pub fn requested(&self) -> &Scopes {
        &self.requested
    }

    /// The scopes that the rule allows.
    #[must_use]
    pub fn limit(&self) -> &ScopeLimit {
        &self.limit
    }

    /// The number of the rule that decided, counted from 1.
    #[must_use]
    pub fn rule(&self) -> u32 {
        self.rule
    }
}

/// The proof that a peer may be given a token, and report it as rejected. Only `policy` makes one.
///
/// ```compile_fail,E0423
/// use std::sync::Arc;
/// use claviger_core::policy::{Reach, TokenPermit};
///
/// fn forge(reach: Arc<Reach>) -> TokenPermit {
///     TokenPermit(reach)
/// }
/// ```
/// ```compile_fail,E0308
/// use claviger_core::policy::{RevokePermit, TokenPermit};
///
/// fn read(permit: &TokenPermit) {}
/// fn misuse(permit: &RevokePermit) {
///     read(permit);
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPermit(Arc<Reach>);

impl TokenPermit {
    pub(super) fn new(reach: Arc<Reach>) -> Self {
        Self(reach)
    }

    /// The token and its scopes.
    #[must_use]
    pub fn reach(&self) -> &Arc<Reach> {
        &self.0
    }
}

/// The proof that a peer may have a token revoked. Only `policy` makes one.
///
/// ```compile_fail,E0423
/// use std::sync::Arc;
/// use claviger_core::policy::{Reach, RevokePermit};
///
/// fn forge(reach: Arc<Reach>) -> RevokePermit {
///     RevokePermit(reach)
/// }
/// ```
/// ```compile_fail,E0308
/// use claviger_core::policy::{RevokePermit, TokenPermit};
///
/// fn revoke(permit: &RevokePermit) {}
/// fn misuse(permit: &TokenPermit) {
///     revoke(permit);
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokePermit(Arc<Reach>);

impl RevokePermit {
    pub(super) fn new(reach: Arc<Reach>) -> Self {
        Self(reach)
    }

    /// The token and its scopes.
    #[must_use]
    pub fn reach(&self) -> &Arc<Reach> {
        &self.0
    }
}

/// The proof that a peer may be given a secret's value. Only `policy` makes one.
///
/// ```compile_fail,E0451
/// use claviger_core::policy::SecretPermit;
///
/// let forged = SecretPermit { name: "database".into(), rule: 1 };
/// ```
/// ```compile_fail,E0624
/// use claviger_core::policy::SecretPermit;
///
/// let forged = SecretPermit::of_rule(&"database".into(), 1);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretPermit {
    name: Arc<str>,
    rule: u32,
}

impl SecretPermit {
    /// What rule number `rule` gives.
    pub(super) fn of_rule(name: &Arc<str>, rule: u32) -> Self {
        Self {
            name: Arc::clone(name),
            rule,
        }
    }

    /// The secret's name in the configuration.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The number of the rule that decided, counted from 1.
    #[must_use]
    pub fn rule(&self) -> u32 {
        self.rule
    }
}
