//! Properties of the host that are needed to interpret what the kernel reports about peers.
//!
//! Owns the overflow ids (which stand for unmapped ids), the cgroup mount, and the probe of the kernel's features
//! ([`Support::probe`]). Read once per process: none of it changes while the daemon runs.

use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::{fs, io};

use nix::sys::socket::{getsockopt, sockopt};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::{Error, Facts, Settings};

/// Properties of the host.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// The uid that the kernel reports for an unmapped one.
    overflow_uid: u32,
    /// The gid that the kernel reports for an unmapped one.
    overflow_gid: u32,
    /// Whether every gid is mapped, so that `overflow_gid` is an ordinary group (Debian's `nogroup`).
    all_gids_mapped: bool,
    /// The mount point of cgroups; `None` on hosts without the version 2 hierarchy.
    pub(super) cgroup_mount: Option<PathBuf>,
}

impl Host {
    /// Reads the properties once, and caches them.
    pub(super) fn get() -> Result<&'static Self, Error> {
        static HOST: OnceLock<Host> = OnceLock::new();
        if let Some(host) = HOST.get() {
            return Ok(host);
        }
        let host = Self::read()?;
        Ok(HOST.get_or_init(|| host))
    }

    fn read() -> Result<Self, Error> {
        let text = |path| fs::read_to_string(path).map_err(|source| Error::Host { path, source });
        let number = |path| {
            let number = text(path)?.trim().parse();
            number.map_err(|_not_a_number| Error::Host {
                path,
                source: io::ErrorKind::InvalidData.into(),
            })
        };
        Ok(Self {
            overflow_uid: number("/proc/sys/kernel/overflowuid")?,
            overflow_gid: number("/proc/sys/kernel/overflowgid")?,
            all_gids_mapped: maps_everything(&text("/proc/self/gid_map")?),
            cgroup_mount: claviger_kernel::cgroup_mount(&text("/proc/self/mountinfo")?),
        })
    }

    /// Whether the kernel reports this user for processes whose user has no number here.
    pub(super) fn is_overflow(&self, uid: u32) -> bool {
        uid == self.overflow_uid
    }

    /// Rejects the overflow ids, and drops such supplementary groups.
    ///
    /// The overflow uid is rejected even where it is a mapped user, usually `nobody`, because many unrelated processes may run
    /// as it. The overflow gid is the primary group of many Debian system users, so it is rejected only if some gids are
    /// unmapped.
    pub(super) fn check_ids(&self, facts: &mut Facts) -> Result<(), Error> {
        if self.is_overflow(facts.uid) || facts.uid == u32::MAX {
            return Err(Error::Unmapped { id: facts.uid });
        }
        if !self.all_gids_mapped {
            if facts.gid == self.overflow_gid {
                return Err(Error::Unmapped { id: facts.gid });
            }
            facts.groups.retain(|group| *group != self.overflow_gid);
        }
        Ok(())
    }
}

/// Whether the map of a user namespace is the host's, which maps every id to itself.
fn maps_everything(map: &str) -> bool {
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// The kernel's features for identifying peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Support {
    /// It pins peers (Linux 6.5).
    pub pidfd: bool,
    /// It describes a pinned process in one call (Linux 6.13). Without this, `/proc` is read for every answer: slower, but as
    /// safe.
    pub info: bool,
    /// It has the version 2 cgroup hierarchy, from which the unit and container are read.
    pub cgroup: bool,
}

impl Support {
    /// Probes the features on a socket of the daemon to itself.
    ///
    /// # Errors
    /// [`Error::Host`] if `/proc` is missing, [`Error::Credentials`] if no socket can be created.
    pub fn probe() -> Result<Self, Error> {
        let host = Host::get()?;
        let (socket, _other) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(|error| Error::Credentials(error.into()))?;
        let pidfd = getsockopt(&socket, sockopt::PeerPidfd).ok();
        let info = pidfd
            .as_ref()
            .is_some_and(|pidfd| claviger_kernel::pidfd_info(pidfd.as_fd()).is_ok());
        Ok(Self {
            pidfd: pidfd.is_some(),
            info,
            cgroup: host.cgroup_mount.is_some(),
        })
    }

    /// The warnings for the operator at start.
    pub fn warnings(self, settings: &Settings) -> impl Iterator<Item = &'static str> {
        let no_pidfd = if settings.allow_legacy_pid_attestation {
            "this kernel cannot pin peers (that needs Linux 6.5): the owner of a reused process id can be taken for another process, which allow_legacy_pid_attestation permits"
        } else {
            "this kernel cannot pin peers (that needs Linux 6.5): rules by unit, container or executable match no peer, and rules by user also match processes in containers"
        };
        let no_cgroup = "there is no version 2 cgroup hierarchy: rules by unit or container match no peer, and containers are recognized only by their pid namespaces";
        let pidfd = (!self.pidfd).then_some(no_pidfd);
        pidfd.into_iter().chain((!self.cgroup).then_some(no_cgroup))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(all_gids_mapped: bool) -> Host {
        Host {
            overflow_uid: 65_534,
            overflow_gid: 65_534,
            all_gids_mapped,
            cgroup_mount: None,
        }
    }

    fn facts(uid: u32, gid: u32) -> Facts {
        Facts {
            uid,
            gid,
            groups: vec![4, 65_534],
            ..Facts::default()
        }
    }

    #[test]
    fn unmapped_ids_are_rejected() {
        for (uid, gid, mapped, accepted) in [
            (0, 0, true, true),
            (1000, 1000, true, true),
            (65_534, 0, true, false),
            (u32::MAX, 0, true, false),
            (1000, 65_534, true, true),
            (1000, 65_534, false, false),
            (1000, 1000, false, true),
        ] {
            let verdict = host(mapped).check_ids(&mut facts(uid, gid));
            assert_eq!(
                verdict.is_ok(),
                accepted,
                "{uid}:{gid}, all mapped: {mapped}"
            );
        }
    }

    #[test]
    fn unmapped_supplementary_groups_are_dropped() {
        let mut inside = facts(1000, 1000);
        host(false).check_ids(&mut inside).unwrap();
        assert_eq!(inside.groups, [4]);
        let mut outside = facts(1000, 1000);
        host(true).check_ids(&mut outside).unwrap();
        assert_eq!(outside.groups, [4, 65_534]);
    }

    #[test]
    fn only_the_hosts_map_maps_everything() {
        assert!(maps_everything("         0          0 4294967295\n"));
        for map in [
            "",
            "0 0 65536",
            "0 100000 65536",
            "0 1000 1\n1 100000 4294967294",
        ] {
            assert!(!maps_everything(map), "{map}");
        }
    }

    #[test]
    fn each_missing_feature_causes_a_warning() {
        let all = Support {
            pidfd: true,
            info: true,
            cgroup: true,
        };
        let settings = Settings::default();
        assert_eq!(all.warnings(&settings).count(), 0);
        let old = Support {
            pidfd: false,
            info: false,
            cgroup: false,
        };
        let warnings: Vec<_> = old.warnings(&settings).collect();
        assert!(
            warnings.len() == 2 && warnings[0].contains("match no peer"),
            "{warnings:?}"
        );
        let settings = Settings {
            allow_legacy_pid_attestation: true,
            ..settings
        };
        let warnings: Vec<_> = old.warnings(&settings).collect();
        assert!(
            warnings.len() == 2 && warnings[0].contains("reused"),
            "{warnings:?}"
        );
    }
}
