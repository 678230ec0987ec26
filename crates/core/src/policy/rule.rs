//! One line of policy.
//!
//! Owns the words in which the configuration states a right: an [`Action`], the names that it is about, and the scopes that
//! bound it. Who the rule is about is its [`Selector`]. Says nothing about order: that is `rights`.

use std::sync::Arc;

use crate::policy::Selector;
use claviger_oauth_wire::Scopes;

/// What a peer can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Be handed a token.
    Token,
    /// Have a token revoked.
    Revoke,
    /// Be handed a secret's value.
    Secret,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 3] = [Self::Token, Self::Revoke, Self::Secret];

    /// The word for it in configuration, explanations and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Revoke => "revoke",
            Self::Secret => "secret",
        }
    }

    /// The action with this word, compared exactly.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == word)
    }

    /// What the names that it is asked for are names of: `token` or `secret`.
    #[must_use]
    pub fn subject(self) -> &'static str {
        match self {
            Self::Token | Self::Revoke => "token",
            Self::Secret => "secret",
        }
    }
}

/// Which scopes a rule allows of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopeLimit {
    /// All that the token's definition has.
    Definition,
    /// At most these.
    Only(Scopes),
}

/// One line of policy: who, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Who.
    pub selector: Selector,
    /// The tokens they may be handed, by name. Being handed one includes reporting it and revoking it.
    pub tokens: Vec<Arc<str>>,
    /// The scopes they may have of those tokens.
    pub scopes: ScopeLimit,
    /// The secrets they may be handed, by name.
    pub secrets: Vec<Arc<str>>,
}

impl Rule {
    /// The names that the rule gives `action` for.
    #[must_use]
    pub fn names(&self, action: Action) -> &[Arc<str>] {
        match action {
            Action::Token | Action::Revoke => &self.tokens,
            Action::Secret => &self.secrets,
        }
    }

    /// The scopes to which the rule limits `action`. Secrets have none.
    pub(crate) fn limit(&self, action: Action) -> &ScopeLimit {
        match action {
            Action::Token | Action::Revoke => &self.scopes,
            Action::Secret => &ScopeLimit::Definition,
        }
    }
}
