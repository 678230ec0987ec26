//! Connections of other processes.
//!
//! A process of the given user, cgroup or namespace connects and passes its connection to the test. For the daemon the peer
//! is the process that connected; the test speaks for it, as an attacker with a stolen connection would.

use std::fs::{self, Permissions};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::actor::{Actor, read_line, role, wrapped, write_line};
use crate::caller::Caller;
use crate::runner::Role;

/// Two uids without real users.
pub(crate) const ANNA: u32 = 42_001;
pub(crate) const BERT: u32 = 42_002;

pub(crate) const ROLES: &[Role] = &[
    ("lend", lend),
    ("squat", squat),
    ("old-kernel", crate::peers::old_kernel),
];

/// A connection, and the process that made it.
pub(crate) struct Lent {
    pub(crate) actor: Actor,
    pub(crate) stream: UnixStream,
}

impl Lent {
    /// Has a process of user `uid` connect to `socket`.
    pub(crate) fn by(uid: u32, socket: &Path) -> Self {
        Lender::start(&[], uid).connect(socket).unwrap()
    }

    /// gRPC over it.
    pub(crate) async fn caller(&self) -> Caller {
        Caller::over(self.tokio()).await
    }

    /// The connection for tokio.
    pub(crate) fn tokio(&self) -> tokio::net::UnixStream {
        let stream = self.stream.try_clone().unwrap();
        stream.set_nonblocking(true).unwrap();
        tokio::net::UnixStream::from_std(stream).unwrap()
    }
}

/// Why a process could not connect. Not a string: a string error would be the reason to skip a test.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoConnection(pub(crate) String);

/// A process that has not connected yet.
pub(crate) struct Lender {
    actor: Option<Actor>,
    handover: UnixListener,
    _folder: tempfile::TempDir,
}

impl Lender {
    /// Starts a process as `uid`, inside the wrapping command if there is one.
    pub(crate) fn start(wrapper: &[&str], uid: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("handover");
        let handover = UnixListener::bind(&path).unwrap();
        // A wrapper may have changed the user already.
        for (path, mode) in [(folder.path(), 0o711), (path.as_path(), 0o777)] {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
        let arguments = [path.to_str().unwrap(), &uid.to_string()];
        let command: Command = match wrapper {
            [] => role("lend", &arguments),
            wrapper => wrapped(wrapper, "lend", &arguments),
        };
        let actor = Some(Actor::start(command));
        Self {
            actor,
            handover,
            _folder: folder,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.actor.as_ref().unwrap().pid()
    }

    /// Connects to `socket`.
    pub(crate) fn connect(&mut self, socket: &Path) -> Result<Lent, NoConnection> {
        let mut actor = self.actor.take().unwrap();
        let answer = actor.ask(socket.to_str().unwrap());
        if answer != "connected" {
            return Err(NoConnection(answer));
        }
        let stream = take(&self.handover.accept().unwrap().0);
        Ok(Lent { actor, stream })
    }
}

/// The role: opens the channel to the test, switches to the user, connects to the given path, and runs until its input ends.
/// It can switch to another user afterwards.
fn lend(arguments: &[String]) {
    let handover = UnixStream::connect(&arguments[0]).unwrap();
    let uid: u32 = arguments[1].parse().unwrap();
    if uid != rustix::process::geteuid().as_raw() {
        become_user(uid);
    }
    let socket = read_line().expect("the path to connect to");
    match UnixStream::connect(&socket) {
        Err(error) => write_line(&error.kind().to_string()),
        Ok(stream) => {
            give(&handover, &stream);
            // The role keeps no copy: the connection ends when the test closes it.
            drop(stream);
            write_line("connected");
            while let Some(line) = read_line() {
                become_user(line.parse().unwrap());
                write_line("done");
            }
        }
    }
}

fn become_user(id: u32) {
    setgroups(&[]).unwrap();
    let (group, user) = (Gid::from_raw(id), Uid::from_raw(id));
    setresgid(group, group, group).unwrap();
    setresuid(user, user, user).unwrap();
}

/// Passes a descriptor.
fn give(to: &UnixStream, stream: &UnixStream) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    let descriptors = [stream.as_fd()];
    assert!(message.push(SendAncillaryMessage::ScmRights(&descriptors)));
    sendmsg(to, &[IoSlice::new(b"!")], &mut message, SendFlags::empty()).unwrap();
}

/// Receives a passed descriptor.
fn take(from: &UnixStream) -> UnixStream {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut message = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(
        from,
        &mut [IoSliceMut::new(&mut byte)],
        &mut message,
        RecvFlags::CMSG_CLOEXEC,
    )
    .unwrap();
    let passed = message.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    passed.expect("a descriptor").into()
}

/// The role of an impostor: listens at the daemon's path as another user, and answers no request.
fn squat(arguments: &[String]) {
    become_user(arguments[1].parse().unwrap());
    let _listener = UnixListener::bind(&arguments[0]).unwrap();
    write_line("listening");
    while read_line().is_some() {}
}
