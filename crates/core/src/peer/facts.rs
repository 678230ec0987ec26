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
    /// Whether it runs in a container, as far as the kernel reports.
    #[must_use]
    pub fn is_contained(&self) -> bool {
        let cgroup = self.cgroup.as_ref();
        self.nested || cgroup.is_some_and(|cgroup| cgroup.container.is_some())
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
    pub(crate) fn owner(&self) -> Option<&str> {
        // The name of a container in a delegated subtree contains its owner, before a colon.
        let container = self.container.as_deref().filter(|id| !id.contains(':'));
        self.unit.as_deref().or(container)
    }
}
