//! What can go wrong with the sealed file, for people and for the daemon.
//!
//! Owns [`Error`]: each variant names the file and, where there is one, the remedy. [`Error::kind`] says what it means in the
//! taxonomy of `claviger_backend`. Never carries the content of a file, a value or the text of a parser; names of secrets
//! are left to the caller, who knows them. Next: `store`, which makes most of these.

use std::io;
use std::path::{Path, PathBuf};

use claviger_backend::{BackendError, BackendName, Kind, NotKept, VersionId};
use rustix::io::Errno;

/// Why an operation on the store failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing at that place.
    #[error("there is no store at {}; make one with `claviger file init --store {}`", .0.display(), .0.display())]
    NoStore(PathBuf),
    /// A store is to be made where one is.
    #[error("there is a store at {} already; nothing was changed", .0.display())]
    StoreExists(PathBuf),
    /// A store is to be made in a directory that holds something else.
    #[error("{} is not empty; choose an empty or a new directory for the store", .0.display())]
    NotEmpty(PathBuf),
    /// The directory of the store cannot be trusted.
    #[error("the store's directory {} {fault}", path.display())]
    Directory {
        /// Which directory.
        path: PathBuf,
        /// What is wrong with it.
        fault: DirectoryFault,
    },
    /// The file that unseals the store does not exist.
    #[error("there is no key file at {}; `claviger file init --generate-key` makes one", .0.display())]
    KeyMissing(PathBuf),
    /// A key file is to be made where there is a file.
    #[error("{} exists already; a key file is never overwritten", .0.display())]
    KeyExists(PathBuf),
    /// The file that unseals the store cannot be used.
    #[error("the key file {} {fault}", path.display())]
    KeyFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        fault: KeyFault,
    },
    /// A passphrase that nobody typed.
    #[error("the passphrase {0}")]
    Passphrase(KeyFault),
    /// The key is well-formed and is not the one.
    #[error("this key does not open the store at {}; nothing was changed", .0.display())]
    WrongKey(PathBuf),
    /// The store was sealed with a key of the other sort.
    #[error("the store at {} opens with a {expected}, not with a {given}", directory.display())]
    WrongSort {
        /// Which store.
        directory: PathBuf,
        /// The sort it was sealed with.
        expected: &'static str,
        /// The sort that was given.
        given: &'static str,
    },
    /// A file of the store is not what was written.
    #[error("{} {how}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        how: Damage,
    },
    /// There is no secret of that name.
    #[error("there is no such secret")]
    NoSecret,
    /// The secret has no such version.
    #[error("the secret has no such version; `claviger file versions` lists those that it has")]
    NoVersion,
    /// The version is retired: its value is destroyed.
    #[error("this version is retired; its value is destroyed")]
    Retired,
    /// Somebody else wrote first.
    #[error("somebody else wrote first; {}", current_now(.0.as_ref()))]
    Conflict(Option<VersionId>),
    /// A value or document larger than the store takes.
    #[error("{length} bytes are too large; the limit is {limit}")]
    TooLarge {
        /// Its size.
        length: usize,
        /// The largest size.
        limit: usize,
    },
    /// A value of no bytes.
    #[error("an empty value is no secret; nothing was changed")]
    Empty,
    /// A limit on what one store holds.
    #[error("the store takes no more than {limit} {what}")]
    Full {
        /// Of what.
        what: &'static str,
        /// How many.
        limit: usize,
    },
    /// Rotation needs locks and renames that this file system does not promise.
    #[error("{} is on {name}, where rotation is not safe; move the store to a local file system", directory.display())]
    FileSystem {
        /// Which store.
        directory: PathBuf,
        /// What kind of file system.
        name: &'static str,
    },
    /// The system refused.
    #[error("cannot {doing} {}{}", path.display(), doubt(*in_doubt))]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was attempted, a verb.
        doing: &'static str,
        /// Whether the change may have happened all the same.
        in_doubt: bool,
        /// What the system said.
        source: io::Error,
    },
    /// A rekey is done, and what it replaced is still there.
    #[error(
        "everything is sealed with the new key, but the records sealed with the former one could not be removed; the next write to the store removes them"
    )]
    FormerLeft(#[source] Box<Self>),
    /// There is no memory in which the keys of the store could be kept.
    #[error("there is no place for the keys of the store: {0}")]
    NotKept(NotKept),
    /// Somebody else is writing, and does not come to an end.
    #[error("another process writes to the store at {} and does not finish; `lslocks` names it: end it, or let it go on if it is stopped", .0.display())]
    Locked(PathBuf),
    /// The store is rekeyed faster than it can be read.
    #[error("the store is rekeyed again and again while it is read; try again")]
    Busy,
    /// The cryptographic library refused, which it does only for lack of memory.
    #[error("the cryptographic library failed")]
    Crypto,
    /// The task that does the file's work was stopped.
    #[error("the work on the store was stopped before its end")]
    Stopped {
        /// Whether it may have changed the store.
        wrote: bool,
    },
}

/// What is wrong with the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryFault {
    /// It is a file or a symbolic link.
    #[error("is not a directory itself; name the directory, not a link to it")]
    NotDirectory,
    /// Others may enter it.
    #[error("is open to others (mode {mode:04o}); run `chmod 700` on it")]
    Mode {
        /// Its mode.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error(
        "belongs to uid {owner}, and this process is uid {us}; run as its owner, for example with `sudo -u '#{owner}'`"
    )]
    Owner {
        /// Whose it is.
        owner: u32,
        /// Who we are.
        us: u32,
    },
}

/// What is wrong with a key or passphrase file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// It is a symbolic link.
    #[error("is a symbolic link; name the file itself")]
    Link,
    /// It is a directory, pipe or device.
    #[error("is not a regular file")]
    NotFile,
    /// Others may read it.
    #[error("is open to others (mode {mode:04o}); run `chmod 600` on it")]
    Mode {
        /// Its mode.
        mode: u32,
    },
    /// It belongs to neither us nor root.
    #[error(
        "belongs to uid {owner}; it must belong to root or to uid {us}, who runs this: run `chown` on it"
    )]
    Owner {
        /// Whose it is.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// It is not base64.
    #[error(
        "is not base64; it must hold 32 random bytes in base64, as `openssl rand -base64 32` writes"
    )]
    NotBase64,
    /// The key has the wrong size.
    #[error("holds {0} bytes in base64; it must hold 32")]
    Size(usize),
    /// It is larger than any key.
    #[error("is larger than 4096 bytes, so it is no key")]
    TooLarge,
    /// It holds nothing.
    #[error("is empty")]
    Empty,
    /// Too short to seal a new store with.
    #[error("has {0} bytes; a new store takes 12 or more")]
    Short(usize),
}

/// What is wrong with a file of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It should be there.
    #[error("is missing; restore the store from a backup")]
    Missing,
    /// Somebody put something else there.
    #[error("is not what the store keeps there; restore the store from a backup")]
    NotFile,
    /// It is larger than anything that is written there.
    #[error("is larger than it can be; restore the store from a backup")]
    TooLarge,
    /// It is not of this format.
    #[error("is not a file of this store; restore the store from a backup")]
    Foreign,
    /// It was written by a later version.
    #[error("has the format {0}, which this version of claviger does not know; run a newer one")]
    Format(u8),
    /// It does not authenticate.
    #[error(
        "does not authenticate: it was altered, cut or moved here from elsewhere; restore the store from a backup"
    )]
    Altered,
    /// It authenticates and is not understood.
    #[error("holds what this version of claviger does not understand; run a newer one")]
    Contents,
    /// It is a former state.
    #[error(
        "is older than it was: it was rolled back; restore the whole store, and restart claviger if that is older on purpose"
    )]
    RolledBack,
}

/// What to say of a change that may have been made.
fn doubt(in_doubt: bool) -> &'static str {
    if in_doubt {
        " (the change may have been made all the same; look before you repeat it)"
    } else {
        ""
    }
}

fn current_now(version: Option<&VersionId>) -> String {
    version.map_or_else(
        || "read again and decide again".to_owned(),
        |version| format!("version {version} is current now"),
    )
}

impl Error {
    pub(crate) fn io(path: &Path, doing: &'static str, errno: Errno) -> Self {
        Self::Io {
            path: path.to_owned(),
            doing,
            in_doubt: false,
            source: errno.into(),
        }
    }

    pub(crate) fn damaged(path: PathBuf, how: Damage) -> Self {
        Self::Damaged { path, how }
    }

    /// The same failure, after the point from which on the change may be seen.
    pub(crate) fn after_commit(mut self) -> Self {
        if let Self::Io { in_doubt, .. } = &mut self {
            *in_doubt = true;
        }
        self
    }

    /// The same failure, before that point: whatever was written is not seen.
    pub(crate) fn before_commit(mut self) -> Self {
        if let Self::Io { in_doubt, .. } = &mut self {
            *in_doubt = false;
        }
        self
    }

    /// What it means to everything above the backends.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoSecret | Self::NoVersion => Kind::NotFound,
            Self::Retired => Kind::Gone,
            Self::Conflict(_) | Self::StoreExists(_) | Self::KeyExists(_) => Kind::Conflict,
            Self::NoStore(_)
            | Self::NotEmpty(_)
            | Self::Directory { .. }
            | Self::KeyFile { .. }
            | Self::Passphrase(_)
            | Self::WrongSort { .. }
            | Self::TooLarge { .. }
            | Self::Empty
            | Self::FileSystem { .. } => Kind::Misconfigured,
            Self::KeyMissing(_) => Kind::NoCredentials,
            Self::WrongKey(_) => Kind::Undecryptable,
            Self::Damaged { how, .. } => match how {
                Damage::Altered => Kind::Undecryptable,
                Damage::Missing
                | Damage::NotFile
                | Damage::TooLarge
                | Damage::Foreign
                | Damage::Format(_)
                | Damage::Contents
                | Damage::RolledBack => Kind::InvalidResponse,
            },
            Self::Full { .. } => Kind::Quota,
            // As if it could not be reached: nothing was changed, so a write may be repeated.
            Self::Locked(_) => Kind::Unreachable,
            // Whoever made the new key must keep it, whatever it was that failed.
            Self::FormerLeft(_)
            | Self::Io { in_doubt: true, .. }
            | Self::Stopped { wrote: true } => Kind::InDoubt,
            Self::Io { source, .. } => io_kind(source),
            Self::NotKept(_) | Self::Busy | Self::Crypto | Self::Stopped { wrote: false } => {
                Kind::Unavailable
            }
        }
    }

    /// The failure as a call of a backend reports it.
    pub(crate) fn into_backend(
        self,
        backend: &BackendName,
        operation: &'static str,
    ) -> BackendError {
        BackendError::new(self.kind(), backend, operation).because(self)
    }
}

fn io_kind(source: &io::Error) -> Kind {
    use io::ErrorKind as Of;
    let is = |kinds: &[Of]| kinds.contains(&source.kind());
    if is(&[Of::StorageFull, Of::QuotaExceeded, Of::FileTooLarge]) {
        Kind::Quota
    } else if is(&[Of::PermissionDenied, Of::ReadOnlyFilesystem]) {
        // Not `PermissionDenied`: that evicts what is held, and a mode set wrong says nothing about a secret.
        Kind::Misconfigured
    } else {
        Kind::Unavailable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_not_a_lost_answer_until_the_rename() {
        let path = Path::new("/s/x");
        let full = || Error::io(path, "write", Errno::NOSPC);
        assert_eq!(full().kind(), Kind::Quota);
        assert_eq!(full().after_commit().kind(), Kind::InDoubt);
        assert!(
            full()
                .after_commit()
                .to_string()
                .contains("may have been made")
        );
        assert!(!full().to_string().contains("may have been made"));
        assert_eq!(
            Error::io(path, "open", Errno::ACCESS).kind(),
            Kind::Misconfigured
        );
        assert_eq!(Error::io(path, "read", Errno::IO).kind(), Kind::Unavailable);
    }

    #[test]
    fn people_are_told_the_remedy() {
        let said = Error::NoStore("/srv/s".into()).to_string();
        assert!(said.contains("claviger file init --store /srv/s"), "{said}");
        let fault = KeyFault::Mode { mode: 0o644 };
        let said = Error::KeyFile {
            path: "/k".into(),
            fault,
        }
        .to_string();
        assert_eq!(
            said,
            "the key file /k is open to others (mode 0644); run `chmod 600` on it"
        );
        let error = Error::io(Path::new("/s/x"), "open", Errno::ACCESS);
        assert_eq!(error.to_string(), "cannot open /s/x");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.starts_with("Permission denied"), "{cause}");
    }
}
