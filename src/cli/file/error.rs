//! Why `claviger file` failed, and with which exit code.
//!
//! Owns the exit code of each failure; [`Exit`] has their meaning. Exit codes are stable; texts are not.

use std::io;
use std::path::PathBuf;

use claviger_backend::{SecretName, VersionId};

use claviger_runtime::reason::Exit;

use crate::registry::file_store::{Error as StoreError, KeyFault};
use claviger_core::secrets::object::ObjectFault;

/// Why a subcommand failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// As [`Error::Store`], and the key that was just created could not be removed.
    #[error("the new key file {} seals nothing and may be removed", path.display())]
    KeyLeft {
        /// Where it is.
        path: PathBuf,
        /// Why the store refused.
        source: StoreError,
    },
    /// There is no secret of that name.
    #[error("there is no secret {name}; {}", instead(.meant.as_ref()))]
    NoSecret {
        /// The requested name.
        name: SecretName,
        /// A similar name.
        meant: Option<SecretName>,
    },
    /// A secret that should be new exists.
    #[error(
        "{name} exists already, at version {version}; leave --new out to write its next version"
    )]
    NotNew {
        /// Which secret.
        name: SecretName,
        /// Its current version.
        version: VersionId,
    },
    /// No key was given, and there is no terminal to prompt on.
    #[error("give --key-file or --passphrase-file; there is no terminal to ask for a passphrase")]
    NoKey,
    /// The repeated passphrase differs.
    #[error("the two passphrases differ; nothing was changed")]
    Mismatch,
    /// A secret was to be printed on a terminal.
    #[error("this would show the secret on the terminal; add --reveal, or redirect the output")]
    WouldReveal,
    /// The version to destroy is the one in use.
    #[error("this version is current; `claviger file put` a new value first")]
    IsCurrent,
    /// There is no such field.
    #[error(transparent)]
    NoField(ObjectFault),
    /// The value has no fields, or is not text.
    #[error("{0}; leave --field out")]
    Field(ObjectFault),
    /// The terminal or standard input failed.
    #[error("cannot read the value")]
    Input(#[source] io::Error),
    /// Standard output failed.
    #[error("cannot write the answer")]
    Output(#[source] io::Error),
}

impl From<ObjectFault> for Error {
    fn from(fault: ObjectFault) -> Self {
        match fault {
            ObjectFault::NoField => Self::NoField(fault),
            ObjectFault::NotObject | ObjectFault::NotText => Self::Field(fault),
        }
    }
}

impl Error {
    /// The exit code for this failure.
    #[must_use]
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Store(error) | Self::KeyLeft { source: error, .. } => exit_of_store(error),
            Self::NoKey | Self::Mismatch | Self::WouldReveal | Self::IsCurrent | Self::Field(_) => {
                Exit::Usage
            }
            Self::NoField(_) | Self::NoSecret { .. } => Exit::NoInput,
            Self::NotNew { .. } => Exit::Exists,
            Self::Input(_) | Self::Output(_) => Exit::System,
        }
    }
}

fn instead(meant: Option<&SecretName>) -> String {
    meant.map_or_else(
        || "`claviger file list` lists the secrets".to_owned(),
        |meant| format!("did you mean {meant}?"),
    )
}

fn exit_of_store(error: &StoreError) -> Exit {
    match error {
        StoreError::TooLarge { .. } | StoreError::Empty => Exit::Usage,
        StoreError::NoStore(_)
        | StoreError::KeyMissing(_)
        | StoreError::NoSecret
        | StoreError::NoVersion
        | StoreError::Retired => Exit::NoInput,
        StoreError::Busy | StoreError::Locked(_) => Exit::Unavailable,
        StoreError::Damaged { .. }
        | StoreError::Crypto
        | StoreError::NotKept(_)
        | StoreError::Stopped { .. } => Exit::Internal,
        StoreError::StoreExists(_)
        | StoreError::NotEmpty(_)
        | StoreError::KeyExists(_)
        | StoreError::Conflict(_)
        | StoreError::Full { .. } => Exit::Exists,
        StoreError::Directory { .. } => Exit::Denied,
        StoreError::KeyFile { fault, .. } | StoreError::Passphrase(fault) => match fault {
            KeyFault::Mode { .. } | KeyFault::Owner { .. } | KeyFault::Link => Exit::Denied,
            KeyFault::NotFile
            | KeyFault::NotBase64
            | KeyFault::Size(_)
            | KeyFault::TooLarge
            | KeyFault::Empty
            | KeyFault::Short(_) => Exit::Config,
        },
        StoreError::WrongKey(_) | StoreError::WrongSort { .. } | StoreError::FileSystem { .. } => {
            Exit::Config
        }
        StoreError::Io { source, .. } => exit_of_io(source.kind()),
        StoreError::FormerLeft(error) => exit_of_store(error),
    }
}

fn exit_of_io(kind: io::ErrorKind) -> Exit {
    if kind == io::ErrorKind::PermissionDenied {
        Exit::Denied
    } else if kind == io::ErrorKind::StorageFull || kind == io::ErrorKind::ReadOnlyFilesystem {
        Exit::Exists
    } else if kind == io::ErrorKind::NotFound {
        Exit::NoInput
    } else {
        Exit::System
    }
}
