//! One connection, from its preface to its end.
//!
//! Owns the protocol limits and the connection's age. A connection is shut down gracefully when it reaches its age, the daemon
//! drains or its slot is needed for another: streams in progress may finish, watches end, and the caller reconnects. Old
//! connections are not kept because one copy of the last answer stays in the write buffer of an idle one.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::answers::Problem;
use crate::context::{Context, Shared};
use crate::dialect::Dialect;
use crate::dispatch::Dispatch;
use crate::pool::Slot;
use crate::preface::Preface;
use crate::settings::Limits;
use claviger_core::broker::Session;

/// The window of HTTP/2 that no connection can go below (RFC 9113 §6.9.2).
const WINDOW: u32 = 65_535;

/// How long an idle connection may take to close when its slot is needed: enough for a request that was on its way.
const EVICTION: Duration = Duration::from_secs(1);

/// Serves one connection to its end.
pub(crate) async fn serve<S>(stream: S, session: Session, slot: Slot, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &shared.settings.limits;
    let closing = CancellationToken::new();
    let dispatch = Dispatch {
        context: Context {
            session: Arc::new(session),
            shared: Arc::clone(&shared),
            closing: closing.clone(),
            span: Span::none(),
        },
        requests: slot.requests(),
        in_flight: Arc::new(Semaphore::new(limits.in_flight)),
    };
    let evicted = slot.evicted();
    let io = TokioIo::new(Preface::new(stream, limits.preface, Some(slot)));
    let builder = protocol(limits);
    let mut connection = pin!(builder.serve_connection(io, dispatch));
    // A request may take its whole limit; the connection is then closed whatever is unfinished.
    let grace = limits.request.saturating_add(Duration::from_secs(1));
    let ended = tokio::select! {
        ended = connection.as_mut() => Ok(ended),
        () = tokio::time::sleep(spread(limits.connection_age)) => Err(grace),
        () = shared.drain.begun() => Err(grace),
        () = evicted.cancelled() => Err(EVICTION),
    };
    let ended = match ended {
        Ok(ended) => ended,
        Err(grace) => {
            closing.cancel();
            connection.as_mut().graceful_shutdown();
            let last = tokio::time::timeout(grace, connection);
            last.await.unwrap_or(Ok(()))
        }
    };
    if ended.is_err() {
        // The peer caused it, and the library's text may quote what the peer sent.
        tracing::debug!(target: "claviger::server", "connection ended by a protocol or stream error");
    }
}

/// Answers the first request of a peer that is not served with `problem`, and closes the connection.
pub(crate) async fn refuse<S>(stream: S, problem: Problem, slot: Slot, limits: &Limits)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (answered, evicted) = (CancellationToken::new(), slot.evicted());
    let service = service_fn(|request: Request<Incoming>| {
        answered.cancel();
        let response = Dialect::of(&request).refuse(problem.clone());
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let io = TokioIo::new(Preface::new(stream, limits.preface, Some(slot)));
    let builder = protocol(limits);
    let mut connection = pin!(builder.serve_connection(io, service));
    let ended = tokio::select! {
        _ended = connection.as_mut() => true,
        () = evicted.cancelled() => true,
        () = answered.cancelled() => false,
    };
    if !ended {
        connection.as_mut().graceful_shutdown();
        // The peer may not read the answer.
        drop(tokio::time::timeout(limits.preface, connection).await);
    }
}

/// Up to a tenth less, so that connections opened together do not all reconnect together.
fn spread(age: Duration) -> Duration {
    age.mul_f64(1.0 - fastrand::f64() / 10.0)
}

/// Both protocols with every limit set: the defaults bound neither streams nor memory.
fn protocol(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.preface)
        .max_headers(64)
        .max_buf_size(
            usize::try_from(limits.header_bytes)
                .unwrap_or(8192)
                .max(8192),
        )
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.header_bytes)
        // What a peer may send before it is read. Messages are small, so the smallest window that the protocol permits is
        // enough.
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(16 * 1024)
        .max_send_buf_size(64 * 1024)
        .max_pending_accept_reset_streams(64)
        .max_local_error_reset_streams(64)
        .keep_alive_interval(limits.keepalive)
        .keep_alive_timeout(limits.keepalive_answer);
    builder
}
