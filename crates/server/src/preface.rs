//! A deadline for the first bytes of a stream.
//!
//! Owns the deadline from accept to the first 33 bytes: an HTTP/2 preface with its first frame header, or the greater part of
//! an HTTP/1.1 request line and header. Keepalive closes connections whose peers fall silent later; nothing else closes one
//! on which the peer never sends.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::pool::Slot;

/// 24 bytes of HTTP/2 preface and 9 of the first frame's header (RFC 9113 §3.4, §4.1).
const ENOUGH: usize = 33;

/// A stream whose peer must send [`ENOUGH`] bytes before the deadline.
#[derive(Debug)]
pub(crate) struct Preface<S> {
    /// Released before the stream is shut down or closed: a peer that sees the end of its connection finds the slot free.
    slot: Option<Slot>,
    stream: S,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    missing: usize,
    deadline: Pin<Box<Sleep>>,
}

impl<S> Preface<S> {
    pub(crate) fn new(stream: S, limit: Duration, slot: Option<Slot>) -> Self {
        let deadline = Box::pin(tokio::time::sleep(limit));
        Self {
            slot,
            stream,
            waiting: Some(Waiting {
                missing: ENOUGH,
                deadline,
            }),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Preface<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let Some(waiting) = &mut this.waiting else {
            return polled;
        };
        if polled.is_pending() {
            return match waiting.deadline.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => Poll::Pending,
            };
        }
        let read = buffer.filled().len().saturating_sub(before);
        waiting.missing = waiting.missing.saturating_sub(read);
        if waiting.missing == 0 {
            this.waiting = None;
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Preface<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // The peer sees the end now, before the stream is dropped.
        this.slot = None;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use claviger_core::peer::Principal;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;

    use super::*;
    use crate::Limits;
    use crate::caps::Caps;
    use crate::pool::Owner;

    #[tokio::test]
    async fn the_slot_is_free_when_the_peer_sees_the_end() {
        let limits = Limits {
            connections_per_uid: 1,
            ..Limits::default()
        };
        let (caps, metrics) = (Caps::for_programs(&limits), Arc::default());
        let owner = Owner {
            principal: Principal::of_user(1),
            permitted: true,
            beside_daemon: false,
        };
        let take = |metrics| caps.take(&owner, metrics);
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut preface = Preface::new(ours, Duration::from_secs(5), take(&metrics));
        assert!(take(&metrics).is_none());
        preface.shutdown().await.unwrap();
        assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0, "the end");
        assert!(take(&metrics).is_some(), "although it still is served");
        drop(preface);
        assert_eq!(metrics.open(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_cut_off_and_one_that_speaks_is_not() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut preface = Preface::new(ours, Duration::from_secs(5), None);
        theirs.write_all(&[b'x'; 32]).await.unwrap();
        let mut bytes = [0; 64];
        assert_eq!(preface.read(&mut bytes).await.unwrap(), 32);
        let error = preface.read(&mut bytes).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut preface = Preface::new(ours, Duration::from_secs(5), None);
        theirs.write_all(&[b'x'; 33]).await.unwrap();
        assert_eq!(preface.read(&mut bytes).await.unwrap(), 33);
        let later = tokio::time::timeout(Duration::from_mins(1), preface.read(&mut bytes)).await;
        assert!(later.is_err(), "no deadline any more");
    }
}
