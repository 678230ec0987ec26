//! One line of policy.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::oauth::wire::Scopes;
use crate::peer::Facts;

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
    /// The word for it in configuration, explanations and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Revoke => "revoke",
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

/// Which peers a rule is about. All selectors that are set must match. Compared exactly and case-sensitively.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// User id.
    pub user: Option<u32>,
    /// A group id, primary or supplementary.
    pub group: Option<u32>,
    /// A systemd system unit, for example `billing.service`.
    pub unit: Option<String>,
    /// A container id.
    pub container: Option<String>,
    /// An executable. Only narrows: `claviger check` refuses a rule that has nothing else.
    pub executable: Option<PathBuf>,
}

impl Selector {
    /// Says why the selector does not match, or `None` if it does.
    ///
    /// A user or group alone never matches a process in a container: "root" of a container arrives as uid 0.
    #[must_use]
    pub fn mismatch(&self, facts: &Facts) -> Option<Mismatch> {
        let cgroup = facts.cgroup.as_ref();
        if self.user.is_none()
            && self.group.is_none()
            && self.unit.is_none()
            && self.container.is_none()
        {
            return Some(Mismatch::NothingPrimary);
        }
        if self.user.is_some_and(|user| user != facts.uid) {
            return Some(Mismatch::User);
        }
        if self
            .group
            .is_some_and(|group| group != facts.gid && !facts.groups.contains(&group))
        {
            return Some(Mismatch::Group);
        }
        if self.unit.is_some()
            && self.unit.as_ref() != cgroup.and_then(|cgroup| cgroup.unit.as_ref())
        {
            return Some(Mismatch::Unit);
        }
        let container = cgroup.and_then(|cgroup| cgroup.container.as_ref());
        match (&self.container, container) {
            (Some(wanted), Some(actual)) if wanted == actual => {}
            (Some(_), _) => return Some(Mismatch::Container),
            (None, Some(_)) if self.unit.is_none() => return Some(Mismatch::InsideContainer),
            (None, _) => {}
        }
        if self.executable.is_some() && self.executable != facts.executable {
            return Some(Mismatch::Executable);
        }
        None
    }
}

/// Why a selector does not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The rule names neither user, group, unit nor container.
    NothingPrimary,
    /// Another user.
    User,
    /// Not in the group.
    Group,
    /// Another unit, or none.
    Unit,
    /// Another container, or none.
    Container,
    /// In a container, which a rule by user or group alone never matches.
    InsideContainer,
    /// Another executable, or one that could not be read.
    Executable,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NothingPrimary => "the rule names no user, group, unit or container",
            Self::User => "the peer runs as another user",
            Self::Group => "the peer is not in the group",
            Self::Unit => "the peer runs in another systemd unit, or in none",
            Self::Container => "the peer runs in another container, or in none",
            Self::InsideContainer => {
                "the peer runs in a container, and a rule by user or group alone never matches there"
            }
            Self::Executable => "the peer runs another executable, or one that could not be read",
        })
    }
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
