//! Files that only root and the user of this process can have made or changed.
//!
//! Owns the judgement of a file and of its way: every directory and every symbolic link that a path leads through belongs to
//! root or to this user, and no other user can write to the directories. Links are followed here, one component at a time and
//! by descriptor, so that each is judged and none can be exchanged afterwards. Never follows a link that it has not judged,
//! and never waits for a pipe.
//!
//! Two kinds of directories may be writable by others: sticky ones, such as `/tmp`, because users can replace only their own
//! entries there, and those of a read-only mount, such as a `ConfigMap` of Kubernetes.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, StatVfsMountFlags};
use rustix::io::Errno;

use super::file::{Access, NotOpened, open_regular};

/// How many links a path may lead through, as for the kernel.
const MOST_LINKS: u32 = 40;

/// In a directory with this bit a user can rename and remove only files of its own.
const STICKY: u32 = 0o1000;

/// The permission bits by which group and others could write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Directories below which others have theirs, besides the root and what lies in it.
const SYSTEM: [&str; 6] = [
    "/dev/shm",
    "/run/lock",
    "/run/user",
    "/usr/local",
    "/var/lib",
    "/var/tmp",
];

/// Why something is not trusted, or cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} {what}", path.display())]
pub struct Untrusted {
    /// The file itself, or a directory or link on its way.
    pub path: PathBuf,
    /// What is wrong with it, and what to do.
    pub what: Flaw,
}

/// What is wrong with a file, a directory or a link.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// It belongs to another user.
    #[error("belongs to user {owner}, who could change it; {remedy}")]
    Owner {
        /// That user.
        owner: u32,
        /// What to do.
        remedy: String,
    },
    /// Other users can write to it.
    #[error("can be written by its group or by others (mode {mode:o}); {remedy}")]
    Writable {
        /// Its mode.
        mode: u32,
        /// What to do.
        remedy: String,
    },
    /// The path leads through it as if it were a directory.
    #[error("is not a directory")]
    NotDirectory,
    /// A directory, a pipe, a socket or a device.
    #[error("is not a regular file")]
    NotFile,
    /// It is larger than anything of its kind.
    #[error("is larger than {} MiB", limit / (1024 * 1024))]
    TooLarge {
        /// The largest size, in bytes.
        limit: u64,
    },
    /// Its links lead in a circle.
    #[error("leads through too many symbolic links")]
    Links,
    /// A system call failed.
    #[error("cannot be opened: {}", .0.kind())]
    System(io::Error),
}

impl Untrusted {
    fn new(path: &Path, what: Flaw) -> Self {
        Self {
            path: path.to_owned(),
            what,
        }
    }

    /// A directory that others can write to.
    #[must_use]
    pub fn writable(directory: &Path, mode: u32) -> Self {
        let remedy = remedy(directory, mode, "go-w");
        Self::new(directory, Flaw::Writable { mode, remedy })
    }
}

/// What to do about the mode of a directory: `chmod` with `change`, but never for one that others use, too.
#[must_use]
pub fn remedy(directory: &Path, mode: u32, change: &str) -> String {
    let path = directory.display();
    let in_root = directory.components().count() <= 2;
    if in_root || mode & STICKY != 0 || SYSTEM.iter().any(|system| directory == *system) {
        let path = path.to_string();
        let path = path.trim_end_matches('/');
        return format!("use a directory of claviger's own, such as {path}/claviger");
    }
    format!("run `chmod {change} {path}`")
}

/// What lies at a path whose every component is trusted.
#[derive(Debug)]
pub enum Found {
    /// Nothing: a component is missing.
    Missing,
    /// A directory, by its real path, with its mode.
    Directory {
        /// Its path without links.
        path: PathBuf,
        /// The permission bits, the sticky bit included.
        mode: u32,
    },
    /// Anything else, which is not judged itself.
    Other(Entry),
}

/// An entry of a trusted directory.
#[derive(Debug)]
pub struct Entry {
    directory: OwnedFd,
    name: OsString,
    path: PathBuf,
}

/// Follows a path, and judges every directory and link on the way.
///
/// # Errors
/// [`Untrusted`] for the first component that is not trusted or cannot be read.
pub fn follow(path: &Path) -> Result<Found, Untrusted> {
    let unusable = |error| Untrusted::new(path, Flaw::System(error));
    let absolute = std::path::absolute(path).map_err(unusable)?;
    let mut walk = Walk::begin()?;
    walk.lead_to(&absolute);
    while let Some(name) = walk.rest.pop_front() {
        if let Some(found) = walk.step(name)? {
            return Ok(found);
        }
    }
    let stat = rustix::fs::fstat(&walk.directory).map_err(|errno| unusable(errno.into()))?;
    Ok(Found::Directory {
        path: walk.at,
        mode: stat.st_mode & 0o7777,
    })
}

/// Reads a regular file of at most `limit` bytes that is trusted, as is its way.
///
/// # Errors
/// [`Untrusted`]; a missing file is [`Flaw::System`] with `NotFound`.
pub fn read_trusted(path: &Path, limit: u64) -> Result<Vec<u8>, Untrusted> {
    let entry = match follow(path)? {
        Found::Other(entry) => entry,
        Found::Directory { path, .. } => return Err(Untrusted::new(&path, Flaw::NotFile)),
        Found::Missing => {
            let absent = io::ErrorKind::NotFound.into();
            return Err(Untrusted::new(path, Flaw::System(absent)));
        }
    };
    let refuse = |flaw| Untrusted::new(&entry.path, flaw);
    let (file, metadata) = open_regular(&entry.directory, Path::new(&entry.name), Access::Read)
        .map_err(|error| {
            refuse(match error {
                NotOpened::Link | NotOpened::NotFile => Flaw::NotFile,
                NotOpened::System(error) => Flaw::System(error),
            })
        })?;
    judge_owner(
        &entry.path,
        metadata.uid(),
        &format!("run `chown root {}`", entry.path.display()),
    )?;
    let mode = metadata.mode() & 0o7777;
    if mode & WRITABLE_BY_OTHERS != 0 {
        let remedy = format!("run `chmod go-w {}`", entry.path.display());
        return Err(refuse(Flaw::Writable { mode, remedy }));
    }
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| refuse(Flaw::System(error)))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > limit) {
        return Err(refuse(Flaw::TooLarge { limit }));
    }
    Ok(bytes)
}

/// A path that is being followed.
struct Walk {
    directory: OwnedFd,
    /// Its real path, for messages.
    at: PathBuf,
    rest: VecDeque<OsString>,
    links: u32,
}

impl Walk {
    fn begin() -> Result<Self, Untrusted> {
        let root = Path::new("/");
        Ok(Self {
            directory: open_directory(CWD, root.as_os_str(), root)?,
            at: root.to_owned(),
            rest: VecDeque::new(),
            links: 0,
        })
    }

    /// Puts the components of a path before the rest.
    fn lead_to(&mut self, path: &Path) {
        for component in path.components().rev() {
            if component != Component::CurDir {
                self.rest.push_front(component.as_os_str().to_owned());
            }
        }
    }

    /// Takes one component; gives what was found if the way ends here.
    fn step(&mut self, name: OsString) -> Result<Option<Found>, Untrusted> {
        let path = match name.as_encoded_bytes() {
            b"/" => PathBuf::from("/"),
            b".." => self.at.parent().unwrap_or(Path::new("/")).to_owned(),
            _ => self.at.join(&name),
        };
        let unusable = |errno: Errno| Untrusted::new(&path, Flaw::System(errno.into()));
        let entry = match open_entry(&self.directory, &name) {
            Ok(entry) => entry,
            Err(Errno::NOENT) => return Ok(Some(Found::Missing)),
            Err(errno) => return Err(unusable(errno)),
        };
        let stat = rustix::fs::fstat(&entry).map_err(unusable)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                judge_directory(&entry, &stat, &path)?;
                self.directory = entry;
                self.at = path;
                Ok(None)
            }
            FileType::Symlink => {
                self.links = self.links.saturating_add(1);
                if self.links > MOST_LINKS {
                    return Err(Untrusted::new(&path, Flaw::Links));
                }
                judge_owner(
                    &path,
                    stat.st_uid,
                    &format!("run `chown -h root {}`", path.display()),
                )?;
                let target = rustix::fs::readlinkat(&entry, "", Vec::new()).map_err(unusable)?;
                self.lead_to(Path::new(&OsString::from_vec(target.into_bytes())));
                Ok(None)
            }
            FileType::RegularFile
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => self.end(name, path).map(Some),
        }
    }

    /// Ends the way at something that is no directory.
    fn end(&self, name: OsString, path: PathBuf) -> Result<Found, Untrusted> {
        if !self.rest.is_empty() {
            return Err(Untrusted::new(&path, Flaw::NotDirectory));
        }
        let unusable = |error| Untrusted::new(&path, Flaw::System(error));
        let directory = self.directory.try_clone().map_err(unusable)?;
        Ok(Found::Other(Entry {
            directory,
            name,
            path,
        }))
    }
}

/// Opens an entry without following or reading it.
fn open_entry(directory: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}

fn open_directory(from: impl AsFd, name: &OsStr, path: &Path) -> Result<OwnedFd, Untrusted> {
    let unusable = |errno: Errno| Untrusted::new(path, Flaw::System(errno.into()));
    let directory = open_entry(from, name).map_err(unusable)?;
    let stat = rustix::fs::fstat(&directory).map_err(unusable)?;
    judge_directory(&directory, &stat, path)?;
    Ok(directory)
}

fn judge_directory(directory: &OwnedFd, stat: &Stat, path: &Path) -> Result<(), Untrusted> {
    let remedy = "use one of root or of the daemon's user";
    judge_owner(path, stat.st_uid, remedy)?;
    let mode = stat.st_mode & 0o7777;
    if mode & WRITABLE_BY_OTHERS == 0 || mode & STICKY != 0 {
        return Ok(());
    }
    let mount = rustix::fs::fstatvfs(directory);
    if mount.is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::RDONLY)) {
        return Ok(());
    }
    Err(Untrusted::writable(path, mode))
}

fn judge_owner(path: &Path, owner: u32, remedy: &str) -> Result<(), Untrusted> {
    if owner == 0 || owner == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let remedy = remedy.to_owned();
    Err(Untrusted::new(path, Flaw::Owner { owner, remedy }))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};

    use super::*;

    const LIMIT: u64 = 1024 * 1024;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn refusal(path: &Path) -> String {
        read_trusted(path, LIMIT).unwrap_err().to_string()
    }

    #[test]
    fn a_config_map_is_read_and_its_links_are_judged() {
        let home = tempfile::tempdir().unwrap();
        let volume = home.path().join("volume");
        fs::create_dir_all(volume.join("..2026")).unwrap();
        fs::write(volume.join("..2026/claviger.toml"), "text").unwrap();
        symlink("..2026", volume.join("..data")).unwrap();
        symlink("..data/claviger.toml", volume.join("claviger.toml")).unwrap();
        let file = volume.join("claviger.toml");
        assert_eq!(read_trusted(&file, LIMIT).unwrap(), b"text");
        assert_eq!(
            read_trusted(&volume.join("../volume/claviger.toml"), LIMIT).unwrap(),
            b"text"
        );

        chmod(&volume.join("..2026"), 0o775);
        let said = refusal(&file);
        assert!(
            said.contains("..2026 can be written") && said.contains("chmod go-w"),
            "{said}"
        );
        chmod(&volume.join("..2026"), 0o1777);
        assert!(read_trusted(&file, LIMIT).is_ok(), "sticky");
        // Only root can make a link of another user.
        if lchown(volume.join("..data"), Some(4242), None).is_ok() {
            let said = refusal(&file);
            assert!(said.contains("..data belongs to user 4242"), "{said}");
        }
    }

    #[test]
    fn only_a_trusted_regular_file_is_read() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::write(at("file"), "text").unwrap();
        for mode in [0o666, 0o620] {
            chmod(&at("file"), mode);
            let said = refusal(&at("file"));
            assert!(said.contains("chmod go-w"), "{said}");
        }
        chmod(&at("file"), 0o640);
        assert_eq!(read_trusted(&at("file"), 4).unwrap(), b"text");
        let large = read_trusted(&at("file"), 3).unwrap_err();
        assert!(matches!(large.what, Flaw::TooLarge { limit: 3 }));
        rustix::fs::mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        for name in ["pipe", ""] {
            assert!(refusal(&at(name)).contains("not a regular file"), "{name}");
        }
        assert!(refusal(&at("file/below")).contains("not a directory"));
        symlink(at("circle"), at("circle")).unwrap();
        assert!(refusal(&at("circle")).contains("too many"));
        symlink("nowhere", at("dangling")).unwrap();
        for name in ["absent", "absent/below", "dangling"] {
            let error = read_trusted(&at(name), LIMIT).unwrap_err();
            let absent = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
            assert!(
                matches!(&error.what, Flaw::System(why) if absent(why)),
                "{name}: {error}"
            );
        }
    }

    #[test]
    fn the_mode_of_a_directory_that_others_use_is_left_alone() {
        for (path, mode, change) in [
            ("/", 0o777, false),
            ("/run", 0o755, false),
            ("/tmp", 0o1777, false),
            ("/var/tmp", 0o777, false),
            ("/srv/shared", 0o1777, false),
            ("/srv/claviger", 0o777, true),
        ] {
            let remedy = remedy(Path::new(path), mode, "go-w");
            assert_eq!(remedy.contains("chmod"), change, "{path}: {remedy}");
        }
    }
}
