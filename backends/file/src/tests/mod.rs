//! The store as a whole: crashes, damaged files, wrong keys and concurrent processes.

mod crash;
mod damage;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use claviger_backend::{
    Fetched, Kind, OperationId, Secret, SecretName, VersionId, VersionSelector, VersionState,
};
use tempfile::TempDir;

use crate::disk::Steps;
use crate::{
    DirectoryFault, Error, Expected, FileSettings, FileStore, StoreKey, generate_key_file,
};

/// A directory with a key; the test creates the store in it.
struct Home {
    dir: TempDir,
}

impl Home {
    fn new() -> Self {
        // In memory if possible: these tests write and sync thousands of times.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_absent| tempfile::tempdir());
        let dir = dir.unwrap();
        generate_key_file(&dir.path().join("key")).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn store_path(&self) -> PathBuf {
        self.path("store")
    }

    fn settings(&self) -> FileSettings {
        self.settings_with("key")
    }

    fn settings_with(&self, key: &str) -> FileSettings {
        FileSettings {
            directory: self.store_path(),
            key: StoreKey::KeyFile(self.path(key)),
        }
    }

    fn init(&self) -> FileStore {
        FileStore::init(self.settings()).unwrap()
    }

    fn open(&self) -> FileStore {
        FileStore::open(self.settings()).unwrap()
    }

    fn with_steps(&self, steps: &Arc<Steps>) -> FileStore {
        FileStore::with_steps(self.settings(), Arc::clone(steps))
    }
}

fn name(text: &str) -> SecretName {
    text.parse().unwrap()
}

fn id(text: &str) -> VersionId {
    text.parse().unwrap()
}

fn label(text: &str) -> OperationId {
    format!("{text:a>32}").parse().unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::from_text(text.to_owned())
}

#[expect(clippy::disallowed_methods, reason = "tests look inside")]
fn text(fetched: &Fetched) -> String {
    String::from_utf8(fetched.value.expose().to_vec()).unwrap()
}

fn put(store: &FileStore, at: &str, value: &str) -> VersionId {
    store
        .put(&name(at), &secret(value), &Expected::Anything)
        .unwrap()
}

fn current(store: &FileStore, at: &str) -> Result<String, Error> {
    store
        .get(&name(at), &VersionSelector::Current)
        .map(|fetched| text(&fetched))
}

fn exact(store: &FileStore, at: &str, version: &str) -> Result<String, Error> {
    store
        .get(&name(at), &VersionSelector::Exact(id(version)))
        .map(|fetched| text(&fetched))
}

/// Copies a directory recursively.
fn copy(from: &Path, to: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_store_keeps_and_lists_its_secrets() {
    let home = Home::new();
    let store = home.init();
    assert_eq!(store.list().unwrap(), []);
    put(&store, "oauth/billing", "one\n");
    put(&store, "oauth/billing", "two\n");
    put(&store, "api-key", "k");
    let again = home.open();
    assert_eq!(current(&again, "oauth/billing").unwrap(), "two\n");
    assert_eq!(exact(&again, "oauth/billing", "1").unwrap(), "one\n");
    let listed = again.list().unwrap();
    let names = listed.iter().map(|secret| secret.name.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["api-key", "oauth/billing"]);
    assert_eq!(listed[1].versions, 2);
    assert_eq!(listed[1].current.version, id("2"));
    assert!(listed[1].current.created.is_some());
}

#[test]
fn files_on_disk_reveal_neither_names_nor_values() {
    let home = Home::new();
    let store = home.init();
    put(&store, "oauth/billing-marker", "value-marker");
    store
        .swap(&name("oauth/billing-marker"), None, b"document-marker")
        .unwrap();
    let mut files = 0;
    let mut directories = vec![home.store_path()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            assert!(!path.to_str().unwrap().contains("billing"));
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            let found = bytes.windows(6).any(|window| window == b"marker");
            assert!(!found, "{}", path.display());
            files += 1;
        }
    }
    assert_eq!(
        files, 7,
        "current, header, check, roster, index, value, document"
    );
}

#[test]
fn a_put_is_conditional_on_the_expected_state() {
    let home = Home::new();
    let store = home.init();
    let at = name("a");
    let version = |text: &str| Expected::Version(id(text));
    let put = |value: &str, expected: Expected| store.put(&at, &secret(value), &expected);
    assert!(matches!(put("x", version("1")), Err(Error::NoSecret)));
    assert_eq!(put("one", Expected::Nothing).unwrap(), id("1"));
    assert!(matches!(
        put("x", Expected::Nothing),
        Err(Error::Conflict(Some(_)))
    ));
    assert_eq!(put("two", version("1")).unwrap(), id("2"));
    let late = put("x", version("1")).unwrap_err();
    assert_eq!(
        late.to_string(),
        "another process wrote first; version 2 is current now"
    );
    assert!(matches!(put("", Expected::Anything), Err(Error::Empty)));
    assert_eq!(current(&store, "a").unwrap(), "two");
}

#[test]
fn of_many_processes_that_expect_one_version_one_writes() {
    let home = Home::new();
    put(&home.init(), "a", "0");
    for round in 1..=10_u32 {
        let expected = Expected::Version(id(&round.to_string()));
        let won = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..8)
                .map(|writer| {
                    // A store of its own, as in another process: `flock` distinguishes open files, not processes.
                    let store = FileStore::new(home.settings());
                    let (expected, value) = (&expected, secret(&format!("{round}/{writer}")));
                    scope.spawn(move || store.put(&name("a"), &value, expected))
                })
                .collect();
            let results = writers.into_iter().map(|writer| writer.join().unwrap());
            results.flatten().count()
        });
        assert_eq!(won, 1, "round {round}");
    }
    assert_eq!(home.open().versions(&name("a")).unwrap().len(), 11);
}

#[test]
fn a_writer_gives_up_on_another_that_does_not_finish() {
    let home = Home::new();
    put(&home.init(), "a", "one");
    let other = FileStore::new(home.settings()).without_patience();
    let key = StoreKey::KeyFile(home.path("key"));
    let stopped = home.open();
    let writing = stopped.writing().unwrap();
    // Removing a file that looks like a leftover lock must not let a second writer in.
    drop(fs::remove_file(home.path("store").join("lock")));
    let put = || other.put(&name("a"), &secret("two"), &Expected::Anything);
    for error in [put().unwrap_err(), other.rekey(&key).unwrap_err()] {
        assert!(error.to_string().contains("`lslocks`"), "{error}");
        assert_eq!(error.kind(), Kind::Unreachable, "nothing was changed");
    }
    assert_eq!(current(&other, "a").unwrap(), "one", "readers do not wait");
    drop(writing);
    assert_eq!(put().unwrap(), id("2"));
}

#[test]
fn reads_succeed_during_a_rekey() {
    let home = Home::new();
    let store = home.init();
    put(&store, "a", "value");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                assert_eq!(current(&store, "a").unwrap(), "value");
                reads += 1;
            }
            reads
        });
        for _ in 0..20 {
            // Even with the same key file, each generation derives new keys, so this is a rekey.
            let other = home.open();
            let key = StoreKey::KeyFile(home.path("key"));
            assert_eq!(other.rekey(&key).unwrap(), 1);
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(reader.join().unwrap() > 0);
    });
}

#[test]
fn a_rekey_copies_everything_and_invalidates_the_old_key() {
    let home = Home::new();
    let store = home.init();
    put(&store, "a", "one");
    put(&store, "a", "two");
    let staged = store
        .stage(&name("a"), &secret("three"), &label("op"))
        .unwrap();
    store.retire(&name("a"), &id("1")).unwrap();
    let revision = store.swap(&name("a"), None, b"{}").unwrap();
    let before = store.versions(&name("a")).unwrap();
    let passphrase = home.path("passphrase");
    fs::write(&passphrase, "correct horse battery\n").unwrap();
    fs::set_permissions(
        &passphrase,
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    let key = StoreKey::PassphraseFile(passphrase);
    assert_eq!(store.rekey(&key).unwrap(), 1);

    let error = FileStore::open(home.settings()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("opens with a passphrase, not with a key file")
    );
    let directory = home.store_path();
    let rekeyed = FileStore::open(FileSettings { directory, key }).unwrap();
    assert_eq!(current(&rekeyed, "a").unwrap(), "two");
    assert_eq!(exact(&rekeyed, "a", staged.as_str()).unwrap(), "three");
    assert!(matches!(exact(&rekeyed, "a", "1"), Err(Error::Retired)));
    assert_eq!(rekeyed.versions(&name("a")).unwrap(), before);
    assert_eq!(
        rekeyed.load(&name("a")).unwrap(),
        Some((revision, b"{}".to_vec()))
    );
    let generations = fs::read_dir(home.store_path()).unwrap();
    assert_eq!(generations.count(), 2, "current and one generation");
}

#[test]
fn a_rekey_that_cannot_remove_the_old_records_reports_success() {
    let home = Home::new();
    let store = home.init();
    put(&store, "a", "one");
    let generations = fs::read_dir(home.store_path()).unwrap();
    let mut generations = generations.map(|entry| entry.unwrap().path());
    let former = generations.find(|path| path.is_dir()).unwrap();
    fs::create_dir(former.join("in-the-way")).unwrap();
    generate_key_file(&home.path("next")).unwrap();
    let error = store.rekey(&StoreKey::KeyFile(home.path("next")));
    let error = error.unwrap_err();
    // After any other error the caller would delete the new key, and the store could no longer be read.
    assert_eq!(error.kind(), Kind::InDoubt);
    let said = error.to_string();
    assert!(
        said.starts_with("everything is sealed with the new key"),
        "{said}"
    );
    let rekeyed = FileStore::open(home.settings_with("next")).unwrap();
    assert_eq!(current(&rekeyed, "a").unwrap(), "one");
    fs::remove_dir(former.join("in-the-way")).unwrap();
    put(&rekeyed, "a", "two");
    assert!(!former.exists());
}

#[test]
fn a_daemon_rereads_a_replaced_key_file() {
    let home = Home::new();
    let store = home.init();
    put(&store, "a", "value");
    let daemon = home.open();
    assert_eq!(current(&daemon, "a").unwrap(), "value");
    generate_key_file(&home.path("next")).unwrap();
    store.rekey(&StoreKey::KeyFile(home.path("next"))).unwrap();
    let error = current(&daemon, "a").unwrap_err();
    assert_eq!(error.kind(), Kind::Undecryptable);
    fs::rename(home.path("next"), home.path("key")).unwrap();
    assert_eq!(current(&daemon, "a").unwrap(), "value");
}

#[test]
fn the_wrong_key_is_one_clear_error_and_changes_nothing() {
    let home = Home::new();
    put(&home.init(), "a", "value");
    generate_key_file(&home.path("other")).unwrap();
    let store = FileStore::new(home.settings_with("other"));
    let expected = format!(
        "this key does not open the store at {}; nothing was changed",
        home.store_path().display()
    );
    let key = StoreKey::KeyFile(home.path("other"));
    for error in [
        current(&store, "a").unwrap_err(),
        store.list().unwrap_err(),
        store
            .put(&name("a"), &secret("x"), &Expected::Anything)
            .unwrap_err(),
        store.rekey(&key).unwrap_err(),
    ] {
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.kind(), Kind::Undecryptable);
    }
    assert_eq!(current(&home.open(), "a").unwrap(), "value");
}

#[test]
fn a_directory_that_is_not_a_store_or_not_private_is_rejected() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let home = Home::new();
    let open = || FileStore::open(home.settings()).unwrap_err();
    assert!(open().to_string().contains("claviger file init --store"));
    fs::create_dir(home.store_path()).unwrap();
    let mode = |mode| fs::set_permissions(home.store_path(), fs::Permissions::from_mode(mode));
    mode(0o755).unwrap();
    let fault = |error| {
        let Error::Directory { fault, .. } = error else {
            panic!("{error}");
        };
        fault
    };
    assert_eq!(fault(open()), DirectoryFault::Mode { mode: 0o755 });
    let init = || FileStore::init(home.settings()).unwrap_err();
    assert_eq!(fault(init()), DirectoryFault::Mode { mode: 0o755 });
    mode(0o700).unwrap();
    assert!(matches!(open(), Error::NoStore(_)));
    fs::write(home.path("store/notes.txt"), "mine").unwrap();
    assert!(matches!(init(), Error::NotEmpty(_)));
    // It may be `/var/lib`: the error must not advise `chmod 700`.
    mode(0o755).unwrap();
    assert!(matches!(init(), Error::NotEmpty(_)));
    assert!(matches!(open(), Error::NoStore(_)));
    mode(0o700).unwrap();
    fs::remove_file(home.path("store/notes.txt")).unwrap();
    home.init();
    assert!(matches!(init(), Error::StoreExists(_)));
    mode(0o750).unwrap();
    assert_eq!(fault(open()), DirectoryFault::Mode { mode: 0o750 });
    mode(0o700).unwrap();
    symlink(home.store_path(), home.path("link")).unwrap();
    let linked = FileSettings {
        directory: home.path("link"),
        ..home.settings()
    };
    let error = FileStore::open(linked).unwrap_err();
    assert_eq!(fault(error), DirectoryFault::NotDirectory);
}

#[test]
fn retiring_destroys_the_value_on_the_disk() {
    let home = Home::new();
    let store = home.init();
    put(&store, "a", "one");
    put(&store, "a", "two");
    let values = || {
        let generation = fs::read_dir(home.store_path()).unwrap();
        let dir = generation
            .map(|entry| entry.unwrap().path())
            .find(|path| path.is_dir());
        let files = fs::read_dir(dir.unwrap()).unwrap();
        files
            .filter(|entry| {
                entry
                    .as_ref()
                    .unwrap()
                    .path()
                    .extension()
                    .is_some_and(|e| e == "value")
            })
            .count()
    };
    assert_eq!(values(), 2);
    store.retire(&name("a"), &id("1")).unwrap();
    assert_eq!(values(), 1);
    let states = store.versions(&name("a")).unwrap();
    assert_eq!(states[0].state, VersionState::Retired);
}

/// When a disk hangs, the work on it continues after its caller has given up.
#[test]
fn a_store_that_hangs_does_not_take_all_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(3)
        .build()
        .unwrap();
    let home = Home::new();
    let backend = Arc::new(crate::FileBackend {
        name: "local".parse().unwrap(),
        store: Arc::new(home.init()),
        threads: Arc::new(tokio::sync::Semaphore::new(crate::THREADS)),
    });
    let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Arc::new(std::sync::Mutex::new(released));
    runtime.block_on(async {
        for _ in 0..5 {
            let (backend, started) = (Arc::clone(&backend), started.clone());
            let released = Arc::clone(&released);
            drop(tokio::spawn(async move {
                let hang = move |_: &FileStore| {
                    started.send(()).unwrap();
                    let _ended = released.lock().unwrap().recv();
                    Ok(())
                };
                backend.run("hang", crate::Effect::Reads, hang).await
            }));
        }
        for _ in 0..crate::THREADS {
            starts.recv().await.unwrap();
        }
        let other = tokio::task::spawn_blocking(|| ());
        tokio::select! {
            done = other => done.unwrap(),
            _ = starts.recv() => panic!("the store took the last thread as well"),
        }
    });
    drop(release);
}
