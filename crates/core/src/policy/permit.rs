//! The proof that a peer may do one thing.
//!
//! Owns [`Permit`]. Its fields are private and its constructors end at `policy`, so whoever holds one has asked. A permit
//! says what was allowed and by which rule; it names no peer and no time, and stays with the request that it was made for.

use std::sync::Arc;

use crate::policy::{Action, ScopeLimit};
use claviger_oauth_wire::Scopes;

/// The proof that a peer may do one thing. Only `policy` makes one.
///
/// ```compile_fail,E0451
/// use claviger_oauth_wire::Scopes;
/// use crate::policy::{Action, Permit, ScopeLimit};
///
/// let forged = Permit {
///     action: Action::Secret,
///     name: "database".into(),
///     limit: ScopeLimit::Definition,
///     requested: Scopes::none(),
///     rule: 1,
/// };
/// ```
/// ```compile_fail,E0624
/// use crate::policy::{Action, Permit, ScopeLimit};
///
/// let forged = Permit::of_rule(Action::Secret, &"database".into(), &ScopeLimit::Definition, 1);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    action: Action,
    name: Arc<str>,
    limit: ScopeLimit,
    requested: Scopes,
    rule: u32,
}

impl Permit {
    /// What rule number `rule` gives to those who ask for no scopes in particular.
    pub(super) fn of_rule(action: Action, name: &Arc<str>, limit: &ScopeLimit, rule: u32) -> Self {
        Self {
            action,
            name: Arc::clone(name),
            limit: limit.clone(),
            requested: Scopes::none(),
            rule,
        }
    }

    /// The same, for somebody who asked for `scopes`. The caller has checked that the limit covers them.
    pub(super) fn narrowed_to(&self, scopes: &Scopes) -> Self {
        Self {
            requested: scopes.clone(),
            ..self.clone()
        }
    }

    /// What it permits.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// The name of the configuration that it is about.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The scopes that the peer asked for; empty for "all that I may have".
    ///
    /// They are within [`Permit::limit`]. Where that is [`ScopeLimit::Definition`] policy does not know the bound: whoever
    /// serves the permit holds them against the token's definition.
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
