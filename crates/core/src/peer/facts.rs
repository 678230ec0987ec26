//! What is known of a peer, as plain data.

use std::path::PathBuf;

/// A peer as policy sees it. Plain data: holding one proves nothing; only a `Peer` comes from the kernel.
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
    /// Whether it is in a pid namespace below the daemon's, as most containers are, whatever their cgroups are called.
    pub nested: bool,
    /// Where it runs, or `None` if the kernel is too old to tell without a race.
    pub cgroup: Option<Cgroup>,
    /// The executable, where an inspector could read it. Only ever narrows a rule.
    pub executable: Option<PathBuf>,
}

impl Facts {
    /// Whether it runs in a container, as far as the kernel can tell.
    #[must_use]
    pub fn is_contained(&self) -> bool {
        let cgroup = self.cgroup.as_ref();
        self.nested || cgroup.is_some_and(|cgroup| cgroup.container.is_some())
    }
}

/// A cgroup path and what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// The path below the cgroup mount, beginning with `/`.
    pub path: String,
    /// The systemd *system* unit, if it is one.
    pub unit: Option<String>,
    /// The container id, if it is in a container.
    pub container: Option<String>,
}

impl Cgroup {
    /// Whose it is, as far as root alone decides: the unit, or else the container. `None` where somebody else names the
    /// directories, as every user does in a session: there one peer could be as many as it likes.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        // A container in a delegated subtree is told with its owner before a colon.
        let container = self.container.as_deref().filter(|id| !id.contains(':'));
        self.unit.as_deref().or(container)
    }
}
