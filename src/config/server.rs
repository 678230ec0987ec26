//! The section `[server]`: the sockets and their limits.
//!
//! Owns the checks that keep the two sockets apart. Every limit has a lower bound, so that none can be switched off, and an
//! upper one, so that none can be made meaningless.

use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::reader::{Found, Section};
use crate::config::{Context, accounts};
use claviger_core::broker::BudgetSettings;
use claviger_server::{Limits, Settings};

/// Where programs look for the broker socket.
const SOCKET: &str = "/run/claviger/broker.sock";

/// How long a stopping daemon waits for requests in flight.
const DRAIN_GRACE: Duration = Duration::from_secs(10);

/// The values of `[server]`, for three components.
#[derive(Debug)]
pub(super) struct ServerSection {
    /// The sockets and their limits.
    pub(super) settings: Settings,
    /// How many requests of one peer may cost work; part of `[server.limits]`.
    pub(super) budget: BudgetSettings,
    /// How long a stopping daemon waits for requests in flight.
    pub(super) drain_grace: Duration,
}

/// Reads `[server]`, which may be absent.
pub(super) fn read(context: &Context<'_>, root: &Section<'_>) -> ServerSection {
    root.table("server", |section| read_present(context, section))
        .unwrap_or_else(|| {
            let socket = PathBuf::from(SOCKET);
            let settings = Settings {
                admin_socket: default_admin_socket(&socket),
                socket,
                socket_group: None,
                limits: Limits::default(),
            };
            ServerSection {
                settings,
                budget: BudgetSettings::default(),
                drain_grace: DRAIN_GRACE,
            }
        })
}

fn read_present(context: &Context<'_>, section: &Section<'_>) -> ServerSection {
    let socket = socket(section, "socket").unwrap_or_else(|| Found {
        value: PathBuf::from(SOCKET),
        place: section.place_at("socket"),
    });
    let admin = self::socket(section, "admin_socket").unwrap_or_else(|| Found {
        value: default_admin_socket(&socket.value),
        place: section.place_at("admin_socket"),
    });
    check_apart(section, &socket, &admin);
    let (limits, budget) = section
        .table("limits", |section| (limits(section), budget(section)))
        .unwrap_or_default();
    let settings = Settings {
        socket: socket.value,
        admin_socket: admin.value,
        socket_group: accounts::group(context, section, "socket_group"),
        limits,
    };
    let grace = section.duration(
        "drain_grace",
        Duration::from_secs(1)..=Duration::from_secs(20),
    );
    ServerSection {
        settings,
        budget,
        drain_grace: grace.unwrap_or(DRAIN_GRACE),
    }
}

/// The admin socket has a directory of its own below that of the broker socket.
fn default_admin_socket(socket: &Path) -> PathBuf {
    let directory = socket.parent().unwrap_or(Path::new("/"));
    directory.join("admin").join("admin.sock")
}

fn socket(section: &Section<'_>, key: &'static str) -> Option<Found<PathBuf>> {
    let found = section.path(key)?;
    let message = if is_too_long(&found.value) {
        "a socket's path has at most 107 bytes, the limit of the kernel"
    } else if found.value.file_name().is_none()
        || found.value.to_str().is_some_and(|path| path.ends_with('/'))
    {
        "expected the path of a socket, not of a directory"
    } else {
        return Some(found);
    };
    section.report.problem(&found.place, message);
    None
}

/// Whether the path does not fit into a socket's address.
fn is_too_long(path: &Path) -> bool {
    SocketAddr::from_pathname(path).is_err()
}

/// The admin socket is protected by its directory, which only the daemon's user can enter.
fn check_apart(section: &Section<'_>, broker: &Found<PathBuf>, admin: &Found<PathBuf>) {
    let message = match (broker.value.parent(), admin.value.parent()) {
        (Some(of_broker), Some(of_admin)) if of_broker == of_admin => {
            "the admin socket needs a directory of its own, which programs cannot enter"
        }
        (Some(of_broker), Some(of_admin)) if of_broker.starts_with(of_admin) => {
            "the broker socket lies below the admin socket's directory, which programs cannot enter"
        }
        _ if is_too_long(&admin.value) => {
            "the admin socket's path, which follows from `socket`, would have more than 107 bytes"
        }
        _ => return,
    };
    section.report.problem(&admin.place, message);
}

/// Reads `[server.limits]`.
fn limits(section: &Section<'_>) -> Limits {
    let default = Limits::default();
    let seconds = |from, to| Duration::from_secs(from)..=Duration::from_secs(to);
    let instants = |to| Duration::from_millis(100)..=Duration::from_secs(to);
    let (connections, connections_per_uid) = SharedLimit {
        key: "connections",
        per_uid_key: "connections_per_uid",
        most: 65_536,
        default: default.connections,
        per_uid_default: default.connections_per_uid,
    }
    .read(section);
    let (open_requests, open_requests_per_uid) = SharedLimit {
        key: "open_requests",
        per_uid_key: "open_requests_per_uid",
        most: 1_048_576,
        default: default.open_requests,
        per_uid_default: default.open_requests_per_uid,
    }
    .read(section);
    Limits {
        connections,
        connections_per_uid,
        open_requests,
        open_requests_per_uid,
        streams: section
            .number("streams", 1..=1000)
            .unwrap_or(default.streams),
        in_flight: section
            .number("in_flight", 1..=1024)
            .unwrap_or(default.in_flight),
        header_bytes: section
            .number("header_bytes", 1024..=65_536)
            .unwrap_or(default.header_bytes),
        message_bytes: section
            .number("message_bytes", 1024..=1_048_576)
            .unwrap_or(default.message_bytes),
        preface: section
            .duration("preface", instants(60))
            .unwrap_or(default.preface),
        request: section
            .duration("request", instants(60))
            .unwrap_or(default.request),
        keepalive: section
            .duration("keepalive", seconds(1, 600))
            .unwrap_or(default.keepalive),
        keepalive_answer: section
            .duration("keepalive_answer", instants(60))
            .unwrap_or(default.keepalive_answer),
        connection_age: section
            .duration("connection_age", seconds(10, 86_400))
            .unwrap_or(default.connection_age),
    }
}

/// Reads the limits of `[server.limits]` on the requests of one peer.
fn budget(section: &Section<'_>) -> BudgetSettings {
    let default = BudgetSettings::default();
    BudgetSettings {
        per_second: section
            .number("requests_per_second", 1..=10_000)
            .unwrap_or(default.per_second),
        burst: section
            .number("request_burst", 1..=100_000)
            .unwrap_or(default.burst),
    }
}

/// A limit on all users together, with one on each user that cannot be larger.
struct SharedLimit {
    key: &'static str,
    per_uid_key: &'static str,
    most: usize,
    default: usize,
    per_uid_default: usize,
}

impl SharedLimit {
    /// Returns the limit on all users, then that on each.
    fn read(self, section: &Section<'_>) -> (usize, usize) {
        let range = 1..=self.most;
        let all = section
            .number(self.key, range.clone())
            .unwrap_or(self.default);
        let each = section.number(self.per_uid_key, range);
        if each.is_some_and(|each| each > all) {
            let message = format!(
                "one user cannot have more than all users, which is `{}`",
                self.key
            );
            let place = section.place_at(self.per_uid_key);
            section.report.problem(&place, message);
        }
        (all, each.unwrap_or(self.per_uid_default).min(all))
    }
}
