//! The sealed local file: secrets and control documents of one host, encrypted at rest in one directory.
//!
//! Owns the on-disk format and [`FileStore`], whose operations block; [`backend`] wraps them as a backend of claviger and runs
//! each on a thread that may block. Depends on no SDK and on no part of the daemon. Never caches a value: every read goes to
//! the disk, so a write by another process is visible at once.
//!
//! This is the backend to read first. `config` says what opens a store, `seal` how a record is encrypted, `disk` how a file is
//! written, `lock` which process may write, `store` which generation is current; `secrets`, `register` and `rekey` are the
//! operations. The README beside it has the on-disk format, the limits and what happens when.

#![forbid(unsafe_code)]

mod config;
mod disk;
mod document;
mod error;
mod generation;
mod index;
mod lock;
#[doc(hidden)]
pub mod parsers;
mod register;
mod rekey;
mod roster;
mod seal;
mod secrets;
mod store;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use claviger_backend::{Backend, BackendError, BackendName, Register, SecretRotator};
use tokio::sync::Semaphore;

pub use config::{FileSettings, StoreKey, generate_key_file};
pub use error::{Damage, DirectoryFault, Error, KeyFault};
pub use secrets::{Expected, Listed};
pub use store::FileStore;

/// The limit on threads of one store. A disk or share that hangs blocks a thread per call, and callers time out and retry:
/// without a limit, the store would soon block all threads, and no other file could be read and no name resolved.
const THREADS: usize = 2;

/// The backend that keeps its secrets in `store`. Checks only the type of the file system: if the store is missing or does not
/// open, each call fails with that error, and an operator may fix it while the daemon runs.
///
/// On a network or overlay file system it supports neither rotation nor control documents. Its calls need a tokio runtime.
pub fn backend(name: BackendName, store: FileStore) -> Backend {
    let rotates = !matches!(store.require_local(), Err(Error::FileSystem { .. }));
    let backend = Arc::new(FileBackend {
        name,
        store: Arc::new(store),
        threads: Arc::new(Semaphore::new(THREADS)),
    });
    let rotator: Arc<dyn SecretRotator> = Arc::<FileBackend>::clone(&backend);
    let register: Arc<dyn Register> = Arc::<FileBackend>::clone(&backend);
    Backend {
        kind: "file",
        secrets: Arc::<FileBackend>::clone(&backend),
        versions: Some(Arc::<FileBackend>::clone(&backend)),
        creator: Some(backend),
        rotator: rotates.then_some(rotator),
        register: rotates.then_some(register),
        keys: None,
    }
}

/// A store with its name in the configuration.
#[derive(Debug)]
struct FileBackend {
    name: BackendName,
    store: Arc<FileStore>,
    threads: Arc<Semaphore>,
}

/// What a stopped call may have done.
#[derive(Clone, Copy, Debug)]
enum Effect {
    Reads,
    Writes,
}

impl FileBackend {
    /// Runs `work` on a thread that may block. The work finishes even if the caller drops this future.
    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        effect: Effect,
        work: impl FnOnce(&FileStore) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, BackendError> {
        let store = Arc::clone(&self.store);
        let wrote = matches!(effect, Effect::Writes);
        // The semaphore is never closed, so this never fails. The permit belongs to the work, not to the future that waits for
        // it.
        let place = Arc::clone(&self.threads).acquire_owned().await.ok();
        let work = move || {
            let _place = place;
            work(&store)
        };
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|_stopped| Err(Error::Stopped { wrote }))
            .map_err(|error| error.into_backend(&self.name, operation))
    }
}
