//! The file that is imported, from its opening to its removal.
//!
//! Owns one descriptor of the file and one of its directory for every step, so that the file that was read is the one that is
//! removed. Never follows a link in the last part of the path. Keeps the text in memory that is zeroed on drop. Blocks its
//! thread for as long as a small file takes.

use std::ffi::OsString;
use std::fs::{File, Metadata, Permissions};
use std::io::{self, Read as _, Write as _};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use claviger_backend::Secret;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::import::dotenv::{self, Fault, Variable};
use claviger_kernel::{Access, NotOpened};

/// The largest file that is read, in bytes.
const MOST_BYTES: usize = 64 * 1024;

/// The byte to overwrite a file with. A crash may leave such a file, which programs read as a comment.
const FILLING: u8 = b'#';

/// An open file.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    name: OsString,
    directory: OwnedFd,
    file: File,
    /// The file as it was when it was read.
    seen: Metadata,
    text: Secret,
}

/// What is wrong with a file, or with its removal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceFault {
    /// It cannot be opened, or is not a regular file.
    #[error(transparent)]
    NotOpened(#[from] NotOpened),
    /// It has other names.
    #[error(
        "has {0} names (hard links), of which only one would be removed; remove the others first"
    )]
    HardLinks(u64),
    /// It has more than 64 KiB.
    #[error("is larger than 64 KiB")]
    TooLarge,
    /// Its directory cannot be changed.
    #[error("cannot be removed, because this user cannot write to its directory")]
    Directory,
    /// It was written to, or another file has its name now.
    #[error("was changed during the import, so it was not removed")]
    Changed,
    /// The operating system failed.
    #[error("cannot be {0}")]
    Io(&'static str, #[source] io::Error),
}

impl Source {
    /// Opens and reads a file, and makes sure that it can be removed.
    pub(super) fn open(path: &Path) -> Result<Self, SourceFault> {
        let name = path.file_name().ok_or(NotOpened::NotFile)?.to_owned();
        let parent = path.parent().filter(|parent| *parent != Path::new(""));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = parent.unwrap_or(Path::new("."));
        let directory = rustix::fs::openat(CWD, parent, flags, Mode::empty())
            .map_err(|errno| NotOpened::System(errno.into()))?;
        let (mut file, seen) =
            claviger_kernel::open_regular(&directory, Path::new(&name), Access::ReadWrite)?;
        if seen.nlink() != 1 {
            return Err(SourceFault::HardLinks(seen.nlink()));
        }
        let text = read(&mut file)?;
        let wanted = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        rustix::fs::accessat(&directory, ".", wanted, AtFlags::EACCESS)
            .map_err(|_denied| SourceFault::Directory)?;
        Ok(Self {
            path: path.to_owned(),
            name,
            directory,
            file,
            seen,
            text,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What it sets.
    pub(super) fn variables(&self) -> Result<Vec<Variable>, Fault> {
        #[expect(clippy::disallowed_methods, reason = "the file's text is parsed")]
        dotenv::parse(self.text.expose())
    }

    /// Overwrites the file and removes it.
    pub(super) fn remove(&self) -> Result<(), SourceFault> {
        self.assert_same()?;
        self.overwrite()?;
        rustix::fs::unlinkat(&self.directory, &self.name, AtFlags::empty())
            .map_err(failed("removed"))?;
        self.sync_directory()
    }

    /// Replaces the file by one without `spans` in one step, and overwrites the old one.
    pub(super) fn rewrite_without(&self, spans: &[Range<usize>]) -> Result<(), SourceFault> {
        let mut name = OsString::from(".");
        name.push(&self.name);
        name.push(format!(".{:016x}", fastrand::u64(..)));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, &name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(failed("replaced"))?;
        let replaced = self
            .furnish(File::from(file), &self.without(spans))
            .map_err(|error| SourceFault::Io("replaced", error))
            .and_then(|()| self.assert_same())
            .and_then(|()| {
                rustix::fs::renameat(&self.directory, &name, &self.directory, &self.name)
                    .map_err(failed("replaced"))
            });
        if let Err(fault) = replaced {
            rustix::fs::unlinkat(&self.directory, &name, AtFlags::empty()).unwrap_or(());
            return Err(fault);
        }
        self.sync_directory()?;
        self.overwrite()
    }

    /// The text without `spans`.
    fn without(&self, spans: &[Range<usize>]) -> Zeroizing<Vec<u8>> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the other lines are written back"
        )]
        let text = self.text.expose();
        // With the full capacity, because a buffer that grows leaves copies of a secret behind.
        let mut rest = Zeroizing::new(Vec::with_capacity(text.len()));
        rest.extend(
            text.iter()
                .enumerate()
                .filter(|(at, _)| !spans.iter().any(|span| span.contains(at)))
                .map(|(_, byte)| *byte),
        );
        rest
    }

    /// Gives a new file the contents, and the owner and the permissions of this one.
    fn furnish(&self, mut file: File, contents: &[u8]) -> io::Result<()> {
        let made = file.metadata()?;
        if (made.uid(), made.gid()) != (self.seen.uid(), self.seen.gid()) {
            std::os::unix::fs::fchown(&file, Some(self.seen.uid()), Some(self.seen.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(self.seen.mode() & 0o7777))?;
        file.write_all(contents)?;
        file.sync_all()
    }

    /// Makes sure that the name is still the file's, and that the file is as it was when it was read.
    fn assert_same(&self) -> Result<(), SourceFault> {
        let now = self
            .file
            .metadata()
            .map_err(|error| SourceFault::Io("examined", error))?;
        let named = rustix::fs::statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW)
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

    /// Overwrites the bytes of the file, as far as the file system writes in place.
    fn overwrite(&self) -> Result<(), SourceFault> {
        let mut filling = vec![FILLING; self.text.len()];
        if let Some(last) = filling.last_mut() {
            *last = b'\n';
        }
        self.file
            .write_all_at(&filling, 0)
            .and_then(|()| self.file.sync_all())
            .map_err(|error| SourceFault::Io("overwritten", error))
    }

    fn sync_directory(&self) -> Result<(), SourceFault> {
        rustix::fs::fsync(&self.directory).map_err(failed("removed durably"))
    }
}

fn read(file: &mut File) -> Result<Secret, SourceFault> {
    // One byte beyond the limit, so that the buffer never grows and a larger file is detected.
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

fn failed(verb: &'static str) -> impl Fn(Errno) -> SourceFault {
    move |errno| SourceFault::Io(verb, errno.into())
}
