//! Opening a file that another user may have put there.
//!
//! Owns the function that opens a path given from outside: it does not follow a link in the last part of the path, does not
//! wait for a pipe, does not acquire a terminal, and returns only a regular file. The metadata is that of the open file, so the
//! caller checks the file that it reads. Never checks owner, mode or size: the callers differ in what they accept.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// Why a file was not opened.
#[derive(Debug, thiserror::Error)]
pub enum NotOpened {
    /// The last part of the path is a symbolic link.
    #[error("is a symbolic link, which is not followed; give the path of the file itself")]
    Link,
    /// A directory, a pipe, a socket or a device.
    #[error("is not a regular file")]
    NotFile,
    /// A system call failed.
    #[error("cannot be opened")]
    System(#[source] io::Error),
}

/// Opens the regular file at `path`, which is relative to `directory` unless it is absolute.
///
/// # Errors
/// [`NotOpened`]; nothing was created, read or changed.
pub fn open_regular(
    directory: impl AsFd,
    path: &Path,
    access: Access,
) -> Result<(File, Metadata), NotOpened> {
    let access = match access {
        Access::Read => OFlags::RDONLY,
        Access::ReadWrite => OFlags::RDWR,
    };
    // Without NONBLOCK, opening a pipe would wait for its other end.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(directory, path, access | flags, Mode::empty());
    let file = opened.map(File::from).map_err(|errno| match errno {
        Errno::LOOP => NotOpened::Link,
        // A directory opened for writing; a socket, or a pipe without a reader or writer.
        Errno::ISDIR | Errno::NXIO => NotOpened::NotFile,
        other => NotOpened::System(other.into()),
    })?;
    let metadata = file.metadata().map_err(NotOpened::System)?;
    if metadata.is_file() {
        Ok((file, metadata))
    } else {
        Err(NotOpened::NotFile)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, mknodat};

    use super::*;

    #[test]
    fn only_a_regular_file_is_opened() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::write(at("file"), "A=1").unwrap();
        symlink(at("file"), at("link")).unwrap();
        fs::create_dir(at("directory")).unwrap();
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        let home_itself = File::open(home.path()).unwrap();
        for access in [Access::Read, Access::ReadWrite] {
            let open = |name: &str| open_regular(CWD, &at(name), access);
            assert_eq!(open("file").unwrap().1.len(), 3);
            assert!(matches!(open("link"), Err(NotOpened::Link)));
            for name in ["directory", "pipe", "socket"] {
                let refused = open(name);
                assert!(
                    matches!(refused, Err(NotOpened::NotFile)),
                    "{name}: {refused:?}"
                );
            }
            let absent = open("absent");
            assert!(
                matches!(&absent, Err(NotOpened::System(error)) if error.kind() == io::ErrorKind::NotFound)
            );
            open_regular(&home_itself, Path::new("file"), access).unwrap();
        }
    }
}
