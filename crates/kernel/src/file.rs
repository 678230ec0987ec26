//! Opening a file that another user may have put there.
//!
//! Owns the one opening by a path from outside: it follows no link in the last part of the path, waits for no pipe, takes no
//! terminal, and gives the file only if it is a regular one. Its metadata is that of the open file, so what the caller judges
//! is what it reads. Never judges owner, mode or size: the callers differ in what they accept.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// What a file is opened for.
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
    /// The system refused.
    #[error("cannot be opened")]
    System(#[source] io::Error),
}

/// Opens the regular file at `path`, which begins at `directory` unless it is absolute.
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
        // A directory for writing; a socket, or a pipe without its other end.
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
