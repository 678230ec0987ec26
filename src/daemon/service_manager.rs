//! Notifies the service manager of readiness, reload and shutdown, and feeds its watchdog.
//!
//! Owns the notifications of systemd's `sd_notify(3)`. The watchdog is fed only after a request of the daemon to its
//! own broker socket was answered and every thread that serves has done a piece of work: the request proves only that one
//! thread works.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use claviger_server::Pulse;

/// Time limit of the daemon's own request. Under a short limit of the watchdog it is a sixth of that: with the pauses before
/// and after it, one lost request leaves time for the next.
const OWN_REQUEST: Duration = Duration::from_secs(3);

/// Notifies that the daemon serves.
pub(super) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Notifies that it shuts down.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Notifies that a reload begins, or is done.
pub(super) fn reloading(done: bool) {
    if done {
        notify(&[NotifyState::Ready]);
    } else if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(target: "claviger", class = %error.kind(), "the service manager could not be notified");
    }
}

/// Feeds the watchdog, if there is one, as long as the daemon's own requests are answered. Never returns.
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
                tracing::warn!(target: "claviger", "the daemon's own request was not answered, or a serving thread hangs; the watchdog is not fed");
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
