//! Making the two sockets, or taking them over.
//!
//! Owns the files of the sockets: their directories, their modes and who may replace them. A socket has its final mode from
//! the moment it exists. A live daemon is never pushed aside, and what is not a socket is never removed. Runs before any
//! thread starts: the file mode mask that it sets for a moment belongs to the whole process.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
    PermissionsExt as _, chown,
};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, flock};
use rustix::process::{geteuid, umask};

use crate::server::Settings;

/// Why a socket cannot be had. Says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody answers on it.
    #[error(
        "another daemon is serving on {0}; stop it first (`claviger status` shows it), or configure another `server.socket`"
    )]
    Live(PathBuf),
    /// There is something else.
    #[error("{0} exists and is not a socket; move it away or configure another `server.socket`")]
    NotASocket(PathBuf),
    /// Others could replace the socket.
    #[error(
        "the directory {0} can be written by others (mode {1:o}); run `chmod go-w {0}`, because whoever can write it can put a socket of their own there"
    )]
    OpenDirectory(PathBuf, u32),
    /// Somebody else owns the directory.
    #[error("the directory {0} belongs to uid {1}; it must belong to root or to the daemon's user")]
    ForeignDirectory(PathBuf, u32),
    /// The operating system says no.
    #[error("cannot {1} {0}: {2}")]
    Os(PathBuf, &'static str, #[source] io::Error),
    /// Socket activation gave something unexpected.
    #[error(
        "socket activation passed {0} sockets named \"{1}\"; the socket units must pass two, named `broker` and `admin` (FileDescriptorName=)"
    )]
    Activation(usize, String),
    /// Socket activation gave a socket without a path, which everybody in the network namespace can reach.
    #[error(
        "socket activation passed a socket \"{0}\" that has no path; set ListenStream= of its unit to a path, because an abstract socket has no permissions"
    )]
    Abstract(String),
}

/// A listening socket, and what must be kept while it listens.
#[derive(Debug)]
pub struct Bound {
    /// The listener.
    pub(crate) listener: UnixListener,
    /// Where it is, which an inherited one knows better than the configuration.
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

/// The socket's file and the lock that says that somebody is using it.
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
            // Nothing to be done if it fails: the next daemon finds it dead and replaces it.
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

    /// Takes over two sockets of the service manager, in the order of `names`. What else it passed, `main` has left out of
    /// `listeners`, so there are more names than listeners then.
    ///
    /// # Errors
    /// If they are not exactly one `broker` and one `admin`, each at a path.
    pub fn inherit(listeners: Vec<UnixListener>, names: &str) -> Result<Self, ListenError> {
        let count = listeners.len();
        let complete = count == 2 && names.split(':').count() == 2;
        let mut broker = None;
        let mut admin = None;
        for (listener, name) in listeners.into_iter().zip(names.split(':')) {
            match name {
                "broker" => broker = Some(inherited(listener, name)?),
                "admin" => admin = Some(inherited(listener, name)?),
                _ => {}
            }
        }
        match (broker, admin) {
            (Some(broker), Some(admin)) if complete => Ok(Self { broker, admin }),
            _ => Err(ListenError::Activation(
                count,
                names.chars().take(80).collect(),
            )),
        }
    }

    /// Puts into `settings` where the sockets are. Says so where the configuration says something else.
    pub(crate) fn settle(&self, settings: &mut Settings) {
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

fn inherited(listener: UnixListener, name: &str) -> Result<Bound, ListenError> {
    let address = listener.local_addr().ok();
    let path = address.and_then(|address| address.as_pathname().map(Path::to_owned));
    Ok(Bound {
        listener,
        path: path.ok_or_else(|| ListenError::Abstract(name.to_owned()))?,
        _file: None,
    })
}

fn bind(
    path: &Path,
    directory_mode: u32,
    mode: u32,
    group: Option<u32>,
) -> Result<Bound, ListenError> {
    let os = |doing| move |error| ListenError::Os(path.to_owned(), doing, error);
    let directory = path.parent().unwrap_or(Path::new("/"));
    prepare(directory, directory_mode)?;
    let lock = lock(path)?;
    clear(path)?;
    let narrow = umask(Mode::from_raw_mode(0o777 & !mode));
    let listener = UnixListener::bind(path);
    umask(narrow);
    let listener = listener.map_err(os("bind"))?;
    if let Some(group) = group {
        chown(path, None, Some(group)).map_err(os("change the group of"))?;
    }
    let inode = fs::symlink_metadata(path).ok().map(|meta| meta.ino());
    Ok(Bound {
        listener,
        path: path.to_owned(),
        _file: Some(SocketFile {
            path: path.to_owned(),
            inode,
            _lock: lock,
        }),
    })
}

/// Makes the directory if it is missing, and refuses one in which others could replace the socket.
fn prepare(directory: &Path, mode: u32) -> Result<(), ListenError> {
    let os = |doing| move |error| ListenError::Os(directory.to_owned(), doing, error);
    if !directory.exists() {
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(directory)
            .map_err(os("create"))?;
    }
    let meta = fs::metadata(directory).map_err(os("inspect"))?;
    let owner = meta.uid();
    if owner != 0 && owner != geteuid().as_raw() {
        return Err(ListenError::ForeignDirectory(directory.to_owned(), owner));
    }
    let actual = meta.permissions().mode() & 0o7777;
    let open = if mode == 0o700 {
        actual & 0o077 != 0
    } else {
        actual & 0o022 != 0
    };
    if open {
        return Err(ListenError::OpenDirectory(directory.to_owned(), actual));
    }
    Ok(())
}

/// Takes the lock beside the socket, which two daemons that start together cannot both have.
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
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(os("inspect", error)),
    };
    if !meta.file_type().is_socket() {
        return Err(ListenError::NotASocket(path.to_owned()));
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

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt as _;

    use super::*;

    fn settings(directory: &Path) -> Settings {
        Settings {
            socket: directory.join("run/broker.sock"),
            admin_socket: directory.join("run/admin/admin.sock"),
            socket_group: None,
            limits: crate::server::Limits::default(),
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn sockets_have_their_modes_and_disappear_with_the_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path());
        let sockets = Sockets::bind(&settings).unwrap();
        assert_eq!(mode(&settings.socket), 0o666);
        assert_eq!(mode(&settings.admin_socket), 0o600);
        assert_eq!(mode(settings.admin_socket.parent().unwrap()), 0o700);
        drop(sockets);
        assert!(!settings.socket.exists() && !settings.admin_socket.exists());
    }

    #[test]
    fn a_live_daemon_is_not_pushed_aside() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path());
        let _first = Sockets::bind(&settings).unwrap();
        assert!(matches!(
            Sockets::bind(&settings),
            Err(ListenError::Live(_))
        ));
        assert!(
            UnixStream::connect(&settings.socket).is_ok(),
            "the first one still serves"
        );
    }

    #[test]
    fn a_dead_socket_is_replaced_and_anything_else_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path());
        fs::create_dir(settings.socket.parent().unwrap()).unwrap();
        drop(UnixListener::bind(&settings.socket).unwrap());
        assert!(settings.socket.exists());
        drop(Sockets::bind(&settings).unwrap());
        fs::write(&settings.socket, "precious").unwrap();
        assert!(matches!(
            Sockets::bind(&settings),
            Err(ListenError::NotASocket(_))
        ));
        assert_eq!(fs::read(&settings.socket).unwrap(), b"precious");
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path());
        let run = settings.socket.parent().unwrap();
        fs::create_dir(run).unwrap();
        fs::set_permissions(run, fs::Permissions::from_mode(0o777)).unwrap();
        let error = Sockets::bind(&settings).unwrap_err();
        assert!(error.to_string().contains("chmod go-w"), "{error}");
    }

    #[test]
    fn inherited_sockets_are_told_apart_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let listen = |name: &str| UnixListener::bind(directory.path().join(name)).unwrap();
        assert!(Sockets::inherit(vec![listen("a"), listen("b")], "admin:broker").is_ok());
        for (names, count) in [
            ("broker", 1),
            ("broker:other", 2),
            ("", 0),
            ("broker:admin:tcp", 2),
        ] {
            let listeners = (0..count).map(|n| listen(&format!("{names}{n}"))).collect();
            assert!(Sockets::inherit(listeners, names).is_err(), "{names}");
        }
    }

    #[test]
    fn an_inherited_socket_needs_a_path() {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().as_os_str().as_encoded_bytes();
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
        let listeners = vec![
            UnixListener::bind_addr(&address).unwrap(),
            UnixListener::bind(directory.path().join("admin")).unwrap(),
        ];
        let error = Sockets::inherit(listeners, "broker:admin").unwrap_err();
        assert!(error.to_string().contains("\"broker\""), "{error}");
        assert!(error.to_string().contains("ListenStream="), "{error}");
    }

    #[test]
    fn an_inherited_socket_is_where_the_service_manager_says() {
        let directory = tempfile::tempdir().unwrap();
        let [broker, admin] = ["elsewhere", "admin"].map(|name| directory.path().join(name));
        let listeners = [&broker, &admin].map(|path| UnixListener::bind(path).unwrap());
        let sockets = Sockets::inherit(listeners.into(), "broker:admin").unwrap();
        let mut settings = Settings {
            admin_socket: admin.clone(),
            ..settings(directory.path())
        };
        sockets.settle(&mut settings);
        assert_eq!((settings.socket, settings.admin_socket), (broker, admin));
    }
}
