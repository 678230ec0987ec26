//! The errors of the sealed file, for operators and for the daemon.
//!
//! Owns [`Error`]: each variant names the file and, if there is one, the remedy. [`Error::kind`] maps it to the taxonomy of
//! `claviger_backend`. Never carries the content of a file, a value or the text of a parser. The caller adds the name of the
//! secret. Next: `store`, which returns most of these.

use std::io;
use std::path::{Path, PathBuf};

use claviger_backend::{BackendError, BackendName, Kind, NotKept, VersionId};
use rustix::io::Errno;

/// Why an operation on the store failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory does not exist, or is not a store.
    #[error("there is no store at {}; create one with `claviger file init --store {}`", .0.display(), .0.display())]
    NoStore(PathBuf),
    /// A store cannot be created because one exists.
    #[error("a store already exists at {}; nothing was changed", .0.display())]
    StoreExists(PathBuf),
    /// A store cannot be created in a directory that contains other files.
    #[error("{} is not empty; choose an empty or a new directory for the store", .0.display())]
    NotEmpty(PathBuf),
    /// The directory of the store is not private to its owner.
    #[error("the store's directory {} {fault}", path.display())]
    Directory {
        /// Which directory.
        path: PathBuf,
        /// What is wrong with it.
        fault: DirectoryFault,
    },
    /// The key or passphrase file does not exist.
    #[error("there is no key file at {}; `claviger file init --generate-key` creates one", .0.display())]
    KeyMissing(PathBuf),
    /// A key file cannot be created because a file exists.
    #[error("{} already exists; a key file is never overwritten", .0.display())]
    KeyExists(PathBuf),
    /// The key or passphrase file cannot be used.
    #[error("the key file {} {fault}", path.display())]
    KeyFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        fault: KeyFault,
    },
    /// The typed passphrase cannot be used.
    #[error("the passphrase {0}")]
    Passphrase(KeyFault),
    /// The key is well-formed but is not the key of this store.
    #[error("this key does not open the store at {}; nothing was changed", .0.display())]
    WrongKey(PathBuf),
    /// The store was sealed with the other kind of key.
    #[error("the store at {} opens with a {expected}, not with a {given}", directory.display())]
    WrongSort {
        /// Which store.
        directory: PathBuf,
        /// The kind of key that it was sealed with.
        expected: &'static str,
        /// The kind of key that the caller gave.
        given: &'static str,
    },
    /// A file of the store is not as it was written.
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
    #[error("the secret has no such version; `claviger file versions` lists its versions")]
    NoVersion,
    /// The version is retired: its value is destroyed.
    #[error("this version is retired; its value is destroyed")]
    Retired,
    /// Another writer was first.
    #[error("another process wrote first; {}", current_now(.0.as_ref()))]
    Conflict(Option<VersionId>),
    /// A value or document is larger than the store accepts.
    #[error("{length} bytes are too many; the limit is {limit}")]
    TooLarge {
        /// Its size.
        length: usize,
        /// The largest size.
        limit: usize,
    },
    /// The value has no bytes.
    #[error("a secret's value must not be empty; nothing was changed")]
    Empty,
    /// A limit on the contents of one store is reached.
    #[error("the store is limited to {limit} {what}")]
    Full {
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Rotation needs locks and renames that this file system does not guarantee.
    #[error("{} is on {name}, where rotation is not safe; move the store to a local file system", directory.display())]
    FileSystem {
        /// Which store.
        directory: PathBuf,
        /// Its file system.
        name: &'static str,
    },
    /// A system call failed.
    #[error("cannot {doing} {}{}", path.display(), doubt(*in_doubt))]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was attempted, a verb.
        doing: &'static str,
        /// Whether the change may have been made in spite of the error.
        in_doubt: bool,
        /// The error of the system.
        source: io::Error,
    },
    /// A rekey is complete, but the replaced generation is still on disk.
    #[error(
        "everything is sealed with the new key, but the records sealed with the previous key could not be removed; the next write to the store removes them"
    )]
    FormerLeft(#[source] Box<Self>),
    /// There is no protected memory for the keys of the store.
    #[error("there is no protected memory for the keys of the store: {0}")]
    NotKept(NotKept),
    /// Another process holds the lock for writing and does not release it.
    #[error("another process is writing to the store at {} and does not finish; find it with `lslocks`, then end it, or continue it if it is stopped", .0.display())]
    Locked(PathBuf),
    /// The store was rekeyed repeatedly during one read.
    #[error("the store was rekeyed repeatedly during one read; try again")]
    Busy,
    /// The cryptographic library failed, which happens only for lack of memory.
    #[error("the cryptographic library failed")]
    Crypto,
    /// The task that did the work was stopped.
    #[error("the operation on the store was stopped before it finished")]
    Stopped {
        /// Whether it may have changed the store.
        wrote: bool,
    },
}

/// What is wrong with the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryFault {
    /// It is a file or a symbolic link.
    #[error("is not a directory; give the path of the directory, not of a link to it")]
    NotDirectory,
    /// Other users may access it.
    #[error("is accessible to other users (mode {mode:04o}); run `chmod 700` on it")]
    Mode {
        /// Its mode.
        mode: u32,
    },
    /// It belongs to another user.
    #[error(
        "belongs to uid {owner}, but this process runs as uid {us}; run it as the owner, for example with `sudo -u '#{owner}'`"
    )]
    Owner {
        /// Its owner.
        owner: u32,
        /// The user of this process.
        us: u32,
    },
}

/// What is wrong with a key or passphrase file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// It is a symbolic link.
    #[error("is a symbolic link; give the path of the file itself")]
    Link,
    /// It is a directory, pipe or device.
    #[error("is not a regular file")]
    NotFile,
    /// Other users may read or write it.
    #[error("is accessible to other users (mode {mode:04o}); run `chmod 600` on it")]
    Mode {
        /// Its mode.
        mode: u32,
    },
    /// It belongs neither to root nor to the user of this process.
    #[error(
        "belongs to uid {owner}; it must belong to root or to uid {us}, which runs this process: run `chown` on it"
    )]
    Owner {
        /// Its owner.
        owner: u32,
        /// The user of this process.
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
    #[error("is larger than 4096 bytes, so it is not a key")]
    TooLarge,
    /// It is empty.
    #[error("is empty")]
    Empty,
    /// The passphrase is too short to seal a new store with.
    #[error("has {0} bytes; a new store needs 12 or more")]
    Short(usize),
}

/// What is wrong with a file of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It does not exist but must.
    #[error("is missing; restore the store from a backup")]
    Missing,
    /// It is not a regular file or directory, as the store expects.
    #[error("has the wrong file type; restore the store from a backup")]
    NotFile,
    /// It is larger than the store ever writes it.
    #[error("is larger than this file can be; restore the store from a backup")]
    TooLarge,
    /// It does not have the format of a file of the store.
    #[error("is not a file of this store; restore the store from a backup")]
    Foreign,
    /// It was written by a later version.
    #[error("has format {0}, which this version of claviger does not support; run a newer version")]
    Format(u8),
    /// It does not authenticate.
    #[error(
        "does not authenticate: it was altered, truncated or copied from elsewhere; restore the store from a backup"
    )]
    Altered,
    /// It authenticates, but its contents are not understood.
    #[error("has contents that this version of claviger does not understand; run a newer version")]
    Contents,
    /// It is an older copy.
    #[error(
        "is older than last seen: it was rolled back; restore the whole store, and restart claviger if the older store is intended"
    )]
    RolledBack,
}

/// The suffix of a message about a change that may have been made.
fn doubt(in_doubt: bool) -> &'static str {
    if in_doubt {
        " (the change may have been made nevertheless; check before you repeat it)"
    } else {
        ""
    }
}

fn current_now(version: Option<&VersionId>) -> String {
    version.map_or_else(
        || "read again, then decide again".to_owned(),
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

    /// The same failure, after the change may have become visible.
    pub(crate) fn after_commit(mut self) -> Self {
        if let Self::Io { in_doubt, .. } = &mut self {
            *in_doubt = true;
        }
        self
    }

    /// The same failure, before the change could become visible.
    pub(crate) fn before_commit(mut self) -> Self {
        if let Self::Io { in_doubt, .. } = &mut self {
            *in_doubt = false;
        }
        self
    }

    /// The kind of error for the code above the backends.
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
            // Like an unreachable backend: nothing was changed, so a write may be repeated.
            Self::Locked(_) => Kind::Unreachable,
            // The caller that generated the new key must keep it, whatever failed.
            Self::FormerLeft(_)
            | Self::Io { in_doubt: true, .. }
            | Self::Stopped { wrote: true } => Kind::InDoubt,
            Self::Io { source, .. } => io_kind(source),
            Self::NotKept(_) | Self::Busy | Self::Crypto | Self::Stopped { wrote: false } => {
                Kind::Unavailable
            }
        }
    }

    /// The failure as a backend error.
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
        // Not `PermissionDenied`: that evicts cached values, and a wrong file mode says nothing about the secret.
        Kind::Misconfigured
    } else {
        Kind::Unavailable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_in_doubt_only_after_the_rename() {
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
    fn messages_name_the_remedy() {
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
            "the key file /k is accessible to other users (mode 0644); run `chmod 600` on it"
        );
        let error = Error::io(Path::new("/s/x"), "open", Errno::ACCESS);
        assert_eq!(error.to_string(), "cannot open /s/x");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.starts_with("Permission denied"), "{cause}");
    }
}
