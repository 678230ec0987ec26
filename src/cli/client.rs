//! Connects to a running daemon.
//!
//! Owns the connection over a unix socket, the check of the server's user, and the header that every request carries. A
//! process of another user that binds the usual path could hand out forged tokens, so the server's uid is checked first: it
//! must be root, this user, or the user named `claviger`.

use std::future::Future;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use claviger_proto::v1::{admin_client::AdminClient, tokens_client::TokensClient};
use claviger_proto::{REQUEST_HEADER, REQUEST_HEADER_VALUE};
use hyper_util::rt::TokioIo;
use nix::unistd::{Gid, Group, Uid, User};
use tokio::net::UnixStream;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tower::service_fn;

use crate::cli::{Exit, Failure};

/// How long a daemon may take to accept.
const DIAL: Duration = Duration::from_secs(1);

/// After this time without data from the daemon it is pinged, and after as long again the connection is closed. A service
/// manager may hold the socket while the daemon starts, which takes seconds; a hanging daemon must not block a script.
const SILENCE: Duration = Duration::from_secs(15);

/// The user that the shipped unit runs the daemon as.
const DAEMON_USER: &str = "claviger";

/// Adds the header that every request must carry.
#[derive(Clone, Copy, Debug)]
pub(super) struct ForClaviger;

impl Interceptor for ForClaviger {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let value = MetadataValue::from_static(REQUEST_HEADER_VALUE);
        request.metadata_mut().insert(REQUEST_HEADER, value);
        Ok(request)
    }
}

/// A connection whose requests carry the header.
pub(super) type Connection = InterceptedService<Channel, ForClaviger>;

/// Runs one command's requests to the daemon.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime
        .map_err(|error| Failure::new(Exit::System, format!("cannot start: {error}"), ""))?;
    runtime.block_on(work)
}

/// Connects to the broker socket.
pub(super) async fn tokens(socket: &Path) -> Result<TokensClient<Connection>, Failure> {
    let remedy = "Ask an operator to let this user connect (`server.socket_group`, or the mode of the socket unit).";
    let channel = connect(socket, remedy).await?;
    Ok(TokensClient::with_interceptor(channel, ForClaviger))
}

/// Connects to the admin socket.
pub(super) async fn admin(socket: &Path) -> Result<AdminClient<Connection>, Failure> {
    let remedy = "The admin socket is for root and the daemon's user: `sudo claviger …`.";
    let channel = connect(socket, remedy).await?;
    Ok(AdminClient::with_interceptor(channel, ForClaviger))
}

/// Connects; `locked_out` is the remedy if this user may not.
async fn connect(socket: &Path, locked_out: &str) -> Result<Channel, Failure> {
    let stream = tokio::time::timeout(DIAL, UnixStream::connect(socket))
        .await
        .map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))
        .and_then(|connected| connected)
        .map_err(|error| unreachable_daemon(socket, &error, locked_out))?;
    trust(socket, &stream)?;
    let mut stream = Some(stream);
    let endpoint = Endpoint::from_static("http://claviger")
        .http2_keep_alive_interval(SILENCE)
        .keep_alive_timeout(SILENCE);
    // One connection is enough for one command; when it breaks, the command fails.
    let connector = service_fn(move |_uri| {
        let stream = stream.take().ok_or(io::ErrorKind::ConnectionAborted);
        std::future::ready(stream.map(TokioIo::new).map_err(io::Error::from))
    });
    endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|_transport| {
            Failure::new(
                Exit::Unavailable,
                format!(
                    "the process on {} is not a claviger daemon",
                    socket.display()
                ),
                "Check the path of the socket.",
            )
        })
}

fn unreachable_daemon(socket: &Path, error: &io::Error, locked_out: &str) -> Failure {
    let place = socket.display();
    let kind = error.kind();
    if matches!(
        kind,
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    ) {
        Failure::new(
            Exit::Unavailable,
            format!("no daemon is listening on {place}"),
            "Start it (`systemctl start claviger`, or `claviger run --config FILE`), or name its socket with --socket or --admin-socket.",
        )
    } else if kind == io::ErrorKind::PermissionDenied {
        Failure::new(
            Exit::Denied,
            format!(
                "user {} may not connect to {place}{}",
                user(rustix::process::geteuid().as_raw()),
                owner(socket)
            ),
            locked_out,
        )
    } else {
        Failure::new(
            Exit::System,
            format!("cannot connect to {place}: {kind}"),
            "",
        )
    }
}

/// The owner of a socket, or of its directory if this user may not enter that.
fn owner(socket: &Path) -> String {
    for place in [Some(socket), socket.parent()].into_iter().flatten() {
        if let Ok(metadata) = place.symlink_metadata() {
            let group = Group::from_gid(Gid::from_raw(metadata.gid()))
                .ok()
                .flatten();
            return format!(
                "; {} belongs to user {} and group {}, with mode {:04o}",
                place.display(),
                user(metadata.uid()),
                group.map_or_else(|| metadata.gid().to_string(), |group| group.name),
                metadata.mode() & 0o7777,
            );
        }
    }
    String::new()
}

fn user(uid: u32) -> String {
    let known = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    known.map_or_else(|| uid.to_string(), |user| user.name)
}

/// Rejects a server that runs neither as root, nor as this user, nor as the daemon's.
fn trust(socket: &Path, stream: &UnixStream) -> Result<(), Failure> {
    let server = stream
        .peer_cred()
        .map_err(|error| {
            Failure::new(
                Exit::System,
                format!("cannot identify the server: {}", error.kind()),
                "",
            )
        })?
        .uid();
    let own = rustix::process::geteuid().as_raw();
    let daemon = User::from_name(DAEMON_USER).ok().flatten();
    let daemon = daemon.map(|user| user.uid.as_raw());
    if server == 0 || server == own || Some(server) == daemon {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Denied,
        format!(
            "{} is served by uid {server}, which is not the daemon's user",
            socket.display()
        ),
        "Another user may have put the socket there: check who owns it before you trust it.",
    ))
}

/// The broker socket, for commands of programs.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct BrokerArgs {
    /// The daemon's broker socket
    #[arg(long, value_name = "PATH", default_value = crate::cli::BROKER_SOCKET)]
    pub(super) socket: PathBuf,
}
