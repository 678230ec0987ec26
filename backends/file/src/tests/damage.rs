//! Damage: every file altered, truncated, removed, swapped and rolled back.
//!
//! Whatever is done to the files of a store, a read returns the value or an error that names the file. The store never panics,
//! never seems empty, and never deletes a file.

use super::*;

/// A store with two secrets and a document.
fn prepared() -> Home {
    let home = Home::new();
    let store = home.init();
    put(&store, "a", "one");
    put(&store, "a", "two");
    put(&store, "b", "other");
    store.swap(&name("a"), None, b"{}").unwrap();
    home
}

/// All files of the store except the lock, which is empty.
fn files(home: &Home) -> Vec<PathBuf> {
    let mut files = vec![home.path("store/current")];
    let mut inner = fs::read_dir(generation(home)).unwrap();
    files.extend(inner.by_ref().map(|entry| entry.unwrap().path()));
    files.sort();
    assert_eq!(
        files.len(),
        10,
        "current, header, check, roster, 2 indexes, 3 values, 1 document"
    );
    files
}

fn generation(home: &Home) -> PathBuf {
    let mut entries = fs::read_dir(home.store_path())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries.find(|path| path.is_dir()).unwrap()
}

/// Reads everything in the store, and returns the errors.
fn use_all(store: &FileStore) -> Vec<Error> {
    let mut errors = Vec::new();
    match store.list() {
        Ok(listed) => assert_eq!(listed.len(), 2, "a damaged store never seems empty"),
        Err(error) => errors.push(error),
    }
    for (at, version, expected) in [("a", "1", "one"), ("a", "2", "two"), ("b", "1", "other")] {
        match exact(store, at, version) {
            Ok(value) => assert_eq!(value, expected),
            Err(error) => errors.push(error),
        }
    }
    match store.load(&name("a")) {
        Ok(document) => assert_eq!(document.unwrap().1, b"{}"),
        Err(error) => errors.push(error),
    }
    errors
}

/// Asserts that damage to `path` is detected, and that the error names it.
fn expect_detected(home: &Home, path: &Path, what: &str) {
    let errors = use_all(&FileStore::new(home.settings()));
    assert!(
        !errors.is_empty(),
        "{what} of {} is not detected",
        path.display()
    );
    for error in errors {
        let kind = error.kind();
        assert!(
            matches!(kind, Kind::Undecryptable | Kind::InvalidResponse),
            "{what}: {kind:?} {error}"
        );
        let named = error.to_string().contains(path.to_str().unwrap());
        // A check record that does not open looks like a wrong key, and a `current` file with a wrong name is detected as a
        // missing generation.
        let excused = path.ends_with("check") || path.ends_with("current");
        assert!(named || excused, "{what} of {}: {error}", path.display());
    }
}

#[test]
fn every_flipped_byte_is_detected_and_the_file_is_named() {
    let home = prepared();
    assert!(use_all(&home.open()).is_empty());
    for path in files(&home) {
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x41;
            fs::write(&path, flipped).unwrap();
            expect_detected(&home, &path, &format!("a flip at byte {at}"));
        }
        fs::write(&path, whole).unwrap();
    }
    assert!(use_all(&home.open()).is_empty(), "no damage is left behind");
}

#[test]
fn every_truncation_and_every_extension_is_detected() {
    let home = prepared();
    for path in files(&home) {
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            expect_detected(&home, &path, &format!("a cut at {length}"));
        }
        for more in [1, 100, 2_000_000] {
            let mut longer = whole.clone();
            longer.resize(whole.len() + more, b'x');
            fs::write(&path, longer).unwrap();
            expect_detected(&home, &path, "an addition");
        }
        fs::write(&path, whole).unwrap();
    }
}

#[test]
fn every_missing_and_every_swapped_file_is_detected() {
    let home = prepared();
    let files = files(&home);
    let aside = home.path("aside");
    for path in &files {
        fs::rename(path, &aside).unwrap();
        expect_detected(&home, path, "removal");
        fs::create_dir(path).unwrap();
        expect_detected(&home, path, "a directory in place");
        fs::remove_dir(path).unwrap();
        for other in files.iter().filter(|other| *other != path) {
            fs::copy(other, path).unwrap();
            expect_detected(&home, path, "a swap");
        }
        fs::remove_file(path).unwrap();
        fs::rename(&aside, path).unwrap();
    }
    assert!(use_all(&home.open()).is_empty());
}

#[test]
fn an_older_copy_of_any_file_is_detected() {
    let home = prepared();
    let old = home.path("old");
    copy(&generation(&home), &old);
    let store = home.open();
    put(&store, "a", "three");
    put(&store, "b", "another");
    let (revision, _) = store.load(&name("a")).unwrap().unwrap();
    store
        .swap(&name("a"), Some(&revision), b"{\"n\":2}")
        .unwrap();
    let mut noticed = 0;
    for entry in fs::read_dir(&old).unwrap() {
        let entry = entry.unwrap();
        let path = generation(&home).join(entry.file_name());
        let new = fs::read(&path).unwrap();
        let former = fs::read(entry.path()).unwrap();
        if new == former || path.ends_with("roster") {
            continue;
        }
        fs::write(&path, former).unwrap();
        let anew = FileStore::new(home.settings());
        let errors = [
            current(&anew, "a").err(),
            current(&anew, "b").err(),
            anew.load(&name("a")).err(),
        ];
        let errors = errors.into_iter().flatten().collect::<Vec<_>>();
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0].to_string().contains("rolled back"),
            "{}",
            errors[0]
        );
        noticed += 1;
        fs::write(&path, new).unwrap();
    }
    assert_eq!(noticed, 3, "two indexes and a document");
}

#[test]
fn a_rollback_of_the_whole_store_is_detected_by_a_running_process() {
    let home = prepared();
    let old = home.path("old");
    copy(&home.store_path(), &old);
    let store = home.open();
    put(&store, "a", "three");
    assert_eq!(current(&store, "a").unwrap(), "three");
    fs::remove_dir_all(home.store_path()).unwrap();
    copy(&old, &home.store_path());
    let error = current(&store, "a").unwrap_err();
    assert!(error.to_string().contains("rolled back"), "{error}");
    // A process that starts after the restore accepts the older store.
    assert_eq!(current(&home.open(), "a").unwrap(), "two");
}

#[test]
fn init_does_not_replace_a_store_that_lost_its_current_file() {
    let home = prepared();
    fs::remove_file(home.path("store/current")).unwrap();
    let error = FileStore::init(home.settings()).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidResponse);
    let inner = fs::read_dir(generation(&home)).unwrap().count();
    assert_eq!(inner, 9, "nothing was deleted");
}
