//! Which peers a rule is about.
//!
//! Owns the comparison of a rule's selectors with the facts of a peer. Every comparison is exact, case-sensitive and of the
//! whole value: no patterns, no beginnings. What is not known of a peer never matches. A new kind of selector is a field of
//! [`Selector`], a variant of [`Mismatch`] and one entry of `CHECKS`; `Selector::has_primary` says whether it may stand
//! alone.

use std::fmt;
use std::path::PathBuf;

use crate::peer::Facts;

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

/// The checks, in the order in which their outcome is reported.
const CHECKS: [fn(&Selector, &Facts) -> Option<Mismatch>; 7] = [
    Selector::check_primary,
    Selector::check_user,
    Selector::check_group,
    Selector::check_unit,
    Selector::check_container,
    Selector::check_inside_container,
    Selector::check_executable,
];

impl Selector {
    /// Says why the selector does not match, or `None` if it does.
    ///
    /// A user or group alone never matches a process in a container: "root" of a container arrives as uid 0.
    #[must_use]
    pub fn mismatch(&self, facts: &Facts) -> Option<Mismatch> {
        self.mismatches(facts).next()
    }

    /// Every reason why the selector does not match; none if it does.
    pub(crate) fn mismatches<'a>(
        &'a self,
        facts: &'a Facts,
    ) -> impl Iterator<Item = Mismatch> + 'a {
        CHECKS.iter().filter_map(|check| check(self, facts))
    }

    /// Whether it has a selector that may stand alone. An executable may not: a process can execute an allowed program
    /// after it has connected, and leave the connection to its child.
    pub(crate) fn has_primary(&self) -> bool {
        self.user.is_some()
            || self.group.is_some()
            || self.unit.is_some()
            || self.container.is_some()
    }

    fn check_primary(&self, _: &Facts) -> Option<Mismatch> {
        (!self.has_primary()).then_some(Mismatch::NothingPrimary)
    }

    fn check_user(&self, facts: &Facts) -> Option<Mismatch> {
        let differs = self.user.is_some_and(|user| user != facts.uid);
        differs.then_some(Mismatch::User)
    }

    fn check_group(&self, facts: &Facts) -> Option<Mismatch> {
        let differs = self
            .group
            .is_some_and(|group| group != facts.gid && !facts.groups.contains(&group));
        differs.then_some(Mismatch::Group)
    }

    fn check_unit(&self, facts: &Facts) -> Option<Mismatch> {
        let actual = facts
            .cgroup
            .as_ref()
            .and_then(|cgroup| cgroup.unit.as_ref());
        (self.unit.is_some() && self.unit.as_ref() != actual).then_some(Mismatch::Unit)
    }

    fn check_container(&self, facts: &Facts) -> Option<Mismatch> {
        let actual = facts
            .cgroup
            .as_ref()
            .and_then(|cgroup| cgroup.container.as_ref());
        let differs = self.container.is_some() && self.container.as_ref() != actual;
        differs.then_some(Mismatch::Container)
    }

    fn check_inside_container(&self, facts: &Facts) -> Option<Mismatch> {
        let says_where = self.unit.is_some() || self.container.is_some();
        let alone = self.has_primary() && !says_where;
        (alone && facts.is_contained()).then_some(Mismatch::InsideContainer)
    }

    fn check_executable(&self, facts: &Facts) -> Option<Mismatch> {
        let differs = self.executable.is_some() && self.executable != facts.executable;
        differs.then_some(Mismatch::Executable)
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
                "the peer runs in a container (or a pid namespace of its own), and a rule by user or group alone never matches there"
            }
            Self::Executable => "the peer runs another executable, or one that could not be read",
        })
    }
}
