//! Where copies of a file may remain.
//!
//! Owns the look round a file that is about to go: a git work tree, whose history keeps what was ever committed, and files
//! beside it that are named like copies. Looks at names alone and opens nothing; runs no program, because the configuration
//! of a repository can name one. What it finds is a hint for people; it proves nothing.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// So many files that are named like copies are told.
const MOST_COPIES: usize = 5;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// The root of the git work tree that the file lies in.
    pub git: Option<PathBuf>,
    /// Files beside it that are named like copies, some of them if there are many; printable.
    pub copies: Vec<String>,
}

/// Looks round the file at `path`. What cannot be looked at is passed over.
#[must_use]
pub fn look(path: &Path) -> Remains {
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let (Some(name), Ok(folder)) = (path.file_name(), fs::canonicalize(folder)) else {
        return Remains::default();
    };
    Remains {
        git: work_tree(&folder),
        copies: copies(&folder, name),
    }
}

/// The nearest folder upwards that git calls a work tree: it has a `.git`, which is a file in a linked one.
fn work_tree(folder: &Path) -> Option<PathBuf> {
    let mut upwards = folder.ancestors();
    let root = upwards.find(|folder| folder.join(".git").symlink_metadata().is_ok())?;
    Some(root.to_owned())
}

fn copies(folder: &Path, name: &OsStr) -> Vec<String> {
    let name = name.to_string_lossy();
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut copies: Vec<_> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|other| is_copy(other, &name))
        // Whoever named the file may have meant the terminal.
        .map(|other| other.escape_debug().to_string())
        .collect();
    copies.sort();
    copies.truncate(MOST_COPIES);
    copies
}

/// Whether people, editors or tools give a copy of `name` such a name: `.env.bak`, `.env~`, `#.env#`, `.env.swp`, `..env.swp`.
fn is_copy(other: &str, name: &str) -> bool {
    let bare = other.strip_prefix(['#', '.']).unwrap_or(other);
    let behind = |text: &str| {
        let rest = text.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['.', '~', '-', '_', '#']))
    };
    behind(other) || behind(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_known_by_their_names() {
        for other in [
            ".env.bak",
            ".env~",
            ".env-old",
            ".env.swp",
            "..env.swp",
            "#.env#",
        ] {
            assert!(is_copy(other, ".env"), "{other}");
        }
        for other in [".env", ".envrc", "env.bak", "x.env.bak", ".", "a.toml"] {
            assert!(!is_copy(other, ".env"), "{other}");
        }
    }

    #[test]
    fn the_surroundings_of_a_file_are_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        let path = deep.join(".env");
        for name in [".env", ".env.bak", ".env.\u{1b}[2J", "other"] {
            fs::write(deep.join(name), "A=1").unwrap();
        }
        let found = look(&path);
        assert_eq!(found.copies, [".env.\\u{1b}[2J", ".env.bak"]);
        // Somebody may have a repository above all temporary folders.
        let above = found.git;
        for marker in ["a/.git", "a/b/.git"] {
            // In a linked work tree it is a file.
            fs::write(folder.path().join(marker), "gitdir: elsewhere").unwrap();
            let root = fs::canonicalize(folder.path().join(marker)).unwrap();
            assert_eq!(look(&path).git.as_deref(), root.parent());
        }
        assert!(!above.is_some_and(|above| above.starts_with(folder.path())));
        assert_eq!(look(Path::new("/no/such/.env")), Remains::default());
    }
}
