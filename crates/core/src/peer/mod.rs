//! The identity of the process at the other end of a socket.
//!
//! Owns the identification of a peer from what the kernel reports ([`Pinned`], when it connects) and its confirmation
//! ([`Peer::confirm`], before every answer). Only this module can build a [`Peer`]; policy sees its [`Facts`]. Never decides
//! what a peer may do: that is `policy`.
//!
//! A process is pinned by its pidfd, so a reused pid is a different peer; data read by pid counts only while the pidfd shows
//! that its process is alive. The security boundary is user, systemd system unit and container. The executable only narrows: a
//! process can pass its connection to a child and execute another program.
//!
//! Identification has two steps, both on the connection's own worker: [`Pinned::of`] asks the kernel and never waits;
//! [`Pinned::attest`] runs the attestors, which may wait. A peer is immutable and may be shared. Next: `process` for the order of the checks, and `cgroup` for the meaning of a path.

mod attest;
mod cgroup;
mod error;
mod facts;
mod host;
mod process;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

pub use attest::{AttestError, Attestor, Evidence, ProcExecutable};
pub use error::{Changed, Error};
pub use facts::{Cgroup, Facts, Principal};
pub use host::Support;

use host::Host;
use process::Process;

/// The cgroup in the text of `/proc/<pid>/cgroup`, if it is well-formed. Public only for the fuzz target: the result proves
/// nothing about any process.
#[doc(hidden)]
pub fn cgroup_of(text: &str) -> Option<Cgroup> {
    cgroup::line(text).and_then(|path| cgroup::parse(path).ok())
}

/// Whether processes of this user are never identified, because the kernel reports the user for any process whose own has no
/// number in the daemon's user namespace. Usually 65534, `nobody`.
#[must_use]
pub fn is_overflow(uid: u32) -> bool {
    Host::get().is_ok_and(|host| host.is_overflow(uid))
}

/// How peers are identified.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Whether to trust a pid from a kernel that cannot pin it (before Linux 6.5). A process that reuses the pid of an exited
    /// peer can then be taken for that peer, so this is off unless an operator enables it.
    pub allow_legacy_pid_attestation: bool,
    /// The attestors to run for each peer, in this order.
    pub attestors: Vec<Arc<dyn Attestor>>,
}

/// A process at the other end of a socket, as the kernel describes it.
///
/// ```compile_fail
/// let facts = claviger_core::peer::Facts::default();
/// let peer = claviger_core::peer::Peer { facts, process: None }; // only the kernel vouches for a peer
/// ```
#[derive(Debug)]
pub struct Peer {
    facts: Facts,
    /// `None` if the kernel cannot pin it: then only its ids at connect time are known, and nothing can be confirmed.
    process: Option<Process>,
}

/// A process that is pinned, but that no attestor has seen yet: see [`Pinned::attest`].
#[derive(Debug)]
pub struct Pinned(Peer);

impl Pinned {
    /// Reads from the kernel which process connected `socket`, a connected unix socket, and pins that process. Some system
    /// calls, and reads of `/proc` whose length no peer can choose; never waits.
    ///
    /// A process that has exited is refused first, and one with more groups than are read before `/proc` is: any user can make
    /// such processes, as many as it likes.
    ///
    /// # Errors
    /// See [`Error`]. Whatever it is, the connection must be closed unanswered.
    pub fn of(socket: impl AsFd, settings: &Settings) -> Result<Self, Error> {
        let socket = socket.as_fd();
        let host = Host::get()?;
        let credentials = getsockopt(&socket, sockopt::PeerCredentials)
            .map_err(|error| Error::Credentials(error.into()))?;
        let pid = Pid::from_raw(credentials.pid()).ok_or(Error::OutsidePidNamespace)?;
        let pidfd = match getsockopt(&socket, sockopt::PeerPidfd) {
            Ok(pidfd) => Some(pidfd),
            // Only this error means an old kernel. With any other, the peer cannot be pinned.
            Err(Errno::ENOPROTOOPT) if settings.allow_legacy_pid_attestation => Some(open(pid)?),
            Err(Errno::ENOPROTOOPT) => None,
            Err(Errno::ESRCH | Errno::EINVAL | Errno::ENODATA) => return Err(Error::Exited),
            Err(error) => return Err(Error::Pidfd(error.into())),
        };
        if pidfd.as_ref().is_some_and(process::has_exited) {
            return Err(Error::Exited);
        }
        let groups = claviger_kernel::peer_groups(socket).map_err(Error::Credentials)?;
        let most = claviger_kernel::MOST_PEER_GROUPS;
        let mut facts = Facts {
            uid: credentials.uid(),
            gid: credentials.gid(),
            groups: groups.ok_or(Error::TooManyGroups { most })?,
            pid: pid.as_raw_pid().unsigned_abs(),
            ..Facts::default()
        };
        host.check_ids(&mut facts)?;
        let process = pidfd
            .map(|pidfd| Process::pin(pidfd, &mut facts, host))
            .transpose()?;
        Ok(Self(Peer { facts, process }))
    }

    /// Runs the attestors. Waits as long as they do.
    ///
    /// # Errors
    /// See [`Error`]. Whatever it is, the connection must be closed unanswered.
    pub async fn attest(self, settings: &Settings) -> Result<Peer, Error> {
        let Self(Peer { mut facts, process }) = self;
        if let Some(process) = &process {
            process.attest(&mut facts, &settings.attestors).await?;
        }
        Ok(Peer { facts, process })
    }
}

/// Where a connection comes from, as far as the kernel says at once. For bounds alone, not for rights: see [`Pinned`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Account {
    /// Effective user id of the process that connected.
    pub uid: u32,
    /// Whether that process is of the daemon's own user and in the daemon's own cgroup: the daemon itself, or a health check
    /// beside it. Where the kernel does not say (before Linux 6.13), only the daemon itself.
    pub beside_daemon: bool,
}

impl Account {
    /// Asks the kernel about the process that connected `socket`, a connected unix socket. One system call, and some more for
    /// processes of the daemon's own user.
    ///
    /// # Errors
    /// [`Error::Credentials`] if it is no unix socket.
    pub fn of(socket: impl AsFd) -> Result<Self, Error> {
        let socket = socket.as_fd();
        let credentials = getsockopt(&socket, sockopt::PeerCredentials)
            .map_err(|error| Error::Credentials(error.into()))?;
        let own_user = credentials.uid() == rustix::process::geteuid().as_raw();
        let own = rustix::process::getpid();
        let itself = || Pid::from_raw(credentials.pid()) == Some(own);
        Ok(Self {
            uid: credentials.uid(),
            beside_daemon: own_user && (itself() || shares_cgroup(socket, own)),
        })
    }
}

/// Whether the process that connected `socket` is in the cgroup of process `own`, as far as the kernel says.
fn shares_cgroup(socket: BorrowedFd<'_>, own: Pid) -> bool {
    let cgroup_of = |pidfd: OwnedFd| {
        let info = claviger_kernel::pidfd_info(pidfd.as_fd()).ok()?;
        info.cgroup_id
    };
    getsockopt(&socket, sockopt::PeerPidfd)
        .ok()
        .and_then(cgroup_of)
        .is_some_and(|cgroup| open(own).ok().and_then(cgroup_of) == Some(cgroup))
}

impl Peer {
    /// Both steps, for a caller that may wait.
    ///
    /// # Errors
    /// See [`Error`]. Whatever it is, the connection must be closed unanswered.
    pub async fn identify(socket: impl AsFd, settings: &Settings) -> Result<Self, Error> {
        Pinned::of(socket, settings)?.attest(settings).await
    }

    /// The facts read when it connected.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Forgets the supplementary groups that are not `named`, so that no peer chooses how much is kept of it.
    pub(crate) fn keep_groups(&mut self, named: impl Fn(u32) -> bool) {
        self.facts.groups.retain(|group| named(*group));
        self.facts.groups.shrink_to_fit();
    }

    /// Whether it is pinned. If not, [`Peer::confirm`] always succeeds, and only user and groups are known.
    pub fn is_pinned(&self) -> bool {
        self.process.is_some()
    }

    /// Checks that the peer is still the process that was identified: alive, with the same effective user, in the same cgroup.
    /// Must be called before every answer. Two system calls (on kernels before 6.13, some reads of `/proc`); never waits.
    ///
    /// # Errors
    /// [`Changed`]; the answer must not be sent.
    pub fn confirm(&self) -> Result<(), Changed> {
        match &self.process {
            Some(process) => process.confirm(&self.facts),
            None => Ok(()),
        }
    }
}

impl Facts {
    /// The facts about process `pid` as if it connected now. Only for explanations: without a connection, they prove nothing
    /// about a caller.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn of_pid(pid: u32, settings: &Settings) -> Result<Self, Error> {
        let (process, mut facts) = pin(pid)?;
        process.attest(&mut facts, &settings.attestors).await?;
        Ok(facts)
    }

    /// The facts about this process, without attestors.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn of_this_process() -> Result<Self, Error> {
        pin(std::process::id()).map(|(_process, facts)| facts)
    }
}

fn pin(pid: u32) -> Result<(Process, Facts), Error> {
    let host = Host::get()?;
    let raw = i32::try_from(pid).map_err(|_too_large| Error::Exited)?;
    let pidfd = open(Pid::from_raw(raw).ok_or(Error::Exited)?)?;
    let mut facts = process::credentials(pid)?;
    host.check_ids(&mut facts)?;
    let process = Process::pin(pidfd, &mut facts, host)?;
    Ok((process, facts))
}

fn open(pid: Pid) -> Result<OwnedFd, Error> {
    pidfd_open(pid, PidfdFlags::empty()).map_err(|error| match error {
        rustix::io::Errno::SRCH => Error::Exited,
        other => Error::Pidfd(other.into()),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn a_socket_to_this_process_is_this_process() {
        let (socket, _other) = UnixStream::pair().unwrap();
        let peer = Peer::identify(&socket, &Settings::default()).await.unwrap();
        let facts = peer.facts();
        assert_eq!(facts.pid, std::process::id());
        assert_eq!(facts.uid, rustix::process::geteuid().as_raw());
        assert_eq!(facts.gid, rustix::process::getegid().as_raw());
        assert_eq!(facts.executable, None, "no attestor ran");
        assert_eq!(peer.confirm(), Ok(()));
        let explained = Facts::of_this_process().unwrap();
        assert_eq!(explained.uid, facts.uid);
        assert_eq!(explained.cgroup, facts.cgroup);
    }

    #[test]
    fn only_a_unix_socket_has_a_peer() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(Pinned::of(&stream, &Settings::default()).is_err());
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(matches!(
            Pinned::of(&file, &Settings::default()),
            Err(Error::Credentials(_))
        ));
    }

    #[test]
    fn only_named_groups_are_kept() {
        let facts = Facts {
            groups: (0..1024).collect(),
            ..Facts::default()
        };
        let mut peer = Peer {
            facts,
            process: None,
        };
        peer.keep_groups(|group| [7, 9, 2000].contains(&group));
        assert_eq!(peer.facts().groups, [7, 9]);
        assert!(peer.facts.groups.capacity() < 8);
    }

    #[test]
    fn the_daemon_is_beside_itself_and_no_other_user_is() {
        let (socket, _other) = UnixStream::pair().unwrap();
        let account = Account::of(&socket).unwrap();
        assert!(account.beside_daemon);
        assert_eq!(account.uid, rustix::process::geteuid().as_raw());
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(matches!(Account::of(&file), Err(Error::Credentials(_))));
    }

    #[tokio::test]
    async fn an_exited_process_cannot_be_explained() {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        for pid in [child.id(), 0, u32::MAX] {
            assert!(matches!(
                Facts::of_pid(pid, &Settings::default()).await,
                Err(Error::Exited)
            ));
        }
    }
}
