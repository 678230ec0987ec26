//! The files of the sockets, as they are made and refused.

use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::lchown;
use std::os::unix::net::SocketAddr;

use super::*;
use crate::tests::Folder;

fn settings(directory: &Path) -> Settings {
    Settings {
        socket: directory.join("run/broker.sock"),
        admin_socket: directory.join("run/admin/admin.sock"),
        socket_group: None,
        limits: crate::Limits::default(),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn sockets_have_their_modes_and_disappear_with_the_daemon() {
    let directory = Folder::new();
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
    let directory = Folder::new();
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
    let directory = Folder::new();
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
    let directory = Folder::new();
    let settings = settings(directory.path());
    let run = settings.socket.parent().unwrap();
    fs::create_dir(run).unwrap();
    fs::set_permissions(run, Permissions::from_mode(0o777)).unwrap();
    let error = Sockets::bind(&settings).unwrap_err();
    assert!(error.to_string().contains("chmod go-w"), "{error}");
}

#[test]
fn a_directory_that_others_can_replace_is_refused() {
    let directory = Folder::new();
    let settings = settings(directory.path());
    let open = |mode| fs::set_permissions(directory.path(), Permissions::from_mode(mode)).unwrap();
    open(0o777);
    let error = Sockets::bind(&settings).unwrap_err();
    assert!(is_writable(&error, directory.path()), "{error}");
    // With the sticky bit, as in /tmp, a user cannot replace the files of another.
    open(0o1777);
    drop(Sockets::bind(&settings).unwrap());

    // Nor is it enough that a link leads to a good one.
    let (good, bad) = (directory.path().join("good"), directory.path().join("bad"));
    fs::create_dir_all(&bad).unwrap();
    fs::create_dir_all(&good).unwrap();
    fs::set_permissions(&bad, Permissions::from_mode(0o777)).unwrap();
    std::os::unix::fs::symlink(&good, bad.join("run")).unwrap();
    let linked = self::settings(&bad);
    let error = Sockets::bind(&linked).unwrap_err();
    assert!(is_writable(&error, &bad), "{error}");
}

fn is_writable(error: &ListenError, directory: &Path) -> bool {
    let ListenError::Untrusted(Untrusted { path, what }) = error else {
        return false;
    };
    path == directory && matches!(what, Flaw::Writable { mode: 0o777, .. })
}

#[test]
fn a_foreign_link_in_a_sticky_directory_is_refused() {
    let directory = Folder::new();
    let shared = directory.path().join("shared");
    let good = directory.path().join("good");
    fs::create_dir_all(&good).unwrap();
    fs::create_dir_all(&shared).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o1777)).unwrap();
    std::os::unix::fs::symlink(&good, shared.join("run")).unwrap();
    drop(Sockets::bind(&settings(&shared)).unwrap());
    if lchown(shared.join("run"), Some(42_001), None).is_err() {
        return; // Only root gives a link away.
    }
    let error = Sockets::bind(&settings(&shared)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("shared/run belongs to user 42001"),
        "{error}"
    );
}

#[test]
fn the_mode_of_a_shared_directory_is_not_to_be_changed() {
    let directory = Folder::new();
    let shared = directory.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o1777)).unwrap();
    let settings = Settings {
        socket: shared.join("x.sock"),
        ..settings(directory.path())
    };
    for refused in [
        Sockets::judge(&settings),
        Sockets::bind(&settings).map(drop),
    ] {
        let said = refused.unwrap_err().to_string();
        assert!(
            said.contains("of claviger's own") && !said.contains("chmod"),
            "{said}"
        );
    }
    assert!(!shared.join("x.sock").exists());
}

#[test]
fn a_foreign_directory_on_the_way_is_refused() {
    let directory = Folder::new();
    if chown(directory.path(), Some(42_001), None).is_err() {
        return; // Only root gives a directory away.
    }
    let error = Sockets::bind(&settings(directory.path())).unwrap_err();
    assert!(
        error.to_string().contains("belongs to user 42001"),
        "{error}"
    );
}

#[test]
fn a_socket_for_a_group_belongs_to_it() {
    let directory = Folder::new();
    let group = rustix::process::getegid().as_raw();
    let settings = Settings {
        socket_group: Some(group),
        ..settings(directory.path())
    };
    let _sockets = Sockets::bind(&settings).unwrap();
    assert_eq!(mode(&settings.socket), 0o660);
    assert_eq!(fs::metadata(&settings.socket).unwrap().gid(), group);
}

#[test]
fn inherited_sockets_are_assigned_by_name() {
    let directory = Folder::new();
    let listen = |name: &str| Some(UnixListener::bind(directory.path().join(name)).unwrap());
    assert!(Sockets::inherit(vec![listen("a"), listen("b")], "admin:broker").is_ok());
    for (names, count) in [
        ("broker", 1),
        ("broker:other", 2),
        ("", 0),
        ("broker:broker", 2),
        ("broker:admin:other", 3),
    ] {
        let listeners = (0..count).map(|n| listen(&format!("{names}{n}"))).collect();
        assert!(Sockets::inherit(listeners, names).is_err(), "{names}");
    }
}

#[test]
fn what_cannot_be_served_is_not_taken_over() {
    let directory = Folder::new();
    let listen = |name: &str| Some(UnixListener::bind(directory.path().join(name)).unwrap());
    let abstract_name = format!("claviger-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(abstract_name).unwrap();
    let connected = UnixStream::connect(listen_at(directory.path(), "c")).unwrap();
    let unfit: [(&str, Option<UnixListener>); 3] = [
        ("no unix socket", None),
        ("abstract", Some(UnixListener::bind_addr(&address).unwrap())),
        (
            "not listening",
            Some(UnixListener::from(OwnedFd::from(connected))),
        ),
    ];
    for (number, (what, listener)) in unfit.into_iter().enumerate() {
        let other = listen(&format!("other-{number}"));
        let taken = Sockets::inherit(vec![listener, other], "broker:admin");
        assert!(
            matches!(taken, Err(ListenError::Unfit("broker"))),
            "{what}: {taken:?}"
        );
    }
}

#[test]
fn an_inherited_socket_is_where_the_service_manager_says() {
    let directory = Folder::new();
    let [broker, admin] = ["elsewhere", "admin"].map(|name| directory.path().join(name));
    let listeners = [&broker, &admin].map(|path| Some(UnixListener::bind(path).unwrap()));
    let sockets = Sockets::inherit(listeners.into(), "broker:admin").unwrap();
    let mut settings = Settings {
        admin_socket: admin.clone(),
        ..settings(directory.path())
    };
    sockets.settle(&mut settings);
    assert_eq!((settings.socket, settings.admin_socket), (broker, admin));
}

/// The path of a socket that listens as long as the test runs.
fn listen_at(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    std::mem::forget(UnixListener::bind(&path).unwrap());
    path
}
