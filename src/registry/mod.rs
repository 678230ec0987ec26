//! Turns configured backends into [`Backend`] values.
//!
//! Owns the choice of backend crates: the only file that names one. A local fault (a store that is not there,
//! a key file that others can read, a key that does not fit) is an error here and so at the start, because it does not heal
//! by itself; a backend that is merely out of reach is not. Keys of a backend's own are kept in `keeper`. Never reads a
//! secret of the configuration itself.
//!
//! A new backend is a crate in `backends/`, a feature, a variant of [`BackendSettings`], an arm of `open`, and a section in
//! `config`. The sealed file has no feature of its own: it has no SDK, and the command line works on it without a daemon.

mod keeper;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use claviger_backend::{Backend, BackendName, Class, SecretSource};
use claviger_backend_file as file;

use crate::registry::keeper::PageKeeper;

/// The types of backends that this build knows, as the configuration writes them.
pub const TYPES: &[&str] = &["file"];

/// The sealed local file as a store that people fill, for `claviger file`.
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

/// The backends of one configuration, opened, and what they were opened by.
#[derive(Clone, Debug, Default)]
pub struct Backends {
    opened: BTreeMap<BackendName, (BackendSettings, Backend)>,
    /// Lives on through every reload, so that it says only once what is to be said about memory.
    keeper: Arc<PageKeeper>,
}

impl Backends {
    /// One backend that a test has made.
    #[cfg(test)]
    pub(crate) fn of_test(name: BackendName, settings: BackendSettings, backend: Backend) -> Self {
        Self {
            opened: BTreeMap::from([(name, (settings, backend))]),
            keeper: Arc::default(),
        }
    }

    /// What reads from each of them.
    #[must_use]
    pub fn sources(&self) -> BTreeMap<BackendName, Arc<dyn SecretSource>> {
        self.opened
            .iter()
            .map(|(name, (_, backend))| (name.clone(), Arc::clone(&backend.secrets)))
            .collect()
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, name: &BackendName) -> Option<&Backend> {
        self.opened.get(name).map(|(_, backend)| backend)
    }

    /// The type of each of them, by name.
    #[must_use]
    pub fn kinds(&self) -> Vec<(String, &'static str)> {
        self.opened
            .iter()
            .map(|(name, (_, backend))| (name.to_string(), backend.kind))
            .collect()
    }
}

/// Why a backend cannot be used at all. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The sealed local file is not in order.
    #[error("backends.{0}: {1}")]
    File(BackendName, #[source] file::Error),
}

impl Error {
    /// Which backend, and what is wrong with it.
    #[must_use]
    pub fn parts(&self) -> (&BackendName, &(dyn std::error::Error + 'static)) {
        match self {
            Self::File(name, error) => (name, error),
        }
    }

    /// Whether it may be gone at the next start, without a change to the configuration or to what it names.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        let Self::File(_, error) = self;
        // What the store reports of its own contents is nothing that passes, whatever it means to what is held.
        !matches!(
            error,
            file::Error::Damaged { .. } | file::Error::WrongKey(_)
        ) && error.kind().class() == Class::Transient
    }
}

/// Opens every backend; those of `previous` with the same settings are kept, with their logins. Blocks while it reads
/// credentials.
///
/// # Errors
/// Every local fault, at most one of each backend.
pub fn open_all(
    settings: &[(BackendName, BackendSettings)],
    previous: &Backends,
) -> Result<Backends, Vec<Error>> {
    let mut opened = BTreeMap::new();
    let mut faults = Vec::new();
    for (name, settings) in settings {
        let backend = match previous.opened.get(name) {
            Some((before, backend)) if before == settings => Ok(backend.clone()),
            _ => open(name, settings, &previous.keeper),
        };
        match backend {
            Ok(backend) => drop(opened.insert(name.clone(), (settings.clone(), backend))),
            Err(fault) => faults.push(fault),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Backends {
        opened,
        keeper: Arc::clone(&previous.keeper),
    })
}

fn open(
    name: &BackendName,
    settings: &BackendSettings,
    keeper: &Arc<PageKeeper>,
) -> Result<Backend, Error> {
    match settings {
        BackendSettings::File { directory, key } => {
            let key = match key.clone() {
                FileKey::KeyFile(path) => file::StoreKey::KeyFile(path),
                FileKey::PassphraseFile(path) => file::StoreKey::PassphraseFile(path),
            };
            let settings = file::FileSettings {
                directory: directory.clone(),
                key,
            };
            let store = file::FileStore::new(settings).kept_by(Arc::<PageKeeper>::clone(keeper));
            // To find a local fault now; it opens again whenever it is rekeyed on disk.
            store
                .check()
                .map_err(|error| Error::File(name.clone(), error))?;
            Ok(file::backend(name.clone(), store))
        }
    }
}
