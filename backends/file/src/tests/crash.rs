//! A crash at every step of every operation.
//!
//! From a given step on, all changes of a store fail, which leaves the directory as if the process had been killed there.
//! Another store then opens the directory. It must find the complete state before or after the operation, and must be able to
//! repeat the operation.

use super::*;

/// Everything that can be read from a store.
#[derive(Debug, PartialEq)]
struct Seen {
    names: Vec<String>,
    values: Vec<String>,
    document: Option<Vec<u8>>,
}

/// The contents of the store, with the value of every readable version.
fn seen(store: &FileStore) -> Seen {
    let listed = store.list().unwrap();
    let names = listed.iter().map(|secret| secret.name.to_string());
    let names = names.collect::<Vec<_>>();
    let mut values = Vec::new();
    for at in &names {
        for info in store.versions(&name(at)).unwrap() {
            let value = match info.state {
                VersionState::Retired => "-".to_owned(),
                VersionState::Current | VersionState::Staged | VersionState::Previous => {
                    exact(store, at, info.version.as_str()).unwrap()
                }
            };
            values.push(format!("{at} {:?} {value}", info.state));
        }
    }
    let document = store.load(&name("a")).unwrap();
    Seen {
        names,
        values,
        document: document.map(|(_, bytes)| bytes),
    }
}

/// Version 1 previous, 2 current, 3 staged, and a document.
fn prepared() -> Home {
    let home = Home::new();
    let store = home.init();
    put(&store, "a", "one");
    put(&store, "a", "two");
    store
        .stage(&name("a"), &secret("three"), &label("op"))
        .unwrap();
    store.swap(&name("a"), None, b"{}").unwrap();
    home
}

/// Runs `work` with a crash at each step in turn.
fn crash_at_every_step(work: impl Fn(&FileStore) -> Result<(), Error>) -> u64 {
    for step in 0.. {
        let home = prepared();
        let before = seen(&home.open());
        let steps = Steps::dying_at(step);
        let result = work(&home.with_steps(&steps));
        let after = seen(&home.open());
        if result.is_ok() {
            assert_ne!(before, after, "the work changes the store");
            return steps.passed();
        }
        let error = result.unwrap_err();
        if after == before {
            // The crash may have been at the step that makes the change durable.
            assert_ne!(error.kind(), Kind::Conflict);
        } else {
            assert_eq!(
                error.kind(),
                Kind::InDoubt,
                "step {step}: the change is visible, so the error must be in doubt"
            );
        }
        let again = work(&home.open());
        assert!(
            again.is_ok() || after != before,
            "step {step}: nothing changed, but the work cannot be repeated: {again:?}"
        );
        let last = seen(&home.open());
        assert!(last != before, "step {step}: the repeated work took effect");
    }
    0
}

#[test]
fn a_put_is_atomic() {
    let steps = crash_at_every_step(|store| {
        let expected = Expected::Version(id("2"));
        store.put(&name("a"), &secret("four"), &expected).map(drop)
    });
    assert!(steps > 15, "value, index and roster take {steps} steps");
}

#[test]
fn a_new_secret_is_atomic() {
    crash_at_every_step(|store| {
        store
            .put(&name("new"), &secret("value"), &Expected::Nothing)
            .map(drop)
    });
}

#[test]
fn a_stage_is_atomic_and_never_repeated() {
    crash_at_every_step(|store| {
        let version = store.stage(&name("a"), &secret("four"), &label("other"))?;
        assert_eq!(exact(store, "a", version.as_str()).unwrap(), "four");
        assert_eq!(store.versions(&name("a")).unwrap().len(), 4);
        Ok(())
    });
}

#[test]
fn a_promotion_is_atomic() {
    crash_at_every_step(|store| store.promote(&name("a"), &id("2"), &id("3")));
}

#[test]
fn a_retirement_is_atomic() {
    crash_at_every_step(|store| store.retire(&name("a"), &id("1")));
}

#[test]
fn a_swap_is_atomic() {
    crash_at_every_step(|store| {
        let revision = store.load(&name("a"))?.map(|(revision, _)| revision);
        store
            .swap(&name("a"), revision.as_ref(), b"{\"n\":2}")
            .map(drop)
    });
}

#[test]
fn a_repeated_change_is_made_durable_before_it_succeeds() {
    let home = prepared();
    let promote = |store: &FileStore| store.promote(&name("a"), &id("2"), &id("3"));
    let stage = |store: &FileStore| {
        store
            .stage(&name("a"), &secret("three"), &label("op"))
            .map(drop)
    };
    let load = |store: &FileStore| store.load(&name("a")).map(drop);
    promote(&home.open()).unwrap();
    for (what, work) in [
        (
            "promote",
            &promote as &dyn Fn(&FileStore) -> Result<(), Error>,
        ),
        ("stage", &stage),
        ("load", &load),
    ] {
        let error = work(&home.with_steps(&Steps::dying_at(0))).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{what}: {error}");
        work(&home.open()).unwrap();
    }
    // Not at every load of the register: once for earlier processes, and again after a swap in doubt by this one.
    let steps = Steps::dying_at(u64::MAX);
    let store = home.with_steps(&steps);
    load(&store).unwrap();
    let once = steps.passed();
    load(&store).unwrap();
    assert_eq!(steps.passed(), once);
}

#[test]
fn the_next_writer_records_what_a_crashed_writer_did_not() {
    let mut behind = 0;
    for step in 0.. {
        let home = prepared();
        let promote = |store: &FileStore| store.promote(&name("a"), &id("2"), &id("3"));
        let dead = promote(&home.with_steps(&Steps::dying_at(step)));
        let noted = || {
            let store = home.open();
            let writing = store.writing().unwrap();
            let index = writing.generation.index(&writing.roster, &name("a"));
            let file = writing.generation.index_file("a");
            writing.roster.floor(&file) == index.unwrap().unwrap().counter()
        };
        behind += u32::from(!noted());
        promote(&home.open()).unwrap();
        assert!(noted(), "killed at step {step}");
        if dead.is_ok() {
            assert!(behind > 0);
            return;
        }
    }
}

/// Every file below the store, with its size.
fn files(home: &Home) -> Vec<(PathBuf, u64)> {
    let mut files = Vec::new();
    let mut directories = vec![home.store_path()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
            } else {
                files.push((entry.path(), entry.metadata().unwrap().len()));
            }
        }
    }
    files.sort();
    files
}

/// An operation on a store whose disk is full.
type Work<'a> = &'a dyn Fn(&Home, &FileStore) -> Result<(), Error>;

#[test]
fn a_full_disk_changes_nothing_and_leaves_no_files() {
    let key = |home: &Home| {
        generate_key_file(&home.path("next")).unwrap();
        StoreKey::KeyFile(home.path("next"))
    };
    let works: [(&str, Work<'_>); 5] = [
        ("put", &|_, store| {
            store
                .put(&name("a"), &secret("four"), &Expected::Anything)
                .map(drop)
        }),
        ("new", &|_, store| {
            store
                .put(&name("b"), &secret("one"), &Expected::Nothing)
                .map(drop)
        }),
        ("stage", &|_, store| {
            store
                .stage(&name("a"), &secret("four"), &label("other"))
                .map(drop)
        }),
        ("swap", &|_, store| {
            let revision = store.load(&name("a"))?.map(|(revision, _)| revision);
            store
                .swap(&name("a"), revision.as_ref(), b"{\"n\":2}")
                .map(drop)
        }),
        ("rekey", &|home, store| store.rekey(&key(home)).map(drop)),
    ];
    for (what, work) in works {
        for step in 0.. {
            let home = prepared();
            let (before, seen_before) = (files(&home), seen(&home.open()));
            let Err(error) = work(&home, &home.with_steps(&Steps::full_at(step))) else {
                assert!(step > 5, "{what}: {step} steps");
                break;
            };
            if error.kind() == Kind::InDoubt {
                continue;
            }
            assert_eq!(error.kind(), Kind::Quota, "{what}: {error}");
            assert_eq!(seen(&home.open()), seen_before, "{what} at step {step}");
            assert_eq!(files(&home), before, "{what} at step {step}");
        }
    }
}

#[test]
fn an_interrupted_init_can_be_repeated() {
    for step in 0.. {
        let home = Home::new();
        let dead = home.with_steps(&Steps::dying_at(step)).make();
        if dead.is_ok() {
            assert!(step > 20, "{step} steps");
            return;
        }
        let opened = FileStore::open(home.settings());
        if opened.is_err() {
            // Nothing was ever stored in it, so `init` completes it.
            home.init();
        }
        put(&home.open(), "a", "value");
        assert_eq!(current(&home.open(), "a").unwrap(), "value");
    }
}

#[test]
fn an_interrupted_rekey_leaves_exactly_one_key_that_opens_the_store() {
    let mut switched = 0_u32;
    let mut kept = 0_u32;
    for step in 0.. {
        let home = prepared();
        generate_key_file(&home.path("next")).unwrap();
        let key = StoreKey::KeyFile(home.path("next"));
        let before = seen(&home.open());
        let dead = home.with_steps(&Steps::dying_at(step)).rekey(&key);

        let old = FileStore::open(home.settings());
        let new = FileStore::open(home.settings_with("next"));
        let (opens, locked, was_switched) = match (old, new) {
            (Ok(old), Err(locked)) => (old, locked, false),
            (Err(locked), Ok(new)) => (new, locked, true),
            both => panic!("step {step}: exactly one key opens the store: {both:?}"),
        };
        assert!(matches!(locked, Error::WrongKey(_)), "{locked}");
        assert_eq!(seen(&opens), before, "step {step}");
        if dead.is_ok() {
            assert!(
                was_switched && switched > 2 && kept > 50,
                "{kept} {switched}"
            );
            return;
        }
        if was_switched {
            switched += 1;
            assert_eq!(dead.unwrap_err().kind(), Kind::InDoubt, "step {step}");
        } else {
            kept += 1;
        }
        // The next writer removes the leftovers.
        put(&opens, "b", "later");
        let entries = fs::read_dir(home.store_path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let generations = names.filter(|name| name.starts_with("g-")).count();
        assert_eq!(generations, 1, "step {step}");
        assert_eq!(current(&opens, "b").unwrap(), "later");
    }
}
