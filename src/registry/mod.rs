//! Turns configured backends into guarded [`Backend`] values.
//!
//! Owns the choice of backend crates: the only file that names one. Hands out no backend without its `guard`. A local fault
//! (a store that does not exist, a key file that others can read, a wrong key) is an error here and so at the start, because
//! it stays until an operator acts; a backend that is merely unreachable is not. Keys of a backend's own are kept in
//! `keeper`. Never reads a secret of the configuration itself.
//!
//! A new backend is a crate in `backends/` with plain settings, a feature, a variant of [`BackendSettings`], an arm of
//! `open`, and a file in `config/backends`. The sealed file has no feature of its own: it has no SDK, and the command line
//! works on it without a daemon.

mod guard;
mod keeper;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use claviger_backend::{Backend, BackendName, Class, SecretSource};
use claviger_backend_file as file;
use claviger_kernel::Untrusted;
use claviger_runtime::clock::Clock;
use claviger_runtime::telemetry::Causes;

use crate::registry::guard::{Guard, guarded};
use crate::registry::keeper::PageKeeper;

pub(crate) use guard::Health;

/// The types of backends in this build, as the configuration writes them.
pub(crate) const TYPES: &[&str] = &["file"];

/// The sealed local file as a store to write to, for `claviger file`.
pub mod file_store {
    pub use claviger_backend_file::{
        Error, Expected, FileSettings, FileStore, KeyFault, Listed, StoreKey, generate_key_file,
    };
}

/// A backend as the configuration gives it: the settings of its crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendSettings {
    /// The sealed local file.
    File(file::FileSettings),
}

/// The backends of one configuration, opened. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Backends {
    opened: BTreeMap<BackendName, Opened>,
    clock: Arc<dyn Clock>,
    /// Shared across reloads, so that it warns only once.
    keeper: Arc<PageKeeper>,
}

/// An opened backend. Only the guarded one leaves this module.
#[derive(Clone, Debug)]
struct Opened {
    settings: BackendSettings,
    backend: Backend,
    guard: Arc<Guard>,
}

impl Opened {
    fn new(
        name: &BackendName,
        settings: BackendSettings,
        backend: Backend,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let guard = Arc::new(Guard::new(name.clone(), Arc::clone(clock)));
        Self {
            settings,
            backend: guarded(backend, &guard),
            guard,
        }
    }
}

impl Backends {
    /// No backends: the predecessor of the first configuration. `clock` times the guards of all backends opened from it.
    #[must_use]
    pub fn none(clock: Arc<dyn Clock>) -> Self {
        Self {
            opened: BTreeMap::new(),
            clock,
            keeper: Arc::default(),
        }
    }

    /// These, and one more that a test has made.
    #[cfg(test)]
    pub(crate) fn with(
        mut self,
        name: BackendName,
        settings: BackendSettings,
        backend: Backend,
    ) -> Self {
        let opened = Opened::new(&name, settings, backend, &self.clock);
        self.opened.insert(name, opened);
        self
    }

    /// The source of secrets of each backend, guarded. The same one as before a reload if its settings are the same.
    #[must_use]
    pub(crate) fn sources(&self) -> BTreeMap<BackendName, Arc<dyn SecretSource>> {
        self.opened
            .iter()
            .map(|(name, opened)| (name.clone(), Arc::clone(&opened.backend.secrets)))
            .collect()
    }

    /// One backend, guarded: every call ends within seconds, and all its capabilities share the limits and the breaker.
    #[must_use]
    pub(crate) fn get(&self, name: &BackendName) -> Option<&Backend> {
        self.opened.get(name).map(|opened| &opened.backend)
    }

    /// The health of each backend, by name. Sends nothing.
    #[must_use]
    pub(crate) fn health(&self) -> Vec<Health> {
        self.opened
            .values()
            .map(|opened| opened.guard.health(opened.backend.kind))
            .collect()
    }
}

/// Why a backend cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[error("backends.{backend}")]
pub(crate) struct Error {
    /// Which backend, by its name in the configuration.
    pub(crate) backend: BackendName,
    #[source]
    pub(crate) fault: Fault,
}

/// What is wrong with it. Prints what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The sealed local file is not in order.
    #[error(transparent)]
    File(file::Error),
    /// Another user could replace the sealed local file or its key.
    #[error("another user could replace the store or its key, because {0}")]
    Way(Untrusted),
}

impl Error {
    /// Whether the next start may succeed without a change to the configuration or to what it names.
    fn is_passing(&self) -> bool {
        let Fault::File(error) = &self.fault else {
            return false;
        };
        // A damaged store and a wrong key do not heal, although readers of cached values treat them as transient.
        !matches!(
            error,
            file::Error::Damaged { .. } | file::Error::WrongKey(_)
        ) && error.kind().class() == Class::Transient
    }
}

/// Why backends cannot be opened: at least one, and at most one error of each. Prints one line for each.
#[derive(Debug)]
pub struct Unopened(Vec<Error>);

impl Unopened {
    /// The error of each backend, in the order of the configuration.
    pub(crate) fn errors(&self) -> &[Error] {
        &self.0
    }

    /// The same, owned.
    pub(crate) fn into_errors(self) -> Vec<Error> {
        self.0
    }

    /// Whether the next start may succeed without a change to the configuration or to what it names.
    pub(crate) fn is_passing(&self) -> bool {
        self.0.iter().all(Error::is_passing)
    }
}

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            let line_end = if number == 0 { "" } else { "\n" };
            write!(f, "{line_end}{}", Causes(error))?;
        }
        Ok(())
    }
}

impl std::error::Error for Unopened {}

/// Opens every backend; those of `previous` with the same settings are kept, with their logins and their health. Needs a
/// tokio runtime. An unreachable backend opens all the same.
///
/// # Errors
/// Every local fault.
pub async fn open_all(
    settings: &[(BackendName, BackendSettings)],
    previous: &Backends,
) -> Result<Backends, Unopened> {
    let mut opened = BTreeMap::new();
    let mut errors = Vec::new();
    for (name, settings) in settings {
        let kept = previous
            .opened
            .get(name)
            .filter(|before| before.settings == *settings);
        let backend = match kept {
            Some(before) => Ok(before.clone()),
            None => open(name, settings, &previous.keeper)
                .await
                .map(|backend| Opened::new(name, settings.clone(), backend, &previous.clock)),
        };
        match backend {
            Ok(backend) => drop(opened.insert(name.clone(), backend)),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(Unopened(errors));
    }
    Ok(Backends {
        opened,
        clock: Arc::clone(&previous.clock),
        keeper: Arc::clone(&previous.keeper),
    })
}

async fn open(
    name: &BackendName,
    settings: &BackendSettings,
    keeper: &Arc<PageKeeper>,
) -> Result<Backend, Error> {
    match settings {
        BackendSettings::File(settings) => {
            let store =
                file::FileStore::new(settings.clone()).kept_by(Arc::<PageKeeper>::clone(keeper));
            let backend = name.clone();
            // A check finds a local fault now; the store opens again whenever it is rekeyed on disk.
            let settings = settings.clone();
            tokio::task::spawn_blocking(move || {
                store.check().map_err(Fault::File)?;
                judge_ways(&settings).map_err(Fault::Way)?;
                Ok(file::backend(backend, store))
            })
            .await
            .unwrap_or_else(|_stopped| Err(Fault::File(file::Error::Stopped { wrote: false })))
            .map_err(|fault| Error {
                backend: name.clone(),
                fault,
            })
        }
    }
}

/// The store judges its directory and its key file themselves; this judges what leads to them.
fn judge_ways(settings: &file::FileSettings) -> Result<(), Untrusted> {
    let key = match &settings.key {
        file::StoreKey::KeyFile(path) | file::StoreKey::PassphraseFile(path) => Some(path),
        file::StoreKey::Passphrase(_) => None,
    };
    [Some(&settings.directory), key]
        .into_iter()
        .flatten()
        .try_for_each(|path| claviger_kernel::follow(path).map(drop))
}

#[cfg(test)]
mod tests;
