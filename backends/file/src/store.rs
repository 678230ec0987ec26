//! The store: which generation is current, and how to change it.
//!
//! Owns [`FileStore`] and the `current` file. A reader takes no lock: it reads `current` on every call, and reads the key file
//! again if the generation has changed. A writer holds the `lock`, reads the latest state, and writes in an order of which
//! every prefix is a valid state: value, then index or document (which makes the change visible to readers), then roster.
//! Blocks its thread; the traits in `secrets` and `register` run it on a thread that may block.
//!
//! Deletes nothing until the current generation has opened. Next: `secrets`, `register`, `rekey`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use claviger_backend::{HeapKeeper, KeyKeeper, Kind};

use crate::config::FileSettings;
use crate::disk::{self, Dir, Steps, Write, Written};
use crate::error::{Damage, DirectoryFault, Error};
use crate::generation::Generation;
use crate::lock::{self, Lock};
use crate::roster::{self, Roster};

const CURRENT: &str = "current";

/// A generation's name and a newline fit into this many bytes.
const MAX_CURRENT: usize = 64;

/// How often a reader starts again because the store was rekeyed during the read. Each attempt spans a whole rekey, so a second
/// restart is rare.
const ATTEMPTS: usize = 8;

/// A sealed store in one directory. All methods block; share it by `Arc`.
#[derive(Debug)]
pub struct FileStore {
    settings: FileSettings,
    steps: Arc<Steps>,
    keeper: Arc<dyn KeyKeeper>,
    /// How long a writer waits for another.
    patience: Duration,
    /// The generation opened last, cached because deriving its keys may take half a second.
    opened: Mutex<Option<Arc<Generation>>>,
    /// Whether a swap by this process or an earlier one may be visible but not durable.
    pub(crate) unsure: AtomicBool,
    /// The highest roster counter that this process has read. A lower one means that the whole store was rolled back.
    seen: AtomicU64,
}

impl FileStore {
    /// A store that is opened at its first use. Its keys are kept on the heap, which suits only a short-lived process.
    pub fn new(settings: FileSettings) -> Self {
        Self::with_steps(settings, Arc::default())
    }

    pub(crate) fn with_steps(settings: FileSettings, steps: Arc<Steps>) -> Self {
        Self {
            settings,
            steps,
            keeper: Arc::new(HeapKeeper),
            patience: lock::PATIENCE,
            opened: Mutex::new(None),
            unsure: AtomicBool::new(true),
            seen: AtomicU64::new(0),
        }
    }

    /// Keeps the keys of the store in memory of `keeper`: those of one generation at a time, or of two during a rekey.
    #[must_use]
    pub fn kept_by(mut self, keeper: Arc<dyn KeyKeeper>) -> Self {
        self.keeper = keeper;
        self.opened = Mutex::new(None);
        self
    }

    #[cfg(test)]
    pub(crate) fn without_patience(mut self) -> Self {
        self.patience = Duration::ZERO;
        self
    }

    pub(crate) fn keeper(&self) -> &dyn KeyKeeper {
        &*self.keeper
    }

    /// [`new`](Self::new) and [`check`](Self::check) in one.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn open(settings: FileSettings) -> Result<Self, Error> {
        let store = Self::new(settings);
        store.check()?;
        Ok(store)
    }

    /// Creates an empty store. Also creates the directory unless it exists; its parent must exist.
    ///
    /// # Errors
    /// [`Error::StoreExists`], [`Error::NotEmpty`], or the error of the directory or the key file.
    pub fn init(settings: FileSettings) -> Result<Self, Error> {
        let store = Self::new(settings);
        store.make()?;
        Ok(store)
    }

    pub(crate) fn make(&self) -> Result<(), Error> {
        // Checked first, so that an unusable key leaves nothing behind.
        drop(self.settings.key.read_for_sealing()?);
        let root = Dir::make_root(&self.settings.directory, &self.steps)
            .map_err(|error| unless_something_else(error, Error::NotEmpty))?;
        // Checked before locking, because the lock may create a file, and this may not be the directory of a store. The check
        // under the lock is the one that counts.
        unmade(&root)?;
        let _lock = root.lock(self.patience)?;
        for leftover in unmade(&root)? {
            // A leftover of an interrupted `init`. If it contains secrets or documents, this is a store that has lost its
            // `current` file.
            if let Some(dir) = root.open_dir(&leftover)?
                && !Generation::is_blank(&dir)?
            {
                return Err(Error::damaged(root.path_of(CURRENT), Damage::Missing));
            }
            root.remove_dir(&leftover)?;
        }
        let (generation, ()) =
            Generation::make(&root, &self.settings.key, self.keeper(), |made| {
                made.write_roster(&Roster::following(0))
            })?;
        switch(&root, &generation, Write::New)
    }

    /// Opens the store and verifies the key.
    ///
    /// # Errors
    /// [`Error::NoStore`], [`Error::WrongKey`], [`Error::NotKept`], or the error of the directory, the key file or the store.
    pub fn check(&self) -> Result<(), Error> {
        self.reading(|generation, _roster| generation.dir().names().map(drop))
    }

    /// Fails if the store is on a file system where rotation is not safe.
    pub(crate) fn require_local(&self) -> Result<(), Error> {
        match self.root()?.unsafe_file_system()? {
            None => Ok(()),
            Some(name) => Err(Error::FileSystem {
                directory: self.settings.directory.clone(),
                name,
            }),
        }
    }

    /// Reads from the current generation. `work` may run more than once.
    pub(crate) fn reading<T>(
        &self,
        work: impl Fn(&Generation, &Roster) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut generation = self.generation(&self.root()?)?;
        for _ in 0..ATTEMPTS {
            let result = self
                .roster(&generation)
                .and_then(|roster| work(&generation, &roster));
            let Err(error) = result else { return result };
            // A rekey removes the previous generation while readers use it; the files that they then miss are in the next one.
            let now = self.generation(&self.root()?)?;
            if now.name() == generation.name() {
                return Err(error);
            }
            generation = now;
        }
        Err(Error::Busy)
    }

    /// Waits for the lock, and returns the latest state for a change.
    pub(crate) fn writing(&self) -> Result<Writing, Error> {
        let root = self.root()?;
        // Fail before locking if this is not a store: otherwise the lock file might be the only file in the directory.
        drop(current(&root)?);
        let lock = root.lock(self.patience)?;
        let generation = self.generation(&root)?;
        let roster = self.roster(&generation)?;
        // Leftovers of an interrupted rekey, sealed with the same or another key, which no reader uses. Before they are
        // removed, the `current` file that refers to another generation must be durable.
        let mut leftovers = root.names()?;
        leftovers.retain(|name| Generation::is_name(name) && name != generation.name());
        if !leftovers.is_empty() {
            root.sync()?;
        }
        for name in leftovers {
            root.remove_dir(&name)?;
        }
        Ok(Writing {
            root,
            generation,
            roster,
            _lock: lock,
        })
    }

    fn root(&self) -> Result<Dir, Error> {
        Dir::open_root(&self.settings.directory, &self.steps)
            .map_err(|error| unless_something_else(error, Error::NoStore))
    }

    /// The current generation; opens it if it has changed since the last call.
    fn generation(&self, root: &Dir) -> Result<Arc<Generation>, Error> {
        let mut name = current(root)?;
        for _ in 0..ATTEMPTS {
            let result = self.generation_named(root, &name);
            let Err(error) = result else { return result };
            let now = current(root)?;
            if now == name {
                return Err(error);
            }
            name = now;
        }
        Err(Error::Busy)
    }

    fn generation_named(&self, root: &Dir, name: &str) -> Result<Arc<Generation>, Error> {
        let dir = root
            .open_dir(name)?
            .ok_or_else(|| Error::damaged(root.path_of(name), Damage::Missing))?;
        // Locked while keys are derived, so that concurrent first readers derive them once.
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = &*opened
            && held.name() == name
            && held.dir().is_same(&dir)?
        {
            return Ok(Arc::clone(held));
        }
        let (key, keeper) = (&self.settings.key, self.keeper());
        let generation = Arc::new(Generation::open(root, name, dir, key, keeper)?);
        *opened = Some(Arc::clone(&generation));
        Ok(generation)
    }

    fn roster(&self, generation: &Generation) -> Result<Roster, Error> {
        // Loaded before the file is read, so that a newer roster read by another thread does not make this one look rolled
        // back.
        let seen = self.seen.load(Ordering::SeqCst);
        let roster = generation.roster()?;
        if roster.counter < seen {
            let path = generation.dir().path().to_owned();
            return Err(Error::damaged(path, Damage::RolledBack));
        }
        self.seen.fetch_max(roster.counter, Ordering::SeqCst);
        Ok(roster)
    }
}

/// A store that is locked for writing.
#[derive(Debug)]
pub(crate) struct Writing {
    pub(crate) root: Dir,
    pub(crate) generation: Arc<Generation>,
    pub(crate) roster: Roster,
    _lock: Lock,
}

impl Writing {
    /// Fails if the roster cannot take another file.
    pub(crate) fn make_room(&self) -> Result<(), Error> {
        if self.roster.files().count() < roster::MAX_FILES {
            return Ok(());
        }
        Err(Error::Full {
            what: "secrets and documents",
            limit: roster::MAX_FILES,
        })
    }

    /// Records in the roster that a file was written. The change is already visible to readers.
    pub(crate) fn note(&mut self, file: &str, counter: u64) -> Result<(), Error> {
        self.roster.note(file, counter);
        self.generation
            .write_roster(&self.roster)
            .map_err(Error::after_commit)
    }
}

/// Makes a generation the current one. Before this call, readers do not see it. If it certainly did not become current, it is
/// removed.
pub(crate) fn switch(root: &Dir, generation: &Generation, how: Write) -> Result<(), Error> {
    let line = format!("{}\n", generation.name());
    let switched = match root.write(CURRENT, line.as_bytes(), how) {
        Ok(Written::Done) => Ok(()),
        Ok(Written::Exists) => Err(Error::StoreExists(root.path().to_owned())),
        Err(error) => Err(error),
    };
    switched.inspect_err(|error| {
        if error.kind() != Kind::InDoubt {
            drop(root.remove_dir(generation.name()));
        }
    })
}

/// Replaces the error about the mode of a directory that contains other files: an operator who gives `/var/lib` by mistake must
/// not be advised to run `chmod 700` on it.
fn unless_something_else(error: Error, instead: fn(PathBuf) -> Error) -> Error {
    if let Error::Directory {
        path,
        fault: DirectoryFault::Mode { .. },
    } = &error
        && is_something_else(path)
    {
        return instead(path.clone());
    }
    error
}

fn is_something_else(directory: &Path) -> bool {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let ours = |name: &String| name == CURRENT || Generation::is_name(name);
    !names.is_empty() && !names.iter().any(ours)
}

/// Checks that a directory can become a store, and returns what earlier attempts left in it.
fn unmade(root: &Dir) -> Result<Vec<String>, Error> {
    let mut names = root.names()?;
    if names.iter().any(|name| name == CURRENT) {
        return Err(Error::StoreExists(root.path().to_owned()));
    }
    names.retain(|name| name != lock::FILE && name != disk::WRITING);
    if names.iter().all(|name| Generation::is_name(name)) {
        Ok(names)
    } else {
        Err(Error::NotEmpty(root.path().to_owned()))
    }
}

/// The name of the current generation.
fn current(root: &Dir) -> Result<String, Error> {
    let damaged = |how| Error::damaged(root.path_of(CURRENT), how);
    let Some(line) = root.read(CURRENT, MAX_CURRENT)? else {
        // Without `current`, a directory that contains generations is a store that has lost a file; any other is not a store.
        let generations = root
            .names()?
            .into_iter()
            .any(|name| Generation::is_name(&name));
        return Err(if generations {
            damaged(Damage::Missing)
        } else {
            Error::NoStore(root.path().to_owned())
        });
    };
    line.strip_suffix(b"\n")
        .and_then(|name| std::str::from_utf8(name).ok())
        .filter(|name| Generation::is_name(name))
        .map(str::to_owned)
        .ok_or_else(|| damaged(Damage::Foreign))
}
