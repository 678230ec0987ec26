//! The sealed local file: secrets and control documents of one host, encrypted at rest in one directory.
//!
//! Owns the on-disk format and [`FileStore`], the operations on it, which block; [`backend`] wraps them as a backend of
//! claviger, each on a thread that may block. Depends on no SDK and on nothing of the daemon. Never caches a value: every
//! read goes to the disk, where a writer of another process is seen at once.
//!
//! This is the backend to read first. `config` says what opens a store, `seal` how a record is made, `disk` how a file is
//! written, `lock` who may write, `store` which generation is current; `secrets`, `register` and `rekey` are the operations.
//! The README beside it has the on-disk format, the limits and what happens when.

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

/// How many threads one store may hold. A disk or share that hangs keeps each of them, and who calls gives up and comes back:
/// without a limit it would soon have all, and nobody else could read a file or resolve a name.
const THREADS: usize = 2;

/// The backend that keeps its secrets in `store`. Touches nothing yet but the kind of the file system: a store that is
/// missing or does not open is the error of each call, and may be mended while the daemon runs.
///
/// On a network or overlay file system it can neither rotate nor keep control documents. Its calls need a tokio runtime.
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

/// A store under the name that the configuration gives it.
#[derive(Debug)]
struct FileBackend {
    name: BackendName,
    store: Arc<FileStore>,
    threads: Arc<Semaphore>,
}

/// What a call that was stopped may have done.
#[derive(Clone, Copy, Debug)]
enum Effect {
    Reads,
    Writes,
}

impl FileBackend {
    /// Does the work on a thread that may block. It goes on to its end if the caller loses interest.
    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        effect: Effect,
        work: impl FnOnce(&FileStore) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, BackendError> {
        let store = Arc::clone(&self.store);
        let wrote = matches!(effect, Effect::Writes);
        // Never closed, so there is a place sooner or later. The place goes with the work, not with who waits for it.
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
