//! Turns configured backends into [`Backend`](claviger_backend::Backend) values.
//!
//! Owns the choice of backend crates: the only file that names one, or a feature. Never reads a secret itself.

use std::path::PathBuf;

/// The sealed local file as a store that people fill, for `claviger file`.
#[cfg(feature = "file")]
pub mod file_store {
    pub use claviger_backend_file::{
        Error, Expected, FileSettings, FileStore, KeyFault, Listed, StoreKey, generate_key_file,
    };
}

/// A backend as the configuration gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendSettings {
    /// The sealed local file.
    File {
        /// The directory of the sealed records.
        directory: PathBuf,
        /// What unseals it.
        key: FileKey,
    },
}

/// What unseals the local file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKey {
    /// A file, mode 0600 or stricter, with 32 bytes in base64.
    KeyFile(PathBuf),
    /// A file, mode 0600 or stricter, with a passphrase.
    PassphraseFile(PathBuf),
}
