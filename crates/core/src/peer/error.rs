//! Why there is no peer, or not the same any more.

use std::io;

use claviger_kernel::PidfdInfoError;

/// Why a peer could not be identified. The connection is closed without a word; this is for the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket has no credentials of a peer.
    #[error("the kernel does not say who connected; only unix sockets can tell")]
    Credentials(#[source] io::Error),
    /// The peer's pid is 0, or its pidfd leads out of the pid namespace of the daemon.
    #[error(
        "the peer is in a pid namespace that the daemon cannot see; run the daemon in the host's (hostPID, --pid=host)"
    )]
    OutsidePidNamespace,
    /// The peer's user (or group) has no number in the user namespace of the daemon.
    #[error(
        "the peer's user or group, {id}, is the number that stands for unknown ones; run the daemon in the host's user namespace, and the peer as a user of its own"
    )]
    Unmapped {
        /// The number that the kernel puts in its place.
        id: u32,
    },
    /// It has exited, or handed its connection on and exited.
    #[error("the process that connected has exited")]
    Exited,
    /// The kernel would not pin it.
    #[error("the kernel did not pin the process that connected")]
    Pidfd(#[source] io::Error),
    /// The kernel would not describe what it pinned.
    #[error("the kernel did not describe the process that connected")]
    Info(#[source] PidfdInfoError),
    /// It is not what it was a moment ago.
    #[error("the process changed while it was identified: {0}")]
    Changed(Changed),
    /// There is no descriptor left to read `/proc` with.
    #[error("there is no descriptor left to identify the peer with; raise LimitNOFILE")]
    NoDescriptors(#[source] io::Error),
    /// Its directory in `/proc` cannot be read.
    #[error("/proc hides the peer from the daemon; set ProtectProc=default in its unit")]
    Hidden(#[source] io::Error),
    /// What the kernel says of its cgroup cannot be understood.
    #[error("the peer's cgroup is not a path that the kernel writes")]
    CgroupMalformed,
    /// Its cgroup is outside of what the daemon can see.
    #[error(
        "the peer is in a cgroup that the daemon cannot see; run the daemon in the host's cgroup namespace (--cgroupns=host) with its cgroup mount"
    )]
    OutsideCgroupNamespace,
    /// The daemon cannot read about itself.
    #[error("cannot read {path}; mount /proc")]
    Host {
        /// Which file.
        path: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Why a peer is no longer the one that was identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Changed {
    /// It has exited; somebody else may hold its connection.
    #[error("the process has exited")]
    Exited,
    /// It runs as another user.
    #[error("the process runs as another user than when it connected")]
    User,
    /// It was moved to another cgroup.
    #[error("the process is in another cgroup than when it connected")]
    Cgroup,
    /// It cannot be asked any more.
    #[error("the kernel no longer describes the process")]
    Unknown,
}
