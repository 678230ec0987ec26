//! Two kernel calls that describe the peer of a socket.
//!
//! Owns the `ioctl` that reads ids and cgroup from a pidfd in one call, and the socket option for a peer's supplementary
//! groups. No safe crate offers either. Both only translate the kernel's result into types; `peer` interprets it.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use nix::libc;
use rustix::io::Errno;
use rustix::ioctl::{self, Updater};

/// What the kernel reports about the process of a pidfd. A zombie looks alive here, so poll the pidfd as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Process id (of the thread group) in the caller's pid namespace.
    pub pid: u32,
    /// Effective user id in the caller's user namespace, at this moment.
    pub euid: u32,
    /// The id of its cgroup in the version 2 hierarchy, if the kernel has one. Equals the directory's inode.
    pub cgroup_id: Option<u64>,
}

/// Why there is no [`Info`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InfoError {
    /// The kernel does not support the call, which needs Linux 6.13.
    #[error("this kernel cannot describe a process by its pidfd; that needs Linux 6.13")]
    Unsupported,
    /// The process has exited and was reaped.
    #[error("the process has exited")]
    Gone,
    /// The process is in a pid namespace that the caller cannot see.
    #[error("the process is in a pid namespace outside of this one")]
    Foreign,
    /// Anything else.
    #[error("the kernel did not describe the process: {0}")]
    Refused(Errno),
}

/// Reads the current ids and cgroup of the process of `pidfd`. One system call; needs no privilege.
///
/// # Errors
/// See [`InfoError`].
pub fn pidfd_info(pidfd: BorrowedFd<'_>) -> Result<Info, InfoError> {
    const OPCODE: ioctl::Opcode = ioctl::opcode::read_write::<libc::pidfd_info>(0xFF, 11);
    const CREDENTIALS: u64 = libc::PIDFD_INFO_CREDS as u64;
    const CGROUP: u64 = libc::PIDFD_INFO_CGROUPID as u64;
    const WANTED: u64 = libc::PIDFD_INFO_PID as u64 | CREDENTIALS | CGROUP;

    let mut info = zeroed_info();
    info.mask = WANTED;
    // SAFETY: the opcode carries the size of the structure it is used with, and the kernel writes at most that many bytes. A
    // descriptor that is not a pidfd fails with ENOTTY.
    #[expect(unsafe_code, reason = "an ioctl without a safe wrapper")]
    let answer = unsafe { ioctl::ioctl(pidfd, Updater::<OPCODE, _>::new(&mut info)) };
    answer.map_err(|error| match error {
        // Before 6.13 this ioctl did not exist; before 6.9 a pidfd did not support ioctls.
        Errno::NOTTY | Errno::INVAL | Errno::OPNOTSUPP => InfoError::Unsupported,
        Errno::SRCH => InfoError::Gone,
        Errno::REMOTE => InfoError::Foreign,
        other => InfoError::Refused(other),
    })?;
    if info.mask & CREDENTIALS == 0 || info.tgid == 0 {
        return Err(InfoError::Gone);
    }
    Ok(Info {
        pid: info.tgid,
        euid: info.euid,
        cgroup_id: (info.mask & CGROUP != 0).then_some(info.cgroupid),
    })
}

/// A zeroed structure, whatever fields later kernels add.
fn zeroed_info() -> libc::pidfd_info {
    // SAFETY: plain integers, for which zero is valid.
    #[expect(unsafe_code, reason = "a foreign structure without a constructor")]
    unsafe {
        std::mem::zeroed()
    }
}

/// The most supplementary groups that are read of a peer. Any user with subordinate ids can have 65,536, and reading them all
/// for each connection would cost more than everything else that is read.
pub const MOST_PEER_GROUPS: usize = 1024;

/// The supplementary groups that the peer of `socket` had when it connected; `None` if there are more than
/// [`MOST_PEER_GROUPS`], of which the kernel then copies none.
///
/// # Errors
/// The kernel's error.
pub fn peer_groups(socket: impl AsFd) -> io::Result<Option<Vec<u32>>> {
    let mut groups = [0_u32; MOST_PEER_GROUPS];
    let mut length = libc::socklen_t::try_from(size_of_val(&groups)).map_err(io::Error::other)?;
    // SAFETY: the pointer and `length` describe the buffer of `groups`, and the kernel writes whole ids no further.
    #[expect(unsafe_code, reason = "a socket option without a safe wrapper")]
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        let error = io::Error::last_os_error();
        // The buffer is too small.
        return match error.raw_os_error() {
            Some(libc::ERANGE) => Ok(None),
            _ => Err(error),
        };
    }
    let count = usize::try_from(length).map_err(io::Error::other)? / size_of::<u32>();
    Ok(groups.get(..count).map(<[u32]>::to_vec))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::process::Command;

    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    #[test]
    fn a_pidfd_describes_this_process() {
        let pidfd = pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap();
        match pidfd_info(pidfd.as_fd()) {
            Ok(info) => {
                assert_eq!(info.pid, std::process::id());
                assert_eq!(info.euid, rustix::process::geteuid().as_raw());
            }
            Err(error) => assert_eq!(error, InfoError::Unsupported, "only an old kernel may fail"),
        }
    }

    #[test]
    fn a_reaped_process_is_gone() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        child.wait().unwrap();
        let error = pidfd_info(pidfd.as_fd()).unwrap_err();
        assert!(
            matches!(error, InfoError::Gone | InfoError::Unsupported),
            "{error}"
        );
    }

    #[test]
    fn a_socket_instead_of_a_pidfd_is_unsupported() {
        let (socket, _other) = UnixStream::pair().unwrap();
        assert_eq!(pidfd_info(socket.as_fd()), Err(InfoError::Unsupported));
    }

    #[test]
    fn the_groups_of_a_peer_are_those_of_the_process_that_connected() {
        let (socket, _other) = UnixStream::pair().unwrap();
        let mine: Vec<u32> = rustix::process::getgroups()
            .unwrap()
            .iter()
            .map(|group| group.as_raw())
            .collect();
        assert_eq!(peer_groups(&socket).unwrap(), Some(mine));
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(peer_groups(null).is_err(), "not a socket");
    }
}
