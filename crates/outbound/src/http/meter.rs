//! How many bytes a server may send.
//!
//! Owns the count of all bytes that the connections of one client receive: TLS records, interim answers, headers and frames
//! as well as bodies. Each exchange grants its body and [`AROUND_BODY`] more. A connection that reads beyond the grants of
//! all exchanges under way fails, so no server can occupy memory or time with bytes that no answer consists of.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Error;

/// The most bytes of one exchange beside its body: handshake, certificates, headers, framing.
const AROUND_BODY: usize = 256 * 1024;

/// What a connection may receive while no exchange is under way: the server's farewell.
const IDLE: usize = 16 * 1024;

/// The count of one client. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Meter(Arc<Mutex<Count>>);

#[derive(Debug)]
struct Count {
    exchanges: usize,
    left: usize,
    exhausted: bool,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Count {
            exchanges: 0,
            left: IDLE,
            exhausted: false,
        })))
    }

    /// Grants the bytes of one exchange, until the value that is returned is dropped.
    pub(super) fn exchange(&self, max_body: usize) -> Exchange {
        let mut count = self.count();
        count.exchanges = count.exchanges.saturating_add(1);
        count.left = count
            .left
            .saturating_add(max_body)
            .saturating_add(AROUND_BODY);
        Exchange(self.clone())
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, bytes: usize) -> Result<(), Error> {
        let mut count = self.count();
        let Some(left) = count.left.checked_sub(bytes) else {
            count.exhausted = true;
            return Err(Error::Flood);
        };
        count.left = left;
        Ok(())
    }
}

/// The grant of one exchange.
#[derive(Debug)]
pub(super) struct Exchange(Meter);

impl Exchange {
    /// Whether the server has sent more than was granted.
    pub(super) fn is_exhausted(&self) -> bool {
        self.0.count().exhausted
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut count = self.0.count();
        count.exchanges = count.exchanges.saturating_sub(1);
        if count.exchanges == 0 {
            count.left = IDLE;
            count.exhausted = false;
        }
    }
}

/// A stream whose received bytes are counted.
#[derive(Debug)]
pub(super) struct Metered<S> {
    stream: S,
    meter: Meter,
}

impl<S> Metered<S> {
    pub(super) fn new(stream: S, meter: Meter) -> Self {
        Self { stream, meter }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let received = buffer.filled().len().saturating_sub(before);
        Poll::Ready(self.meter.take(received).map_err(io::Error::other))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
