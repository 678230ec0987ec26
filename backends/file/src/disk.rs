//! One directory, and atomic writes of the files in it.
//!
//! Owns every system call that the store makes on its own files: opening relative to an open directory without following links,
//! reads with a size limit, and the only way to write (temporary file, `fsync`, `rename`, `fsync` of the directory). Never
//! interprets the contents of a file. Writers hold the `lock`, so one name for the temporary file is enough.
//!
//! Every change calls [`Steps::pass`] first, where a test can make it fail. Next: `generation`.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Dir as Listing, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use crate::error::{Damage, DirectoryFault, Error};
use crate::lock::Lock;

/// The temporary name of a file while it is written. The next write replaces one that a crash left behind.
pub(crate) const WRITING: &str = ".writing";

/// Whether a write may replace an existing file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// If the file exists, the write returns [`Written::Exists`].
    New,
    /// An existing file is replaced.
    Replace,
}

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Written {
    /// The file has the new content, durably.
    Done,
    /// A file of that name exists; it is unchanged.
    Exists,
}

/// An open directory. All access to its files goes through its descriptor, so replacing the path has no effect.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
    steps: Arc<Steps>,
}

impl Dir {
    /// Opens the directory of a store, which only the user of this process may own and enter.
    pub(crate) fn open_root(path: &Path, steps: &Arc<Steps>) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fault = |fault| Error::Directory {
            path: path.to_owned(),
            fault,
        };
        let fd =
            rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|errno| match errno {
                Errno::NOENT => Error::NoStore(path.to_owned()),
                Errno::NOTDIR | Errno::LOOP => fault(DirectoryFault::NotDirectory),
                other => Error::io(path, "open", other),
            })?;
        let stat = rustix::fs::fstat(&fd).map_err(|errno| Error::io(path, "inspect", errno))?;
        let us = rustix::process::geteuid().as_raw();
        if stat.st_uid != us {
            let owner = stat.st_uid;
            return Err(fault(DirectoryFault::Owner { owner, us }));
        }
        let mode = stat.st_mode & 0o7777;
        if mode & 0o077 != 0 {
            return Err(fault(DirectoryFault::Mode { mode }));
        }
        Ok(Self {
            fd,
            path: path.to_owned(),
            steps: Arc::clone(steps),
        })
    }

    /// Creates the directory of a store unless it exists. Its parent must exist.
    pub(crate) fn make_root(path: &Path, steps: &Arc<Steps>) -> Result<Self, Error> {
        steps.pass(path)?;
        match rustix::fs::mkdirat(CWD, path, Mode::RWXU) {
            Ok(()) => sync_parent(path)?,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(Error::io(path, "make the directory", errno)),
        }
        Self::open_root(path, steps)
    }

    /// Opens a subdirectory; `None` if it does not exist.
    pub(crate) fn open_dir(&self, name: &str) -> Result<Option<Self>, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = self.path.join(name);
        match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(Self {
                fd,
                path,
                steps: Arc::clone(&self.steps),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(Error::damaged(path, Damage::NotFile)),
            Err(errno) => Err(Error::io(&path, "open", errno)),
        }
    }

    /// Creates a subdirectory, which must not exist.
    pub(crate) fn make_dir(&self, name: &str) -> Result<Self, Error> {
        let path = self.path.join(name);
        self.steps.pass(&path)?;
        rustix::fs::mkdirat(&self.fd, name, Mode::RWXU)
            .map_err(|errno| Error::io(&path, "make the directory", errno))?;
        self.sync()?;
        self.open_dir(name)?
            .ok_or_else(|| Error::damaged(path, Damage::Missing))
    }

    /// Whether both are the same directory by device and inode, not only by name.
    pub(crate) fn is_same(&self, other: &Self) -> Result<bool, Error> {
        let identity = |dir: &Self| match rustix::fs::fstat(&dir.fd) {
            Ok(stat) => Ok((stat.st_dev, stat.st_ino)),
            Err(errno) => Err(Error::io(&dir.path, "inspect", errno)),
        };
        Ok(identity(self)? == identity(other)?)
    }

    /// Its path, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it, for messages.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads a file of at most `limit` bytes; `None` if it does not exist.
    pub(crate) fn read(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path.join(name);
        let (fd, stat) = match open_to_read(&self.fd, name) {
            Ok(opened) => opened,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(Error::damaged(path, Damage::NotFile)),
            Err(errno) => return Err(Error::io(&path, "open", errno)),
        };
        if !is_file(&stat) {
            return Err(Error::damaged(path, Damage::NotFile));
        }
        match read_bounded(&fd, &stat, limit) {
            Ok(Some(bytes)) => Ok(Some(bytes)),
            Ok(None) => Err(Error::damaged(path, Damage::TooLarge)),
            Err(errno) => Err(Error::io(&path, "read", errno)),
        }
    }

    /// Writes a file atomically: after a crash it has either the new content or the previous one.
    pub(crate) fn write(&self, name: &str, bytes: &[u8], how: Write) -> Result<Written, Error> {
        let path = self.path.join(name);
        let placed = self
            .write_aside(&path, bytes)
            .and_then(|()| self.place(&path, name, how));
        if !matches!(placed, Ok(Written::Done)) {
            // The temporary file is useless, and takes space on a full disk. If removing it fails, the next write does it.
            drop(self.remove(WRITING));
            return placed;
        }
        self.sync().map_err(Error::after_commit)?;
        placed
    }

    /// Renames the temporary file to its final name.
    fn place(&self, path: &Path, name: &str, how: Write) -> Result<Written, Error> {
        self.steps.pass(path)?;
        let renamed = match how {
            Write::Replace => rustix::fs::renameat(&self.fd, WRITING, &self.fd, name),
            Write::New => self.rename_new(name),
        };
        match renamed {
            Ok(()) => Ok(Written::Done),
            Err(Errno::EXIST) if how == Write::New => Ok(Written::Exists),
            // The medium or a remote host failed, and may have completed the rename.
            Err(errno @ (Errno::IO | Errno::STALE | Errno::TIMEDOUT)) => {
                Err(Error::io(path, "write", errno).after_commit())
            }
            Err(errno) => Err(Error::io(path, "write", errno)),
        }
    }

    fn write_aside(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let failed = |errno| Error::io(path, "write", errno);
        self.remove(WRITING)?;
        self.steps.pass(path)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, WRITING, flags, Mode::RUSR | Mode::WUSR)
            .map_err(failed)?;
        let (first, second) = bytes
            .split_at_checked(bytes.len() / 2)
            .unwrap_or((bytes, &[]));
        for half in [first, second] {
            self.steps.pass(path)?;
            write_all(&fd, half).map_err(failed)?;
        }
        self.steps.pass(path)?;
        rustix::fs::fsync(&fd).map_err(failed)
    }

    /// Renames the temporary file to its final name unless that exists.
    fn rename_new(&self, name: &str) -> Result<(), Errno> {
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&self.fd, WRITING, &self.fd, name, flags) {
            // File systems without that flag have hard links, which never replace a file either.
            Err(Errno::INVAL | Errno::NOSYS) => {
                rustix::fs::linkat(&self.fd, WRITING, &self.fd, name, AtFlags::empty())?;
                // The file has its name. If removing the temporary name fails, the next write does it.
                let _left = rustix::fs::unlinkat(&self.fd, WRITING, AtFlags::empty());
                Ok(())
            }
            other => other,
        }
    }

    /// Removes a file if it exists.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.path.join(name);
        self.steps.pass(&path)?;
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Error::io(&path, "remove", errno)),
        }
    }

    /// Removes a directory and the files in it.
    pub(crate) fn remove_dir(&self, name: &str) -> Result<(), Error> {
        let Some(inner) = self.open_dir(name)? else {
            return Ok(());
        };
        for file in inner.names()? {
            inner.remove(&file)?;
        }
        self.steps.pass(&inner.path)?;
        rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)
            .map_err(|errno| Error::io(&inner.path, "remove", errno))?;
        self.sync()
    }

    /// Makes changes to the directory's entries durable.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.steps.pass(&self.path)?;
        rustix::fs::fsync(&self.fd).map_err(|errno| Error::io(&self.path, "sync", errno))
    }

    /// The names of its entries, in no order. Names that are not UTF-8 were not created by the store and are left out.
    pub(crate) fn names(&self) -> Result<Vec<String>, Error> {
        let failed = |errno| Error::io(&self.path, "list", errno);
        let mut names = Vec::new();
        for entry in Listing::read_from(&self.fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name: &CStr = entry.file_name();
            if let Ok(name) = name.to_str()
                && !matches!(name, "." | "..")
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Waits at most `patience` for the lock that writers hold.
    pub(crate) fn lock(&self, patience: Duration) -> Result<Lock, Error> {
        Lock::take(&self.fd, &self.path, patience)
    }

    /// The name of its file system if rotation is not safe on it.
    pub(crate) fn unsafe_file_system(&self) -> Result<Option<&'static str>, Error> {
        let stat = rustix::fs::fstatfs(&self.fd)
            .map_err(|errno| Error::io(&self.path, "inspect", errno))?;
        // The kernel's magic numbers are 32 bits wide; the field is wider and may be sign-extended.
        Ok(u32::try_from(stat.f_type & 0xFFFF_FFFF)
            .ok()
            .and_then(unsafe_magic))
    }
}

pub(crate) fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// Opens `path` for reading, and returns its metadata. The caller checks that it is a regular file.
pub(crate) fn open_to_read(
    directory: impl AsFd,
    path: impl rustix::path::Arg,
) -> Result<(OwnedFd, Stat), Errno> {
    // Without `NONBLOCK`, opening a pipe would wait for its other end.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = rustix::fs::openat(directory, path, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&fd)?;
    Ok((fd, stat))
}

/// Reads to the end; `None` if the file has more than `limit` bytes.
pub(crate) fn read_bounded(
    fd: &OwnedFd,
    stat: &Stat,
    limit: usize,
) -> Result<Option<Vec<u8>>, Errno> {
    let size = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
    if size > limit {
        return Ok(None);
    }
    // One byte more than the size detects a file that has grown since; the buffer is never reallocated while it is filled.
    let mut bytes = vec![0; size.saturating_add(1)];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..)
        && !rest.is_empty()
    {
        match rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut *rest))? {
            0 => break,
            count => filled = filled.saturating_add(count),
        }
    }
    bytes.truncate(filled);
    Ok((filled <= size).then_some(bytes))
}

/// Writes every byte.
pub(crate) fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let count = rustix::io::retry_on_intr(|| rustix::io::write(fd, bytes))?;
        bytes = bytes.get(count..).unwrap_or_default();
    }
    Ok(())
}

/// Makes the directory entry of a file that was just created durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), Error> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, parent, flags, Mode::empty())
        .and_then(rustix::fs::fsync)
        .map_err(|errno| Error::io(parent, "sync", errno))
}

/// File systems whose locks other hosts may not see, or whose renames are implemented by another layer. The magic numbers are
/// those of statfs(2).
fn unsafe_magic(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0x517B | 0xFF53_4D42 | 0xFE53_4D42 => "SMB",
        0x6573_5546 => "FUSE",
        0x0102_1997 => "9P",
        0x00C3_6400 => "Ceph",
        0x5346_414F | 0x6B41_4653 => "AFS",
        0x0BD0_0BD0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x7461_636F => "OCFS2",
        0x0116_1970 => "GFS2",
        0x7375_7245 => "Coda",
        0x786F_4256 => "a shared folder",
        0x794C_7630 => "an overlay file system",
        _ => return None,
    })
}

/// Counts the changes that a store makes to its directory. A test can make all changes fail from a given one on, as if the
/// process had been killed there, or only a given one, as if the disk were full for a moment.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    #[cfg(test)]
    passed: std::sync::atomic::AtomicU64,
    #[cfg(test)]
    last: std::sync::OnceLock<u64>,
    #[cfg(test)]
    full_at: std::sync::OnceLock<u64>,
}

impl Steps {
    /// Called before every change.
    #[cfg(not(test))]
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "it counts and fails in tests only"
    )]
    fn pass(&self, _path: &Path) -> Result<(), Error> {
        Ok(())
    }

    #[cfg(test)]
    fn pass(&self, path: &Path) -> Result<(), Error> {
        let before = self
            .passed
            .fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if self.last.get().is_some_and(|last| before >= *last) {
            return Err(Error::io(path, "continue at", Errno::CANCELED));
        }
        if self.full_at.get() == Some(&before) {
            return Err(Error::io(path, "write", Errno::NOSPC));
        }
        Ok(())
    }

    /// Fails the given step alone with `ENOSPC`.
    #[cfg(test)]
    pub(crate) fn full_at(step: u64) -> Arc<Self> {
        let steps = Self::default();
        steps.full_at.set(step).unwrap();
        Arc::new(steps)
    }

    #[cfg(test)]
    pub(crate) fn dying_at(step: u64) -> Arc<Self> {
        let steps = Self::default();
        steps.last.set(step).unwrap();
        Arc::new(steps)
    }

    #[cfg(test)]
    pub(crate) fn passed(&self) -> u64 {
        self.passed.load(std::sync::atomic::Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_and_overlay_file_systems_are_recognized() {
        for (magic, expected) in [
            (0x6969, Some("NFS")),
            (0xFF53_4D42, Some("SMB")),
            (0x794C_7630, Some("an overlay file system")),
            (0xEF53, None),      // ext4
            (0x5846_5342, None), // XFS
            (0x9123_683E, None), // Btrfs
            (0x0102_1994, None), // tmpfs
            (0x2FC1_2FC1, None), // ZFS
        ] {
            assert_eq!(unsafe_magic(magic), expected, "{magic:x}");
        }
    }

    #[test]
    fn a_write_is_atomic_at_every_crash_point() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("d");
        for step in 0.. {
            let steps = Steps::dying_at(u64::MAX);
            let dir = Dir::make_root(&root, &steps).unwrap();
            let done = dir.write("f", b"old", Write::Replace).unwrap();
            assert_eq!(done, Written::Done);
            let dying = Steps::dying_at(step);
            let written = Dir::open_root(&root, &dying)
                .unwrap()
                .write("f", b"new", Write::Replace);
            let found = dir.read("f", 16).unwrap().unwrap();
            match written {
                Ok(done) => {
                    assert_eq!((done, found.as_slice()), (Written::Done, b"new".as_slice()));
                    assert_eq!(step, 7, "every step was tried");
                    return;
                }
                Err(Error::Io { in_doubt, .. }) => {
                    let expected: &[u8] = if in_doubt { b"new" } else { b"old" };
                    assert_eq!(found, expected, "killed at step {step}");
                }
                Err(other) => panic!("{other}"),
            }
        }
    }

    #[test]
    fn a_new_file_never_replaces_an_existing_one() {
        let home = tempfile::tempdir().unwrap();
        let dir = Dir::make_root(&home.path().join("d"), &Arc::default()).unwrap();
        assert_eq!(dir.write("f", b"1", Write::New).unwrap(), Written::Done);
        assert_eq!(dir.write("f", b"2", Write::New).unwrap(), Written::Exists);
        assert_eq!(dir.read("f", 1).unwrap().unwrap(), b"1");
        assert!(matches!(
            dir.read("f", 0),
            Err(Error::Damaged {
                how: Damage::TooLarge,
                ..
            })
        ));
    }
}
