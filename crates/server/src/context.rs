//! What a request is answered with.
//!
//! Owns the context of a request: the connection's session, what all connections of the socket share, and the tracing span.
//! Knows neither dialect, so both can use it. The span has level debug and the fields `peer.uid`, `peer.pid`, `name`, `cache`
//! and `outcome`; at a less detailed level it is not made at all, which costs one comparison.
//!
//! Next: `dispatch`, which makes one for each request.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::metrics::Metrics;
use crate::operator::Operator;
use crate::settings::Settings;
use crate::standard::StandardServices;
use claviger_core::broker::{Broker, Error, Session};
use claviger_core::peer;
use claviger_core::secrets::Freshness;
use claviger_runtime::clock::Clock;
use claviger_runtime::reason::Reasoned as _;
use claviger_runtime::shutdown::Drain;

/// Which socket a connection came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Face {
    /// For programs.
    Broker,
    /// For operators.
    Admin,
}

/// What every connection of one socket shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) face: Face,
    pub(crate) broker: Arc<Broker>,
    pub(crate) operator: Arc<dyn Operator>,
    pub(crate) peers: Arc<peer::Settings>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) drain: Drain,
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) standard: StandardServices,
}

/// What a request is answered with.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) session: Arc<Session>,
    pub(crate) shared: Arc<Shared>,
    /// Fires when the connection is about to close: watches end.
    pub(crate) closing: CancellationToken,
    /// Of the request; disabled in the context of a connection.
    pub(crate) span: Span,
}

impl Context {
    /// The context of one request on this connection.
    pub(crate) fn of_request(&self) -> Self {
        let facts = self.session.facts();
        Self {
            span: request_span(facts.uid, facts.pid),
            ..self.clone()
        }
    }

    /// Notes in the span what became of a request for `name`; `cache` is how fresh the answer is.
    pub(crate) fn note<T>(
        &self,
        name: &str,
        outcome: &Result<T, Error>,
        cache: impl FnOnce(&T) -> Freshness,
    ) {
        record(&self.span, name, outcome, cache);
    }

    /// Ends the span with its one record.
    pub(crate) fn answered(&self) {
        end(&self.span);
    }
}

fn record<T>(
    span: &Span,
    name: &str,
    outcome: &Result<T, Error>,
    cache: impl FnOnce(&T) -> Freshness,
) {
    if span.is_disabled() {
        return;
    }
    // The name comes from the peer: cut, and printed quoted.
    let name: String = name.chars().take(64).collect();
    span.record("name", name);
    match outcome {
        Ok(answer) => span
            .record("cache", cache(answer).as_str())
            .record("outcome", "answered"),
        Err(error) => span.record("outcome", error.reason().label()),
    };
}

fn end(span: &Span) {
    if !span.is_disabled() {
        tracing::debug!(target: "claviger::request", parent: span, "request answered");
    }
}

fn request_span(uid: u32, pid: u32) -> Span {
    tracing::debug_span!(
        target: "claviger::request",
        "request",
        peer.uid = uid,
        peer.pid = pid,
        name = tracing::field::Empty,
        cache = tracing::field::Empty,
        outcome = tracing::field::Empty,
    )
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: tracing::Level) -> String {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let span = request_span(42, 4711);
            record(&span, "api", &Ok(()), |()| Freshness::Stale);
            end(&span);
        });
        let bytes = log.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_request_is_one_span_with_its_peer_and_outcome_at_debug_alone() {
        let text = logged(tracing::Level::DEBUG);
        for field in [
            "peer.uid=42",
            "peer.pid=4711",
            "name=\"api\"",
            "cache=\"stale\"",
            "outcome=\"answered\"",
        ] {
            assert!(text.contains(field), "{field}: {text}");
        }
        assert_eq!(text.lines().count(), 1, "{text}");
        assert_eq!(logged(tracing::Level::INFO), "");
    }
}
