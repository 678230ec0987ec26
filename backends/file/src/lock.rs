//! Who may write.
//!
//! Owns the lock of a store: an exclusive `flock` on the directory itself. Not on a file in it, because a file can be removed
//! by somebody who takes it for a leftover, and then two writers no longer see each other. Where a file system cannot lock
//! directories (NFS), a file in it has to do. Waits for a bounded time, since the holder may be stopped and never go on; a
//! dead one holds nothing. Blocks its thread. Next: `store`, which writes under it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::error::Error;

/// The file that is locked where directories cannot be.
pub(crate) const FILE: &str = "lock";

/// How long a writer waits for another. A write takes milliseconds, and a rekey of a large store seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Between two attempts, at most.
const LONGEST_NAP: Duration = Duration::from_millis(50);

/// The right to write, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held for its end")] OwnedFd);

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
        // Opened anew: a lock belongs to what was opened, and `dir` may be shared.
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

/// Tries again and again, because a wait in the kernel has no end.
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
