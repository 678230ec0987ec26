//! A pinned process.
//!
//! Owns the order of the checks: data read by pid number counts only if the pidfd shows *afterwards* that its process is still
//! alive, and a cgroup path only if its directory is the cgroup that the kernel reports. Also owns the same checks before every
//! answer. Never uses a pid in any other way.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::cgroup::{self, InvalidPath};
use super::host::Host;
use super::{Attestor, Cgroup, Changed, Error, Facts};
use claviger_kernel::{PidfdInfoError, pidfd_info};
use claviger_runtime::telemetry::Causes;

/// The read limit for a file about a peer, in bytes. A cgroup path has at most 4 KiB, a status with all groups 512 KiB.
const MOST: u64 = 1 << 20;

/// A process, with the properties that must not change.
#[derive(Debug)]
pub(super) struct Process {
    pidfd: OwnedFd,
    /// The inode of its cgroup directory; `None` on hosts without cgroups.
    cgroup_id: Option<u64>,
    /// Whether the kernel can describe the pidfd directly. If not, `/proc` is read.
    has_info: bool,
}

impl Process {
    /// Pins the process of `facts` by `pidfd`, and adds its cgroup and nesting to the facts.
    pub(super) fn pin(pidfd: OwnedFd, facts: &mut Facts, host: &Host) -> Result<Self, Error> {
        let mut process = Self {
            pidfd,
            cgroup_id: None,
            has_info: true,
        };
        let named = match pidfd_info(process.pidfd.as_fd()) {
            Ok(info) if info.pid != facts.pid => return Err(Error::Exited),
            Ok(info) => info.cgroup_id,
            Err(PidfdInfoError::Unsupported) => {
                process.has_info = false;
                None
            }
            Err(PidfdInfoError::Gone) => return Err(Error::Exited),
            Err(PidfdInfoError::Foreign) => return Err(Error::OutsidePidNamespace),
            Err(error @ PidfdInfoError::Refused(_)) => return Err(Error::Info(error)),
        };
        facts.nested = process.alive_or(is_nested(process.pidfd.as_fd()))?;
        if process.alive_or(has_no_main_thread(facts.pid))? {
            return Err(Error::NoMainThread);
        }
        if let Some(mount) = &host.cgroup_mount {
            let (cgroup, id) = process.alive_or(read_cgroup(facts.pid, mount))?;
            if process.has_info && named != Some(id) {
                return Err(Error::Changed(Changed::Cgroup));
            }
            facts.cgroup = Some(cgroup);
            process.cgroup_id = Some(id);
        }
        process.confirm(facts).map_err(|changed| match changed {
            Changed::Exited => Error::Exited,
            Changed::User | Changed::Cgroup | Changed::Unknown => Error::Changed(changed),
        })?;
        Ok(process)
    }

    /// Adds the evidence of `attestors`, if the process is still alive when they are done.
    pub(super) async fn attest(
        &self,
        facts: &mut Facts,
        attestors: &[Arc<dyn Attestor>],
    ) -> Result<(), Error> {
        for attestor in attestors {
            match attestor.attest(facts, self.pidfd.as_fd()).await {
                Ok(evidence) => {
                    if let Some(executable) = evidence.executable {
                        facts.executable = Some(executable);
                    }
                }
                // A peer that exits meanwhile has no evidence. Not logged, because such peers could fill the log.
                Err(_) if self.has_exited() => return Err(Error::Exited),
                Err(error) => {
                    tracing::warn!(peer.pid = facts.pid, error = %Causes(&error), "no evidence");
                }
            }
        }
        if attestors.is_empty() || !self.has_exited() {
            Ok(())
        } else {
            Err(Error::Exited)
        }
    }

    /// Whether it is still the process of `facts`, in the same cgroup.
    pub(super) fn confirm(&self, facts: &Facts) -> Result<(), Changed> {
        let (euid, cgroup_id) = if self.has_info {
            let info = pidfd_info(self.pidfd.as_fd()).map_err(|error| match error {
                PidfdInfoError::Gone => Changed::Exited,
                PidfdInfoError::Unsupported
                | PidfdInfoError::Foreign
                | PidfdInfoError::Refused(_) => Changed::Unknown,
            })?;
            (info.euid, info.cgroup_id)
        } else {
            self.reread(facts)?
        };
        // Checked last, so that the process was alive during all reads above: the kernel describes a zombie as if it were
        // alive.
        if self.has_exited() {
            return Err(Changed::Exited);
        }
        if euid != facts.uid {
            return Err(Changed::User);
        }
        if self.cgroup_id.is_some() && cgroup_id != self.cgroup_id {
            return Err(Changed::Cgroup);
        }
        Ok(())
    }

    /// The effective user and the cgroup, from `/proc`.
    fn reread(&self, facts: &Facts) -> Result<(u32, Option<u64>), Changed> {
        let exited_or = |changed| {
            move |_error: Error| {
                if self.has_exited() {
                    Changed::Exited
                } else {
                    changed
                }
            }
        };
        let uid = credentials(facts.pid)
            .map_err(exited_or(Changed::Unknown))?
            .uid;
        let mount = Host::get().map_err(exited_or(Changed::Unknown))?;
        let cgroup_id = match &mount.cgroup_mount {
            Some(mount) => {
                let (cgroup, id) =
                    read_cgroup(facts.pid, mount).map_err(exited_or(Changed::Cgroup))?;
                if facts.cgroup.as_ref() != Some(&cgroup) {
                    return Err(Changed::Cgroup);
                }
                Some(id)
            }
            None => None,
        };
        Ok((uid, cgroup_id))
    }

    /// Reads of `/proc` fail with various errors for an exited process; report that it has exited.
    fn alive_or<T>(&self, answer: Result<T, Error>) -> Result<T, Error> {
        answer.map_err(|error| {
            if self.has_exited() {
                Error::Exited
            } else {
                error
            }
        })
    }

    fn has_exited(&self) -> bool {
        has_exited(&self.pidfd)
    }
}

/// A pidfd becomes readable when its process exits. If polling fails, the process counts as exited.
pub(super) fn has_exited(pidfd: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(pidfd, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    loop {
        match poll(&mut polled, Some(&now)) {
            Ok(ready) => return ready != 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}

/// The current ids of process `pid`. The caller checks that it is the intended process.
pub(super) fn credentials(pid: u32) -> Result<Facts, Error> {
    let text = read(&format!("/proc/{pid}/status"))?;
    let ids = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let ids = line?.split_ascii_whitespace().map(|id| id.parse().ok());
        ids.collect::<Option<Vec<u32>>>()
    };
    // Real, effective, saved, file system.
    let effective = |name| ids(name).and_then(|ids| ids.get(1).copied());
    let facts = || {
        Some(Facts {
            uid: effective("Uid:")?,
            gid: effective("Gid:")?,
            groups: ids("Groups:")?,
            pid,
            ..Facts::default()
        })
    };
    facts().ok_or_else(|| Error::Hidden(io::ErrorKind::InvalidData.into()))
}

/// Whether the process of `pidfd` is in a pid namespace below that of the daemon's `/proc`. This never changes. Read from the
/// daemon's own descriptor: the process's `status` has its groups as well, as many as it set since it connected.
fn is_nested(pidfd: BorrowedFd<'_>) -> Result<bool, Error> {
    let text = read(&format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    // One pid per namespace, from the outermost visible here. Kernels without namespaces omit the line.
    let pids = text.lines().find_map(|line| line.strip_prefix("NSpid:"));
    Ok(pids.is_some_and(|pids| pids.split_ascii_whitespace().count() > 1))
}

/// Whether the main thread of process `pid` has exited. The others of that process may have moved to another cgroup since, and
/// `/proc` shows that of the main thread.
fn has_no_main_thread(pid: u32) -> Result<bool, Error> {
    // Of the thread alone: the file of the process adds up all of its threads.
    let text = read(&format!("/proc/{pid}/task/{pid}/stat"))?;
    // The name before the state is in parentheses, and may have some of its own.
    let state = text
        .rsplit_once(") ")
        .and_then(|(_, fields)| fields.chars().next());
    Ok(matches!(state, None | Some('Z' | 'X')))
}

/// The current cgroup of process `pid`, and the inode of its directory.
fn read_cgroup(pid: u32, mount: &Path) -> Result<(Cgroup, u64), Error> {
    let text = read(&format!("/proc/{pid}/cgroup"))?;
    let path = cgroup::line(&text).ok_or(Error::CgroupMalformed)?;
    let cgroup = cgroup::parse(path).map_err(|error| match error {
        InvalidPath::Outside => Error::OutsideCgroupNamespace,
        InvalidPath::Malformed => Error::CgroupMalformed,
    })?;
    // The path has no `..` or `.`, so it stays below the mount; and that file system has no symbolic links.
    let directory = mount.join(path.trim_start_matches('/'));
    let id = match fs::symlink_metadata(directory) {
        Ok(directory) => directory.ino(),
        // The directory was removed after the path was read, or was never visible here.
        Err(_) => return Err(Error::OutsideCgroupNamespace),
    };
    Ok((cgroup, id))
}

fn read(path: &str) -> Result<String, Error> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MOST).read_to_string(&mut text))
        .map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EMFILE | Errno::ENFILE) => Error::NoDescriptors(error),
            _ => Error::Hidden(error),
        })?;
    Ok(text)
}
