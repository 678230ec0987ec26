//! The file that is imported, and its end.
//!
//! Owns the file from its opening to its removal: what is read is what is judged and what is removed, because everything is
//! done by one descriptor of it and one of its folder. Never follows a link in the last part of the path. Every text of it
//! lies in a box that is wiped. Blocks its thread for as long as a small file takes.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use claviger_backend::Secret;
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::import::dotenv::{self, Fault, Variable};

/// The largest file that is read, in bytes.
const MOST_BYTES: usize = 64 * 1024;

/// What a file is overwritten with. A crash may leave such a file, and to a program that reads it, it is a comment.
const FILLING: u8 = b'#';

/// The permission bits by which others than the owner can read.
const READABLE_BY_OTHERS: u32 = 0o044;

/// What is to be done with a file besides reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Nothing.
    Read,
    /// It is to be removed or written anew, so that must be possible.
    Remove,
}

/// An open file.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    name: OsString,
    folder: OwnedFd,
    file: File,
    /// The file as it was when it was read.
    seen: Metadata,
    text: Secret,
}

/// What is wrong with a file, or with its removal.
#[derive(Debug, thiserror::Error)]
pub enum SourceFault {
    /// There is none.
    #[error("does not exist")]
    Missing,
    /// It is a symbolic link.
    #[error("is a symbolic link, which is not followed; give the path of the file itself")]
    Link,
    /// It is a folder, a pipe, a device.
    #[error("is not a regular file")]
    NotFile,
    /// It has further names.
    #[error("has {0} names (hard links), and only one can be removed; remove the others first")]
    HardLinks(u64),
    /// It is no such file.
    #[error("is larger than 64 KiB; such a file is not")]
    TooLarge,
    /// Reading, writing or removing it is not allowed.
    #[error("cannot be {0} by this user")]
    Denied(&'static str),
    /// Its folder cannot be changed.
    #[error("cannot be removed, because this user cannot write to its folder")]
    Folder,
    /// Somebody wrote to it or put another in its place.
    #[error("was changed while it was imported, so it is left as it is")]
    Changed,
    /// The operating system failed.
    #[error("cannot be {}: {}", .0, .1.kind())]
    Io(&'static str, #[source] io::Error),
}

impl Source {
    /// Opens and reads a file, and makes sure that it can be removed if it is to be.
    ///
    /// # Errors
    /// [`SourceFault`]; the file is as it was.
    pub fn open(path: &Path, purpose: Purpose) -> Result<Self, SourceFault> {
        let name = path.file_name().ok_or(SourceFault::NotFile)?.to_owned();
        let folder = open_folder(path)?;
        let mut file = open_file(&folder, &name, purpose)?;
        let seen = file
            .metadata()
            .map_err(|error| SourceFault::Io("examined", error))?;
        judge(&seen)?;
        let text = read(&mut file)?;
        if purpose == Purpose::Remove {
            let access = Access::WRITE_OK | Access::EXEC_OK;
            rustix::fs::accessat(&folder, ".", access, AtFlags::EACCESS)
                .map_err(|_denied| SourceFault::Folder)?;
        }
        Ok(Self {
            path: path.to_owned(),
            name,
            folder,
            file,
            seen,
            text,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its mode lets others than its owner read it.
    #[must_use]
    pub fn is_readable_by_others(&self) -> bool {
        self.seen.mode() & READABLE_BY_OTHERS != 0
    }

    /// What it sets.
    ///
    /// # Errors
    /// The first line that cannot be read.
    pub fn variables(&self) -> Result<Vec<Variable>, Fault> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the values are taken out of the file's text"
        )]
        dotenv::parse(self.text.expose())
    }

    /// Overwrites the file and removes it.
    ///
    /// # Errors
    /// [`SourceFault`]; the file may have been overwritten, but not with anything else of it.
    pub fn remove(self) -> Result<(), SourceFault> {
        self.assert_same()?;
        self.overwrite()?;
        rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty())
            .map_err(failed("removed"))?;
        self.sync_folder()
    }

    /// Puts a file without some of the bytes in the place of this one, and overwrites this one.
    ///
    /// # Errors
    /// [`SourceFault`]; the file is as it was, or it is the new one and the old one is not overwritten.
    pub fn cut(self, spans: &[Range<usize>]) -> Result<(), SourceFault> {
        let rest = self.without(spans);
        let (name, mut file) = self.beside()?;
        let written = self
            .furnish(&mut file, &rest)
            .and_then(|()| self.assert_same())
            .and_then(|()| {
                rustix::fs::renameat(&self.folder, &name, &self.folder, &self.name)
                    .map_err(failed("replaced"))
            });
        if let Err(fault) = written {
            // It holds what is left of the file, and the file is still there.
            rustix::fs::unlinkat(&self.folder, &name, AtFlags::empty()).unwrap_or(());
            return Err(fault);
        }
        self.sync_folder()?;
        self.overwrite()
    }

    /// The text without some of its bytes.
    fn without(&self, spans: &[Range<usize>]) -> Zeroizing<Vec<u8>> {
        #[expect(
            clippy::disallowed_methods,
            reason = "what is not imported is written back"
        )]
        let text = self.text.expose();
        let mut rest = Zeroizing::new(Vec::with_capacity(text.len()));
        for (at, byte) in text.iter().enumerate() {
            if !spans.iter().any(|span| span.contains(&at)) {
                rest.push(*byte);
            }
        }
        rest
    }

    /// Makes a file in the same folder that only this user can read.
    fn beside(&self) -> Result<(OsString, File), SourceFault> {
        let mut name = OsString::from(".");
        name.push(&self.name);
        name.push(format!(".{:016x}", fastrand::u64(..)));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::openat(&self.folder, &name, flags | OFlags::CLOEXEC, mode)
            .map(|file| (name, File::from(file)))
            .map_err(failed("replaced"))
    }

    /// Gives a new file the contents, the owner and the permissions.
    fn furnish(&self, file: &mut File, contents: &[u8]) -> Result<(), SourceFault> {
        let io = |error| SourceFault::Io("replaced", error);
        let made = file.metadata().map_err(io)?;
        if (made.uid(), made.gid()) != (self.seen.uid(), self.seen.gid()) {
            std::os::unix::fs::fchown(&*file, Some(self.seen.uid()), Some(self.seen.gid()))
                .map_err(io)?;
        }
        file.set_permissions(Permissions::from_mode(self.seen.mode() & 0o7777))
            .map_err(io)?;
        file.write_all(contents).map_err(io)?;
        file.sync_all().map_err(io)
    }

    /// Makes sure that what is at the path is the file, and as it was when it was read.
    fn assert_same(&self) -> Result<(), SourceFault> {
        let now = self
            .file
            .metadata()
            .map_err(|error| SourceFault::Io("examined", error))?;
        let named = rustix::fs::statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|_gone| SourceFault::Changed)?;
        let state = |of: &Metadata| {
            let modified = (of.mtime(), of.mtime_nsec());
            (of.dev(), of.ino(), of.nlink(), of.len(), modified)
        };
        let is_named = (named.st_dev, named.st_ino) == (now.dev(), now.ino());
        if is_named && state(&now) == state(&self.seen) {
            Ok(())
        } else {
            Err(SourceFault::Changed)
        }
    }

    /// Overwrites the blocks of the file as far as the file system lets anybody.
    fn overwrite(&self) -> Result<(), SourceFault> {
        let io = |error| SourceFault::Io("overwritten", error);
        let mut filling = vec![FILLING; self.text.len()];
        if let Some(last) = filling.last_mut() {
            *last = b'\n';
        }
        self.file.write_all_at(&filling, 0).map_err(io)?;
        self.file.sync_all().map_err(io)
    }

    fn sync_folder(&self) -> Result<(), SourceFault> {
        rustix::fs::fsync(&self.folder).map_err(failed("removed durably"))
    }
}

/// Opens the folder in which a file is.
fn open_folder(path: &Path) -> Result<OwnedFd, SourceFault> {
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, folder, flags, Mode::empty()).map_err(failed("reached"))
}

fn open_file(folder: &OwnedFd, name: &OsStr, purpose: Purpose) -> Result<File, SourceFault> {
    let (access, verb) = match purpose {
        Purpose::Read => (OFlags::RDONLY, "read"),
        Purpose::Remove => (OFlags::RDWR, "read and written"),
    };
    // Without NONBLOCK, opening a pipe would wait for its other end.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, access | flags, Mode::empty())
        .map(File::from)
        .map_err(|errno| match errno {
            Errno::LOOP => SourceFault::Link,
            Errno::ISDIR | Errno::NXIO => SourceFault::NotFile,
            other => failed(verb)(other),
        })
}

fn judge(metadata: &Metadata) -> Result<(), SourceFault> {
    if !metadata.is_file() {
        return Err(SourceFault::NotFile);
    }
    if metadata.nlink() != 1 {
        return Err(SourceFault::HardLinks(metadata.nlink()));
    }
    match usize::try_from(metadata.len()) {
        Ok(length) if length <= MOST_BYTES => Ok(()),
        _ => Err(SourceFault::TooLarge),
    }
}

fn read(file: &mut File) -> Result<Secret, SourceFault> {
    // Room for one byte too many, so that the buffer neither moves nor hides that there is more.
    let room = MOST_BYTES.saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(u64::try_from(room).unwrap_or(u64::MAX))
        .read_to_end(&mut bytes)
        .map_err(|error| SourceFault::Io("read", error))?;
    if bytes.len() > MOST_BYTES {
        return Err(SourceFault::TooLarge);
    }
    Ok(Secret::new(std::mem::take(&mut *bytes)))
}

/// What an error number of an attempt means.
fn failed(verb: &'static str) -> impl Fn(Errno) -> SourceFault {
    move |errno| {
        let error = io::Error::from(errno);
        if error.kind() == ErrorKind::NotFound || errno == Errno::NOTDIR {
            SourceFault::Missing
        } else if error.kind() == ErrorKind::PermissionDenied {
            SourceFault::Denied(verb)
        } else {
            SourceFault::Io(verb, error)
        }
    }
}
