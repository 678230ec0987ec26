//! What the service manager is told: readiness, the end, and that the daemon still works.
//!
//! Owns the notifications of systemd's `sd_notify(3)`. The watchdog is fed only after a request to ourselves came back over
//! the broker socket and every thread that serves has done a piece of work: a loop that merely runs proves nothing about
//! them, and the request reaches one of them only.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use claviger_server::Pulse;

/// How long our own request may take. Under a short limit of the watchdog it may take a sixth of that: with the pauses
/// before and after it, one that is lost leaves time for the next.
const OWN_REQUEST: Duration = Duration::from_secs(3);

/// Tells that the daemon serves.
pub(super) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Tells that it ends.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Tells that it reads its configuration again, or is done with it.
pub(super) fn reloading(done: bool) {
    if done {
        notify(&[NotifyState::Ready]);
    } else if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(target: "claviger", class = %error.kind(), "the service manager was not told");
    }
}

/// Feeds the watchdog, if there is one, as long as requests to ourselves are answered. Never ends.
pub(super) async fn feed_watchdog(socket: PathBuf, pulse: Pulse) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let patience = OWN_REQUEST.min(limit / 6);
    loop {
        let proof = async {
            pulse.felt().await;
            ask_ourselves(&socket).await
        };
        match tokio::time::timeout(patience, proof).await {
            Ok(Ok(())) => notify(&[NotifyState::Watchdog]),
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(target: "claviger", "a request to ourselves was not answered, or a thread that serves hangs; the watchdog is not fed");
            }
        }
        tokio::time::sleep(limit / 3).await;
    }
}

/// One request over the broker socket, as a program would send it.
async fn ask_ourselves(socket: &PathBuf) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket).await?;
    stream
        .write_all(b"GET /health HTTP/1.1\r\nhost: claviger\r\nconnection: close\r\n\r\n")
        .await?;
    let mut start = [0; 12];
    stream.read_exact(&mut start).await?;
    if start == *b"HTTP/1.1 200" {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}
