//! Rules, compiled: what one peer may do, and the proof of it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::oauth::wire::Scopes;
use crate::peer::Facts;
use crate::policy::{Action, Rule, ScopeLimit};

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

    /// What a peer with these facts may do. Computed once per connection.
    #[must_use]
    pub fn rights(&self, facts: &Facts) -> Rights {
        let mut rights = Rights::default();
        for (number, rule) in (1_u32..).zip(self.rules.iter()) {
            if rule.selector.mismatch(facts).is_some() {
                continue;
            }
            rights.selected = true;
            for token in &rule.tokens {
                rights.grant(Action::Token, token, rule.scopes.clone(), number);
                rights.grant(Action::Revoke, token, rule.scopes.clone(), number);
            }
            for secret in &rule.secrets {
                rights.grant(Action::Secret, secret, ScopeLimit::Definition, number);
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
    /// Per action and name, the permits in the order of the rules. The first that covers a wish decides.
    permits: HashMap<(Action, Arc<str>), Vec<Permit>>,
}

impl Rights {
    fn grant(&mut self, action: Action, name: &Arc<str>, scopes: ScopeLimit, rule: u32) {
        let permit = Permit {
            action,
            name: Arc::clone(name),
            scopes,
            requested: Scopes::none(),
            rule,
        };
        self.permits
            .entry((action, Arc::clone(name)))
            .or_default()
            .push(permit);
    }

    /// Decides one request: a permit, or why not.
    ///
    /// Without `scopes` the first rule that names the thing decides; with them the first one that allows them all.
    ///
    /// # Errors
    /// A [`Denial`], which tells the peer nothing about the rules.
    pub fn permit(&self, action: Action, name: &str, scopes: &Scopes) -> Result<Permit, Denial> {
        let key = (action, Arc::<str>::from(name));
        let Some(permits) = self.permits.get(&key) else {
            return Err(if self.selected {
                Denial::NotInRule
            } else {
                Denial::NoRule
            });
        };
        permits
            .iter()
            .find(|permit| match &permit.scopes {
                ScopeLimit::Definition => true,
                ScopeLimit::Only(limit) => limit.covers(scopes),
            })
            .map(|permit| Permit {
                requested: scopes.clone(),
                ..permit.clone()
            })
            .ok_or(Denial::Scope)
    }
}

/// The proof that a peer may do one thing. Only this module makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    action: Action,
    name: Arc<str>,
    scopes: ScopeLimit,
    requested: Scopes,
    rule: u32,
}

impl Permit {
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
    #[must_use]
    pub fn requested(&self) -> &Scopes {
        &self.requested
    }

    /// The scopes that the rule allows.
    #[must_use]
    pub fn limit(&self) -> &ScopeLimit {
        &self.scopes
    }

    /// The number of the rule that decided, counted from 1.
    #[must_use]
    pub fn rule(&self) -> u32 {
        self.rule
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
