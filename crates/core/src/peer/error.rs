//! Why a peer cannot be identified, or is no longer the same.

use std::io;

use claviger_kernel::PidfdInfoError;

/// Why a peer could not be identified. The connection is closed without an answer; the error is only logged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket has no credentials of a peer.
    #[error(
        "cannot read the credentials of the process that connected; the socket must be a unix socket"
    )]
    Credentials(#[source] io::Error),
    /// The peer's pid is 0, or its pidfd refers to a process outside the daemon's pid namespace.
    #[error(
        "the peer is in a pid namespace that the daemon cannot see; run the daemon in the host's (hostPID, --pid=host)"
    )]
    OutsidePidNamespace,
    /// The peer's user (or group) has no number in the user namespace of the daemon.
    #[error(
        "the peer's user or group, {id}, is the overflow id, which the kernel reports for unmapped ids; run the daemon in the host's user namespace, and the peer as its own user"
    )]
    Unmapped {
        /// The overflow id that the kernel reported.
        id: u32,
    },
    /// It had more supplementary groups than are read of a peer.
    #[error(
        "the process that connected has more than {most} supplementary groups; start it with fewer"
    )]
    TooManyGroups {
        /// The most that are read.
        most: usize,
    },
    /// It has exited, possibly after passing its connection to another process.
    #[error("the process that connected has exited")]
    Exited,
    /// Its main thread has exited and others go on: the kernel would describe the thread that is dead.
    #[error(
        "the main thread of the process that connected has exited; keep it until the program ends"
    )]
    NoMainThread,
    /// The kernel did not return a pidfd for it.
    #[error("the kernel did not return a pidfd for the process that connected")]
    Pidfd(#[source] io::Error),
    /// The kernel did not describe the process of the pidfd.
    #[error("the kernel did not describe the process that connected")]
    Info(#[source] PidfdInfoError),
    /// It changed during identification.
    #[error("the process changed while it was identified: {0}")]
    Changed(Changed),
    /// No file descriptor is left for reading `/proc`.
    #[error("no file descriptor is left to identify the peer; raise LimitNOFILE=")]
    NoDescriptors(#[source] io::Error),
    /// Its directory in `/proc` cannot be read.
    #[error("/proc hides the peer from the daemon; set ProtectProc=default in its unit")]
    Hidden(#[source] io::Error),
    /// The kernel's text about its cgroup cannot be parsed.
    #[error("the peer's cgroup path is malformed")]
    CgroupMalformed,
    /// Its cgroup is not visible to the daemon.
    #[error(
        "the peer is in a cgroup that the daemon cannot see; run the daemon in the host's cgroup namespace (--cgroupns=host) with its cgroup mount"
    )]
    OutsideCgroupNamespace,
    /// The daemon cannot read a file about its own host.
    #[error("cannot read {path}; mount /proc")]
    Host {
        /// Which file.
        path: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Why a peer is no longer the process that was identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Changed {
    /// It has exited; another process may hold its connection.
    #[error("the process has exited")]
    Exited,
    /// It runs as another user.
    #[error("the process runs as another user than when it connected")]
    User,
    /// It was moved to another cgroup.
    #[error("the process is in another cgroup than when it connected")]
    Cgroup,
    /// The kernel can no longer describe it.
    #[error("the kernel no longer describes the process")]
    Unknown,
}
