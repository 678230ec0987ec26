//! What a request is answered with.
//!
//! Owns the context of a request: the connection's session, what all connections of the socket share, and the tracing span.
//! Knows neither dialect, so both can use it. The span has level debug and the fields `peer.uid`, `peer.pid`, `method`,
//! `name`, `cache` and `outcome`; at a less detailed level it is not made at all, which costs one comparison. A stream counts
//! as answered when it begins.
//!
//! Next: `dispatch`, which makes one for each request and reads the outcome from the answer.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::metrics::Metrics;
use crate::operator::Operator;
use crate::settings::Settings;
use crate::standard::StandardServices;
use claviger_core::broker::{Broker, Session};
use claviger_core::peer::{self, Facts};
use claviger_core::secrets::Freshness;
use claviger_runtime::clock::Clock;
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
    pub(crate) fn of_request(&self, method: impl FnOnce() -> String) -> Self {
        Self {
            span: request_span(self.session.facts(), method),
            ..self.clone()
        }
    }

    /// Records in the span which name of the configuration the request is about.
    pub(crate) fn note_name(&self, name: &str) {
        if !self.span.is_disabled() {
            self.span.record("name", cut(name));
        }
    }

    /// Records in the span how fresh the released value is.
    pub(crate) fn note_cache(&self, freshness: Freshness) {
        self.span.record("cache", freshness.as_str());
    }

    /// Ends the span with its one record. `outcome` is called only if there is a span.
    pub(crate) fn answered(&self, outcome: impl FnOnce() -> &'static str) {
        if !self.span.is_disabled() {
            self.span.record("outcome", outcome());
            tracing::debug!(target: "claviger::request", parent: &self.span, "request answered");
        }
    }
}

/// `method` is called only if there is a span.
fn request_span(peer: &Facts, method: impl FnOnce() -> String) -> Span {
    let span = tracing::debug_span!(
        target: "claviger::request",
        "request",
        peer.uid = peer.uid,
        peer.pid = peer.pid,
        method = tracing::field::Empty,
        name = tracing::field::Empty,
        cache = tracing::field::Empty,
        outcome = tracing::field::Empty,
    );
    if !span.is_disabled() {
        span.record("method", method());
    }
    span
}

/// A text that the peer has chosen, as a span has it: cut, and printed quoted.
fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}
