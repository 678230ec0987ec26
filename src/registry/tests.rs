//! Opening backends, and the conformance suite over a backend as the registry hands it out.

use std::fs;
use std::path::PathBuf;

use async_trait::async_trait;
use claviger_backend::{BackendError, Secret, SecretName, VersionSelector};
use claviger_backend_conformance::{Subject, suite};
use claviger_runtime::clock::{SteppedClock, SystemClock};
use tempfile::TempDir;

use super::*;
use crate::registry::file_store::{Expected, FileSettings, FileStore, StoreKey, generate_key_file};

suite!(fresh: reads, versions, creation, rotation, register);

/// A store on a local file system, behind the guard.
struct Fresh {
    _home: TempDir,
    backends: Backends,
    settings: FileSettings,
}

fn name() -> BackendName {
    "local".parse().unwrap()
}

fn make(home: &TempDir) -> FileSettings {
    let key = home.path().join("key");
    generate_key_file(&key).unwrap();
    let settings = FileSettings {
        directory: home.path().join("store"),
        key: StoreKey::KeyFile(key),
    };
    FileStore::init(settings.clone()).unwrap();
    settings
}

async fn fresh() -> Fresh {
    // In memory first: the races sync thousands of times.
    for place in [PathBuf::from("/dev/shm"), std::env::temp_dir()] {
        let Ok(home) = tempfile::tempdir_in(place) else {
            continue;
        };
        let settings = make(&home);
        let file = [(name(), BackendSettings::File(settings.clone()))];
        let none = Backends::none(Arc::new(SystemClock));
        let backends = open_all(&file, &none).await.unwrap();
        if backends.get(&name()).unwrap().register.is_some() {
            return Fresh {
                _home: home,
                backends,
                settings,
            };
        }
    }
    panic!("these tests need a local file system at TMPDIR or /dev/shm");
}

#[async_trait]
impl Subject for Fresh {
    fn backend(&self) -> &Backend {
        self.backends.get(&name()).unwrap()
    }

    async fn seed(&self, name: &SecretName, value: Secret) {
        let store = FileStore::open(self.settings.clone()).unwrap();
        store.put(name, &value, &Expected::Anything).unwrap();
    }

    fn impossible_names(&self) -> Vec<SecretName> {
        Vec::new()
    }

    async fn provoke(&self, name: &SecretName) -> Vec<BackendError> {
        fs::remove_dir_all(&self.settings.directory).unwrap();
        let mut errors = Vec::new();
        for _ in 0..3 {
            let fetched = self
                .backend()
                .secrets
                .fetch(name, &VersionSelector::Current);
            errors.extend(fetched.await.err());
        }
        assert_eq!(errors.len(), 3);
        errors
    }
}

#[tokio::test]
async fn the_same_settings_keep_the_guard_and_other_settings_get_a_new_one() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let first = BackendSettings::File(make(&one));
    let second = BackendSettings::File(make(&two));
    let none = Backends::none(Arc::new(SteppedClock::new()));
    let before = open_all(&[(name(), first.clone())], &none).await.unwrap();
    let guard = |backends: &Backends| Arc::clone(&backends.opened[&name()].guard);
    let source = |backends: &Backends| Arc::clone(&backends.sources()[&name()]);

    let same = open_all(&[(name(), first)], &before).await.unwrap();
    assert!(Arc::ptr_eq(&guard(&before), &guard(&same)));
    assert!(Arc::ptr_eq(&source(&before), &source(&same)));
    let other = open_all(&[(name(), second)], &before).await.unwrap();
    assert!(!Arc::ptr_eq(&guard(&before), &guard(&other)));
}

#[tokio::test]
async fn a_local_fault_is_an_error_of_opening() {
    let home = TempDir::new().unwrap();
    let settings = make(&home);
    fs::remove_file(home.path().join("key")).unwrap();
    generate_key_file(&home.path().join("key")).unwrap();
    let none = Backends::none(Arc::new(SteppedClock::new()));
    let unopened = open_all(&[(name(), BackendSettings::File(settings))], &none)
        .await
        .unwrap_err();
    let [error] = unopened.errors() else {
        panic!("{unopened}")
    };
    assert!(
        matches!(&error.fault, Fault::File(file::Error::WrongKey(_))),
        "{error:?}"
    );
    let text = unopened.to_string();
    assert!(text.starts_with("backends.local: "), "{text}");
    assert!(!unopened.is_passing());
}
