//! Rules, compiled: what one peer may do.
//!
//! Owns [`Policy`], the rules in force, and `Rights`, the answers that they have for one peer. Rights are made once per
//! connection and never change; a reload makes a new policy, and each connection computes its rights anew at its next request.
//! Permits are made in advance and shared, so that a decision hands one out without copying it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::peer::Facts;
use crate::policy::{Reach, RevokePermit, Rule, ScopeLimit, SecretPermit, TokenPermit};
use claviger_oauth_wire::Scopes;

/// The rules in force.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Arc<[Rule]>,
    /// The groups that rules name.
    groups: Arc<HashSet<u32>>,
}

impl Policy {
    /// A policy of `rules`, in their order.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        let groups = rules.iter().filter_map(|rule| rule.selector.group);
        Self {
            groups: Arc::new(groups.collect()),
            rules: rules.into(),
        }
    }

    /// Whether any rule names this group. Constant time.
    pub(crate) fn names_group(&self, group: u32) -> bool {
        self.groups.contains(&group)
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
    pub(crate) fn rights(&self, facts: &Facts) -> Rights {
        let mut rights = Rights::default();
        for (number, rule) in self.numbered() {
            if rule.selector.mismatch(facts).is_some() {
                continue;
            }
            rights.selected = true;
            for name in &rule.tokens {
                let reach = Reach::of_rule(name, &rule.scopes, number);
                rights.of(name).tokens.push(Arc::new(reach));
            }
            for name in &rule.secrets {
                let permit = || SecretPermit::of_rule(name, number);
                rights.of(name).secret.get_or_insert_with(permit);
            }
        }
        rights
    }
}

/// What one peer may do.
#[derive(Debug, Default)]
pub(crate) struct Rights {
    /// Whether any rule selects the peer at all, for the reason of a denial.
    selected: bool,
    /// One map for all kinds of things, so that a request costs one lookup of the name as it stands.
    by_name: HashMap<Arc<str>, Granted>,
}

/// What the rules give a peer of the things with one name.
#[derive(Debug, Default)]
struct Granted {
    /// In the order of the rules: the first one that covers the requested scopes decides.
    tokens: Vec<Arc<Reach>>,
    /// By the first rule that names the secret.
    secret: Option<SecretPermit>,
}

impl Rights {
    /// Whether any rule selects the peer.
    pub(crate) fn is_selected(&self) -> bool {
        self.selected
    }

    fn of(&mut self, name: &Arc<str>) -> &mut Granted {
        self.by_name.entry(Arc::clone(name)).or_default()
    }

    /// Decides whether the peer may be given a token, or report it as rejected.
    ///
    /// Without `scopes` the first rule that names the token decides, in constant time and without an allocation; with them
    /// the first one that allows them all. Names are compared whole, byte by byte.
    ///
    /// # Errors
    /// A [`Denial`], which reveals nothing about the rules.
    pub(crate) fn token(&self, name: &str, scopes: &Scopes) -> Result<TokenPermit, Denial> {
        self.reach(name, scopes).map(TokenPermit::new)
    }

    /// Decides whether the peer may have a token revoked, as [`Rights::token`] does.
    ///
    /// # Errors
    /// As [`Rights::token`].
    pub(crate) fn revocation(&self, name: &str, scopes: &Scopes) -> Result<RevokePermit, Denial> {
        self.reach(name, scopes).map(RevokePermit::new)
    }

    /// Decides whether the peer may be given a secret's value. The first rule that names it decides.
    ///
    /// # Errors
    /// A [`Denial`], which reveals nothing about the rules.
    pub(crate) fn secret(&self, name: &str) -> Result<SecretPermit, Denial> {
        self.by_name
            .get(name)
            .and_then(|granted| granted.secret.clone())
            .ok_or_else(|| self.unnamed())
    }

    fn reach(&self, name: &str, scopes: &Scopes) -> Result<Arc<Reach>, Denial> {
        let rules = match self.by_name.get(name) {
            Some(granted) if !granted.tokens.is_empty() => &granted.tokens,
            _ => return Err(self.unnamed()),
        };
        let reach = rules
            .iter()
            .find(|reach| reach.limit().covers(scopes))
            .ok_or(Denial::Scope)?;
        if scopes.is_empty() {
            return Ok(Arc::clone(reach));
        }
        Ok(Arc::new(reach.narrowed_to(scopes)))
    }

    /// Why a name that no rule gives the peer is denied.
    fn unnamed(&self) -> Denial {
        if self.selected {
            Denial::NotInRule
        } else {
            Denial::NoRule
        }
    }
}

impl ScopeLimit {
    /// Whether a request for `scopes` is within the limit. Asking for none in particular is always within a limit.
    pub(crate) fn covers(&self, scopes: &Scopes) -> bool {
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
