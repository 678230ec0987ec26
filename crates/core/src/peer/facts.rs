//! The facts about a peer, as plain data.

use std::path::PathBuf;

/// A peer as policy sees it. Plain data: a value proves nothing; only a `Peer` is built from the kernel's reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
    /// Process id in the daemon's pid namespace.
    pub pid: u32,
    /// Whether it is in a pid namespace below the daemon's, as most containers are, whatever the names of their cgroups.
    pub nested: bool,
    /// Its cgroup, or `None` if the kernel is too old to report it without a race.
    pub cgroup: Option<Cgroup>,
    /// The executable, if an attestor could read it. It only narrows a rule.
    pub executable: Option<PathBuf>,
}

impl Facts {
    /// What it is counted as.
    #[must_use]
    pub fn principal(&self) -> Principal {
        let owner = self.cgroup.as_ref().and_then(Cgroup::owner);
        Principal {
            nested: self.nested && owner.is_none(),
            owner: owner.map(str::to_owned),
            ..Principal::of_user(self.uid)
        }
    }

    /// Whether it runs in a container, as far as the kernel reports.
    #[must_use]
    pub fn is_contained(&self) -> bool {
        let cgroup = self.cgroup.as_ref();
        self.nested || cgroup.is_some_and(|cgroup| cgroup.container.is_some())
    }
}

/// What peers are told apart by where resources are divided: the user, and the unit or container in terms that only root can
/// set. Not the whole cgroup: a peer that may create cgroups below its own would be another one with each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    uid: u32,
    owner: Option<String>,
    /// Without an owner: whether it is in a pid namespace of its own, where a uid may not be that of the host.
    nested: bool,
}

impl Principal {
    /// A user outside of units and containers.
    #[must_use]
    pub fn of_user(uid: u32) -> Self {
        Self {
            uid,
            owner: None,
            nested: false,
        }
    }
}

/// A cgroup path, and the unit and container read from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// The path below the cgroup mount, beginning with `/`.
    pub path: String,
    /// The systemd *system* unit, if it runs in one.
    pub unit: Option<String>,
    /// The container id, if it is in a container.
    pub container: Option<String>,
}

impl Cgroup {
    /// The owner in terms that only root can set: the unit, or else the container. `None` if other users can name the
    /// directories, as in a session: there, one peer could pose as any number of them.
    fn owner(&self) -> Option<&str> {
        // The name of a container in a delegated subtree contains its owner, before a colon.
        let container = self.container.as_deref().filter(|id| !id.contains(':'));
        self.unit.as_deref().or(container)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_of_a_container_is_not_counted_as_root() {
        let root = Facts::default();
        let nested = Facts {
            nested: true,
            ..Facts::default()
        };
        let contained = Facts {
            cgroup: Some(Cgroup {
                container: Some("c0ffee".to_owned()),
                ..Cgroup::default()
            }),
            ..nested.clone()
        };
        assert_eq!(root.principal(), Principal::of_user(0));
        let principals = [&root, &nested, &contained].map(Facts::principal);
        let different = principals.iter().collect::<std::collections::HashSet<_>>();
        assert_eq!(different.len(), 3, "{principals:?}");
    }
}
