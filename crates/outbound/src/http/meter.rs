//! How many bytes a server may send.
//!
//! Owns the count of all bytes that one connection receives: TLS records, interim answers, headers and frames as well as
//! bodies. Each exchange grants its body and [`AROUND_BODY`] more to the connection that carries it, and to no other. A
//! connection that reads beyond the grants of the exchanges that it carries fails, so no server can occupy memory or time
//! with bytes that no answer consists of, nor use up what another server was granted. Only exchanges that share an HTTP/2
//! connection, which have the same server, share their grants.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Error;

/// The most bytes of one exchange beside its body: headers and framing; or of a handshake with its certificates.
const AROUND_BODY: usize = 256 * 1024;

/// What a connection may receive while it carries no exchange: settings before the first one, and the server's farewell.
const IDLE: usize = 16 * 1024;

/// The count of one connection. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Meter(Arc<Mutex<Count>>);

#[derive(Debug)]
struct Count {
    exchanges: usize,
    granted: usize,
    received: usize,
    exhausted: bool,
    /// The reader that continues once an exchange grants more.
    reader: Option<Waker>,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Count {
            exchanges: 0,
            granted: IDLE,
            received: 0,
            exhausted: false,
            reader: None,
        })))
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn grant(&self, bytes: usize) {
        let mut count = self.count();
        count.exchanges = count.exchanges.saturating_add(1);
        count.granted = count.granted.saturating_add(bytes);
        let reader = count.reader.take();
        drop(count);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn release(&self) {
        let mut count = self.count();
        count.exchanges = count.exchanges.saturating_sub(1);
        if count.exchanges == 0 {
            (count.granted, count.received) = (IDLE, 0);
        }
    }

    /// Ready if the connection may read. Without an exchange it waits for one at its limit, because the connection may be
    /// read by another thread before the exchange that it was given to has granted anything.
    fn poll_readable(&self, context: &Context<'_>) -> Poll<()> {
        let mut count = self.count();
        if count.exchanges > 0 || count.received < count.granted {
            return Poll::Ready(());
        }
        count.reader = Some(context.waker().clone());
        Poll::Pending
    }

    fn receive(&self, bytes: usize) -> Result<(), Error> {
        let mut count = self.count();
        count.received = count.received.saturating_add(bytes);
        if count.exchanges > 0 && count.received > count.granted {
            count.exhausted = true;
            return Err(Error::Flood);
        }
        Ok(())
    }
}

/// The grant of one exchange, or of a handshake, until it is dropped.
#[derive(Debug)]
pub(super) struct Grant {
    bytes: usize,
    meter: Option<Meter>,
}

impl Grant {
    /// A grant for a body of `max_body` and what is around it, not yet to any connection.
    pub(super) fn new(max_body: usize) -> Self {
        Self {
            bytes: max_body.saturating_add(AROUND_BODY),
            meter: None,
        }
    }

    /// Grants the bytes to this connection, and no longer to the one before.
    pub(super) fn give_to(&mut self, meter: &Meter) {
        let before = self.meter.as_ref();
        if before.is_some_and(|before| Arc::ptr_eq(&before.0, &meter.0)) {
            return;
        }
        meter.grant(self.bytes);
        if let Some(before) = self.meter.replace(meter.clone()) {
            before.release();
        }
    }

    /// Whether the server has sent more than was granted.
    pub(super) fn is_exhausted(&self) -> bool {
        self.meter
            .as_ref()
            .is_some_and(|meter| meter.count().exhausted)
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some(meter) = &self.meter {
            meter.release();
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
        ready!(self.meter.poll_readable(context));
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let received = buffer.filled().len().saturating_sub(before);
        Poll::Ready(self.meter.receive(received).map_err(io::Error::other))
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
