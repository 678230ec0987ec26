//! Who may operate the daemon.
//!
//! Owns the rule for peers on the admin socket: root of the host, and root and the daemon's own user where the daemon is.
//! The mode of the socket keeps other users out already, but not root of a container: it arrives as uid 0, and a container
//! that was given the directory of the broker socket has the admin socket's below it.

use claviger_core::peer::Facts;

/// The user and the container of the daemon.
#[derive(Debug)]
pub(crate) struct Operators {
    uid: u32,
    container: Option<String>,
    nested: bool,
}

impl Operators {
    /// The operators of this process. If the kernel does not say where the process is, it counts as outside of every container.
    pub(crate) fn of_this_process() -> Self {
        let facts = Facts::of_this_process().unwrap_or_default();
        Self {
            uid: rustix::process::geteuid().as_raw(),
            container: container(&facts).map(str::to_owned),
            nested: facts.nested,
        }
    }

    /// Whether a peer is one of them.
    pub(crate) fn include(&self, peer: &Facts) -> bool {
        let same_container =
            container(peer) == self.container.as_deref() && peer.nested == self.nested;
        let of_the_host = peer.uid == 0 && !peer.is_contained();
        of_the_host || (same_container && (peer.uid == 0 || peer.uid == self.uid))
    }
}

fn container(facts: &Facts) -> Option<&str> {
    facts.cgroup.as_ref()?.container.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use claviger_core::peer::Cgroup;

    fn at(uid: u32, container: &str, nested: bool) -> Facts {
        let container = (!container.is_empty()).then(|| container.to_owned());
        Facts {
            uid,
            nested,
            cgroup: Some(Cgroup {
                container,
                ..Cgroup::default()
            }),
            ..Facts::default()
        }
    }

    #[test]
    fn only_root_of_the_host_and_those_where_the_daemon_is() {
        let on = |container: &str| Operators {
            uid: 42,
            container: (!container.is_empty()).then(|| container.to_owned()),
            nested: false,
        };
        for (daemon, peer, operates) in [
            ("", at(0, "", false), true),
            ("", at(42, "", false), true),
            ("", at(43, "", false), false),
            ("", at(0, "c0ffee", false), false),
            ("", at(0, "", true), false),
            ("", Facts::default(), true),
            ("c0ffee", at(0, "c0ffee", false), true),
            ("c0ffee", at(0, "decade", false), false),
            ("c0ffee", at(42, "c0ffee", false), true),
            ("c0ffee", at(42, "", false), false),
            ("c0ffee", at(0, "", false), true),
        ] {
            assert_eq!(on(daemon).include(&peer), operates, "{daemon} {peer:?}");
        }
    }

    #[test]
    fn this_process_operates_itself() {
        let own = Facts::of_this_process().unwrap();
        assert!(Operators::of_this_process().include(&own));
    }
}
