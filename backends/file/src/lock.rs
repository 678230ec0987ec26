//! The lock for writers.
//!
//! Owns the lock of a store: an exclusive `flock` on the directory itself. A lock file would be weaker: if a user removes it as
//! a leftover, two writers no longer exclude each other. Only on a file system that cannot lock directories (NFS), it locks a
//! file in the directory. Waits for a limited time, because the holder may be stopped and never continue; the kernel releases
//! the lock of a dead holder. Blocks its thread. Next: `store`, which writes under it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::error::Error;

/// The file that is locked where directories cannot be locked.
pub(crate) const FILE: &str = "lock";

/// How long a writer waits for another. A write takes milliseconds, a rekey of a large store takes seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The longest pause between two attempts.
const LONGEST_NAP: Duration = Duration::from_millis(50);

/// The lock; dropping it releases the lock.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "dropping it releases the lock")] OwnedFd);

impl Lock {
    /// Waits at most `patience` for the lock of the directory `dir`, which is at `path`.
    pub(crate) fn take(dir: &OwnedFd, path: &Path, patience: Duration) -> Result<Self, Error> {
        let failed = |errno| match errno {
            Errno::WOULDBLOCK => Error::Locked(path.to_owned()),
            other => Error::io(path, "lock", other),
        };
        let open = |name, flags| {
            let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)
        };
        // Opened again: a lock belongs to the open file description, and that of `dir` may be shared.
        let itself = open(".", OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
        match wait(&itself, patience) {
            Ok(()) => Ok(Self(itself)),
            Err(Errno::BADF | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                let file = open(FILE, OFlags::RDWR | OFlags::CREATE).map_err(failed)?;
                wait(&file, patience).map_err(failed)?;
                Ok(Self(file))
            }
            Err(errno) => Err(failed(errno)),
        }
    }
}

/// Polls, because a blocking `flock` has no timeout.
fn wait(fd: impl AsFd, patience: Duration) -> Result<(), Errno> {
    let mut left = patience;
    let mut nap = Duration::from_millis(1);
    loop {
        let operation = FlockOperation::NonBlockingLockExclusive;
        match rustix::io::retry_on_intr(|| rustix::fs::flock(&fd, operation)) {
            Err(Errno::WOULDBLOCK) if !left.is_zero() => {}
            other => return other,
        }
        nap = nap.min(left);
        #[expect(
            clippy::disallowed_methods,
            reason = "all work on a store blocks its thread, which no runtime shares"
        )]
        thread::sleep(nap);
        left = left.saturating_sub(nap);
        nap = nap.saturating_mul(2).min(LONGEST_NAP);
    }
}
