//! Runs the conformance suite on the sealed file.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test crate, which fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use claviger_backend::{Backend, BackendError, Secret, SecretName, VersionSelector};
use claviger_backend_conformance::{Subject, suite};
use claviger_backend_file::{
    Expected, FileSettings, FileStore, StoreKey, backend, generate_key_file,
};
use tempfile::TempDir;

suite!(fresh: reads, versions, creation, rotation, register);

struct Fresh {
    _home: TempDir,
    backend: Backend,
    settings: FileSettings,
}

/// A temporary directory on a file system where rotation is supported.
fn local_home() -> TempDir {
    // Memory first, because the races sync thousands of times.
    for place in [PathBuf::from("/dev/shm"), std::env::temp_dir()] {
        let Ok(home) = tempfile::tempdir_in(&place) else {
            continue;
        };
        let settings = make(home.path());
        if backend("probe".parse().unwrap(), FileStore::new(settings))
            .register
            .is_some()
        {
            return tempfile::tempdir_in(place).unwrap();
        }
    }
    panic!("these tests need a local file system at TMPDIR or /dev/shm");
}

fn make(home: &Path) -> FileSettings {
    let key = home.join("key");
    generate_key_file(&key).unwrap();
    let settings = FileSettings {
        directory: home.join("store"),
        key: StoreKey::KeyFile(key),
    };
    FileStore::init(settings.clone()).unwrap();
    settings
}

async fn fresh() -> Fresh {
    let home = local_home();
    let settings = make(home.path());
    Fresh {
        backend: backend("local".parse().unwrap(), FileStore::new(settings.clone())),
        _home: home,
        settings,
    }
}

impl Fresh {
    /// Every file of the store.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.settings.directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                let inner = fs::read_dir(path).unwrap();
                files.extend(inner.map(|entry| entry.unwrap().path()));
            } else {
                files.push(path);
            }
        }
        files
    }

    async fn failure(&self, name: &SecretName) -> Option<BackendError> {
        let source = &self.backend.secrets;
        source.fetch(name, &VersionSelector::Current).await.err()
    }
}

#[async_trait]
impl Subject for Fresh {
    fn backend(&self) -> &Backend {
        &self.backend
    }

    async fn seed(&self, name: &SecretName, value: Secret) {
        let store = FileStore::open(self.settings.clone()).unwrap();
        store.put(name, &value, &Expected::Anything).unwrap();
    }

    fn impossible_names(&self) -> Vec<SecretName> {
        Vec::new()
    }

    async fn provoke(&self, name: &SecretName) -> Vec<BackendError> {
        let mut errors = Vec::new();
        for path in self.files() {
            let whole = fs::read(&path).unwrap();
            for damage in [
                &b""[..],
                b"short",
                &[0; 5000],
                whole.split_at(whole.len() / 2).0,
            ] {
                fs::write(&path, damage).unwrap();
                errors.extend(self.failure(name).await);
            }
            fs::remove_file(&path).unwrap();
            errors.extend(self.failure(name).await);
            fs::write(&path, whole).unwrap();
        }
        let StoreKey::KeyFile(key) = &self.settings.key else {
            panic!("the store has a key file");
        };
        fs::remove_file(key).unwrap();
        let anew = backend(
            "local".parse().unwrap(),
            FileStore::new(self.settings.clone()),
        );
        errors.extend(anew.secrets.probe().await.err());
        generate_key_file(key).unwrap();
        errors.extend(anew.secrets.probe().await.err());
        fs::remove_dir_all(&self.settings.directory).unwrap();
        errors.extend(self.failure(name).await);
        assert!(errors.len() > 20, "{} errors", errors.len());
        errors
    }
}
