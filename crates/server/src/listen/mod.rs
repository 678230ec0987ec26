//! Making the two sockets, or taking them over.
//!
//! Owns the files of the sockets: their modes, who may replace them, and (in `directory`) where they may lie. A
//! socket never has wider permissions than its final ones. The socket of a live daemon is never replaced, and a file that is
//! not a socket is never removed.
//! Runs before any thread starts: the file mode mask that it sets for a moment belongs to the whole process.

mod directory;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown,
};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use claviger_kernel::{Flaw, Untrusted};
use rustix::fs::{FlockOperation, Mode, flock};
use rustix::net::sockopt::socket_acceptconn;
use rustix::process::umask;

use crate::Settings;

/// Why a socket cannot be made or taken over, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process answers on it.
    #[error(
        "another daemon is serving on {0}; stop it first (`claviger status` shows it), or configure another `server.socket`"
    )]
    Live(PathBuf),
    /// There is a file of another type.
    #[error("{0} exists and is not a socket; move it away or configure another `server.socket`")]
    NotASocket(PathBuf),
    /// Other users could replace the socket: by its directory, or by one on the way to it.
    #[error("other users could replace the socket, because {0}")]
    Untrusted(Untrusted),
    /// Other users can enter the directory of the admin socket.
    #[error("other users can enter {}, the directory of the admin socket (mode {mode:o}); {remedy}", path.display())]
    OpenDirectory {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// What to do.
        remedy: String,
    },
    /// The path of the directory leads to something else.
    #[error("{0} is not a directory; configure another `server.socket`")]
    NotADirectory(PathBuf),
    /// A system call failed.
    #[error("cannot {1} {0}")]
    Os(PathBuf, &'static str, #[source] io::Error),
    /// Socket activation passed other sockets than expected.
    #[error(
        "socket activation passed {0} sockets named \"{1}\"; the socket units must pass two, named `broker` and `admin` (FileDescriptorName=)"
    )]
    Activation(usize, String),
    /// Socket activation passed a descriptor that cannot be served.
    #[error(
        "what socket activation passed as `{0}` is no listening unix socket with a path; set ListenStream= of its socket unit to a path"
    )]
    Unfit(&'static str),
}

impl From<Untrusted> for ListenError {
    fn from(error: Untrusted) -> Self {
        match error {
            Untrusted {
                path,
                what: Flaw::System(why),
            } => Self::Os(path, "inspect", why),
            untrusted => Self::Untrusted(untrusted),
        }
    }
}

/// A listening socket, and what must be kept while it listens.
#[derive(Debug)]
pub struct Bound {
    /// The listener.
    pub(crate) listener: UnixListener,
    /// The path that it is bound to. For an inherited socket the configuration may have another one.
    path: PathBuf,
    /// Removes the file at the end; absent for an inherited socket, which belongs to the service manager.
    _file: Option<SocketFile>,
}

/// Both sockets.
#[derive(Debug)]
pub struct Sockets {
    pub(crate) broker: Bound,
    pub(crate) admin: Bound,
}

/// The socket's file, and the lock of the daemon that uses it.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Which file it was, so that a successor's is never removed.
    inode: Option<u64>,
    _lock: File,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let present = fs::symlink_metadata(&self.path).ok().map(|meta| meta.ino());
        if present.is_some() && present == self.inode {
            // If it fails, the next daemon finds a dead socket and replaces it.
            drop(fs::remove_file(&self.path));
        }
    }
}

impl Sockets {
    /// Makes both sockets where the configuration says.
    ///
    /// # Errors
    /// See [`ListenError`]; nothing is left behind.
    pub fn bind(settings: &Settings) -> Result<Self, ListenError> {
        let broker_mode = if settings.socket_group.is_some() {
            0o660
        } else {
            0o666
        };
        let broker = bind(&settings.socket, 0o755, broker_mode, settings.socket_group)?;
        let admin = bind(&settings.admin_socket, 0o700, 0o600, None)?;
        Ok(Self { broker, admin })
    }

    /// Says whether [`Sockets::bind`] would refuse the places of the sockets. Changes nothing, and does not look for a daemon
    /// that serves there.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn judge(settings: &Settings) -> Result<(), ListenError> {
        for (path, mode) in [(&settings.socket, 0o755), (&settings.admin_socket, 0o700)] {
            // With socket activation only root can look into the directory of the admin socket.
            if directory::judge(directory_of(path), mode)?
                && let Err(error @ ListenError::NotASocket(_)) = is_socket(path)
            {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes over two sockets of the service manager, in the order of `names`. `None` stands for a descriptor that is no unix
    /// stream socket.
    ///
    /// # Errors
    /// If they are not exactly one `broker` and one `admin`, both listening at a path.
    pub fn inherit(listeners: Vec<Option<UnixListener>>, names: &str) -> Result<Self, ListenError> {
        let count = listeners.len();
        let (mut broker, mut admin) = (None, None);
        for (listener, name) in listeners.into_iter().zip(names.split(':')) {
            match name {
                "broker" => broker = Some(inherited(listener, "broker")?),
                "admin" => admin = Some(inherited(listener, "admin")?),
                _ => {}
            }
        }
        match (broker, admin) {
            (Some(broker), Some(admin)) if count == 2 => Ok(Self { broker, admin }),
            _ => Err(ListenError::Activation(
                count,
                names.chars().take(80).collect(),
            )),
        }
    }

    /// Puts into `settings` where the sockets are. Says so where the configuration says something else.
    pub fn settle(&self, settings: &mut Settings) {
        for (bound, configured) in [
            (&self.broker, &mut settings.socket),
            (&self.admin, &mut settings.admin_socket),
        ] {
            if *configured != bound.path {
                tracing::warn!(
                    target: "claviger::server", configured = %configured.display(), passed = %bound.path.display(),
                    "the service manager passed a socket at another path than the configured one; the passed one is served"
                );
                configured.clone_from(&bound.path);
            }
        }
    }
}

/// A socket without a path would be an abstract one, which has no permissions.
fn inherited(listener: Option<UnixListener>, name: &'static str) -> Result<Bound, ListenError> {
    let fit = |listener: UnixListener| {
        let address = listener.local_addr().ok()?;
        let path = address.as_pathname()?.to_owned();
        let listens = socket_acceptconn(&listener).unwrap_or(false);
        listens.then_some((listener, path))
    };
    let (listener, path) = listener.and_then(fit).ok_or(ListenError::Unfit(name))?;
    Ok(Bound {
        listener,
        path,
        _file: None,
    })
}

/// Calls `work` under a file mode mask that leaves `mode`. The mask belongs to the process, and tests have threads.
fn masked<T>(mode: u32, work: impl FnOnce() -> T) -> T {
    static MASK: Mutex<()> = Mutex::new(());
    let _one = MASK.lock().unwrap_or_else(PoisonError::into_inner);
    let before = umask(Mode::from_raw_mode(0o777 & !mode));
    let done = work();
    umask(before);
    done
}

fn bind(
    path: &Path,
    directory_mode: u32,
    mode: u32,
    group: Option<u32>,
) -> Result<Bound, ListenError> {
    let os = |doing| move |error| ListenError::Os(path.to_owned(), doing, error);
    directory::prepare(directory_of(path), directory_mode)?;
    let lock = lock(path)?;
    clear(path)?;
    // No access for its initial group until the group is changed.
    let first = if group.is_some() { 0o600 } else { mode };
    let listener = masked(first, || UnixListener::bind(path)).map_err(os("bind"))?;
    let bound = Bound {
        listener,
        path: path.to_owned(),
        _file: Some(SocketFile {
            path: path.to_owned(),
            inode: fs::symlink_metadata(path).ok().map(|meta| meta.ino()),
            _lock: lock,
        }),
    };
    if let Some(group) = group {
        chown(path, None, Some(group)).map_err(os("change the group of"))?;
        fs::set_permissions(path, Permissions::from_mode(mode))
            .map_err(os("change the mode of"))?;
    }
    Ok(bound)
}

fn directory_of(socket: &Path) -> &Path {
    socket.parent().unwrap_or(Path::new("/"))
}

/// Takes the lock beside the socket, so that two daemons that start together do not both bind it.
fn lock(path: &Path) -> Result<File, ListenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0))
        .open(&name)
        .map_err(|error| ListenError::Os(name.into(), "open", error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ListenError::Live(path.to_owned())),
        Err(error) => Err(ListenError::Os(path.to_owned(), "lock", error.into())),
    }
}

/// Removes a dead socket; refuses to touch anything else.
fn clear(path: &Path) -> Result<(), ListenError> {
    let os = |doing, error| ListenError::Os(path.to_owned(), doing, error);
    if !is_socket(path)? {
        return Ok(());
    }
    match UnixStream::connect(path) {
        Ok(_answered) => Err(ListenError::Live(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(target: "claviger::server", path = %path.display(), "replacing a dead socket");
            fs::remove_file(path).map_err(|error| os("remove the dead", error))
        }
        Err(error) => Err(os("probe", error)),
    }
}

/// Whether there is a socket; `false` if there is nothing. Anything else is an error.
fn is_socket(path: &Path) -> Result<bool, ListenError> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => Ok(true),
        Ok(_) => Err(ListenError::NotASocket(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(ListenError::Os(path.to_owned(), "inspect", error)),
    }
}
