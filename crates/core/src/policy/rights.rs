//! Rules, compiled: what one peer may do.
//!
//! Owns [`Policy`], the rules in force, and [`Rights`], the answers that they have for one peer. Rights are made once per
//! connection and never change; a reload makes a new policy, and new rights for those who ask again. Holds its permits by
//! `Arc`, so that a decision hands one out without copying it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::peer::Facts;
use crate::policy::{Action, Permit, Rule, ScopeLimit};
use claviger_oauth_wire::Scopes;

/// The rules in force.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Arc<[Rule]>,
}

impl Policy {
    /// Puts `rules` into force in their order.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        Self {
            rules: rules.into(),
        }
    }

    /// The rules, in order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rules with their numbers, counted from 1.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (u32, &Rule)> {
        (1_u32..).zip(self.rules.iter())
    }

    /// What a peer with these facts may do. Computed once per connection.
    #[must_use]
    pub fn rights(&self, facts: &Facts) -> Rights {
        let mut rights = Rights::default();
        for (number, rule) in self.numbered() {
            if rule.selector.mismatch(facts).is_some() {
                continue;
            }
            rights.selected = true;
            for action in Action::ALL {
                for name in rule.names(action) {
                    rights.grant(Permit::of_rule(action, name, rule.limit(action), number));
                }
            }
        }
        rights
    }
}

/// What one peer may do.
#[derive(Debug, Default)]
pub struct Rights {
    /// Whether any rule selects the peer at all, for the reason of a denial.
    selected: bool,
    /// One map per action, so that a request looks its name up as it is, without building a key.
    tokens: Permits,
    revocations: Permits,
    secrets: Permits,
}

/// Per name, the permits in the order of the rules. The first that covers a wish decides.
type Permits = HashMap<Arc<str>, Vec<Arc<Permit>>>;

impl Rights {
    fn of(&self, action: Action) -> &Permits {
        match action {
            Action::Token => &self.tokens,
            Action::Revoke => &self.revocations,
            Action::Secret => &self.secrets,
        }
    }

    fn grant(&mut self, permit: Permit) {
        let permits = match permit.action() {
            Action::Token => &mut self.tokens,
            Action::Revoke => &mut self.revocations,
            Action::Secret => &mut self.secrets,
        };
        permits
            .entry(Arc::clone(permit.name()))
            .or_default()
            .push(Arc::new(permit));
    }

    /// Decides one request: a permit, or why not.
    ///
    /// Without `scopes` the first rule that names the thing decides, in constant time and without an allocation; with them
    /// the first one that allows them all. Names are compared whole, byte by byte.
    ///
    /// # Errors
    /// A [`Denial`], which tells the peer nothing about the rules.
    pub fn permit(
        &self,
        action: Action,
        name: &str,
        scopes: &Scopes,
    ) -> Result<Arc<Permit>, Denial> {
        let Some(permits) = self.of(action).get(name) else {
            return Err(if self.selected {
                Denial::NotInRule
            } else {
                Denial::NoRule
            });
        };
        let permit = permits
            .iter()
            .find(|permit| permit.limit().covers(scopes))
            .ok_or(Denial::Scope)?;
        if scopes.is_empty() {
            return Ok(Arc::clone(permit));
        }
        Ok(Arc::new(permit.narrowed_to(scopes)))
    }
}

impl ScopeLimit {
    /// Whether somebody may ask for `scopes`. Asking for none in particular is always within a limit.
    #[must_use]
    pub fn covers(&self, scopes: &Scopes) -> bool {
        match self {
            Self::Definition => true,
            Self::Only(limit) => limit.covers(scopes),
        }
    }
}

/// Why a peer may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// No rule selects the peer.
    #[error("no rule selects this peer")]
    NoRule,
    /// A rule selects the peer, but none names what it asks for.
    #[error("no rule for this peer names what it asks for")]
    NotInRule,
    /// Rules name the token, but not with these scopes.
    #[error("no rule for this peer allows these scopes")]
    Scope,
}
