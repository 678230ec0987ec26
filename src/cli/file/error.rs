//! Why `claviger file` failed, and with which exit code.
//!
//! Owns the exit codes of the subcommand, which are those of sysexits.h that say most: 64 usage, 66 something named is not
//! there, 69 waiting may help, 70 damaged or internal, 71 the system, 73 cannot be made or changed, 77 not permitted, 78
//! configuration. They are stable; texts are not.

use std::io;
use std::path::PathBuf;

use claviger_backend::{SecretName, VersionId};

use crate::registry::file_store::{Error as StoreError, KeyFault};
use claviger_core::secrets::object::ObjectFault;

/// Why a subcommand failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// As [`Error::Store`], and the key that was just made could not be taken away.
    #[error("{source}; the new key file {} seals nothing and may be removed", path.display())]
    KeyLeft {
        /// Where it is.
        path: PathBuf,
        /// Why the store refused.
        source: StoreError,
    },
    /// There is no secret of that name.
    #[error("there is no secret {name}; {}", instead(.meant.as_ref()))]
    NoSecret {
        /// What was asked for.
        name: SecretName,
        /// What was probably meant.
        meant: Option<SecretName>,
    },
    /// There is a secret that should be new.
    #[error(
        "{name} is there already, at version {version}; leave --new out to write its next version"
    )]
    NotNew {
        /// Which secret.
        name: SecretName,
        /// Its current version.
        version: VersionId,
    },
    /// Nothing opens the store, and nobody can be asked.
    #[error("give --key-file or --passphrase-file; there is no terminal to ask for a passphrase")]
    NoKey,
    /// Two passphrases that should be one.
    #[error("the two passphrases differ; nothing was changed")]
    Mismatch,
    /// A secret was to be printed on a terminal.
    #[error(
        "this would show the secret on the terminal; add --reveal, or send it elsewhere with > or |"
    )]
    WouldReveal,
    /// The version to destroy is the one in use.
    #[error("this version is current; `claviger file put` a new value first")]
    IsCurrent,
    /// There is no such field.
    #[error(transparent)]
    NoField(ObjectFault),
    /// The value cannot be edited by field, or is no text.
    #[error("{0}; leave --field out")]
    Field(ObjectFault),
    /// The terminal or standard input failed.
    #[error("cannot read the value: {0}")]
    Input(#[source] io::Error),
    /// Standard output failed.
    #[error("cannot write the answer: {0}")]
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
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Store(error) | Self::KeyLeft { source: error, .. } => store_code(error),
            Self::NoKey | Self::Mismatch | Self::WouldReveal | Self::IsCurrent | Self::Field(_) => {
                64
            }
            Self::NoField(_) | Self::NoSecret { .. } => 66,
            Self::NotNew { .. } => 73,
            Self::Input(_) | Self::Output(_) => 71,
        }
    }
}

fn instead(meant: Option<&SecretName>) -> String {
    meant.map_or_else(
        || "`claviger file list` shows what there is".to_owned(),
        |meant| format!("did you mean {meant}?"),
    )
}

fn store_code(error: &StoreError) -> u8 {
    match error {
        StoreError::TooLarge { .. } | StoreError::Empty => 64,
        StoreError::NoStore(_)
        | StoreError::KeyMissing(_)
        | StoreError::NoSecret
        | StoreError::NoVersion
        | StoreError::Retired => 66,
        StoreError::Busy | StoreError::Locked(_) => 69,
        StoreError::Damaged { .. }
        | StoreError::Crypto
        | StoreError::NotKept(_)
        | StoreError::Stopped { .. } => 70,
        StoreError::StoreExists(_)
        | StoreError::NotEmpty(_)
        | StoreError::KeyExists(_)
        | StoreError::Conflict(_)
        | StoreError::Full { .. } => 73,
        StoreError::Directory { .. } => 77,
        StoreError::KeyFile { fault, .. } | StoreError::Passphrase(fault) => match fault {
            KeyFault::Mode { .. } | KeyFault::Owner { .. } | KeyFault::Link => 77,
            KeyFault::NotFile
            | KeyFault::NotBase64
            | KeyFault::Size(_)
            | KeyFault::TooLarge
            | KeyFault::Empty
            | KeyFault::Short(_) => 78,
        },
        StoreError::WrongKey(_) | StoreError::WrongSort { .. } | StoreError::FileSystem { .. } => {
            78
        }
        StoreError::Io { source, .. } => io_code(source.kind()),
        StoreError::FormerLeft(error) => store_code(error),
    }
}

fn io_code(kind: io::ErrorKind) -> u8 {
    if kind == io::ErrorKind::PermissionDenied {
        77
    } else if kind == io::ErrorKind::StorageFull || kind == io::ErrorKind::ReadOnlyFilesystem {
        73
    } else if kind == io::ErrorKind::NotFound {
        66
    } else {
        71
    }
}
