//! The record of what leaves the daemon.
//!
//! Owns [`Released`], which the encoders of answers accept and nothing else: `Audit::release` alone makes one, and it
//! writes the record first. So an answer without a record does not compile. Owns the counts of decisions, and what has been
//! recorded about each peer: the first release of each generation to an identity is an event, repeats are counted alone, and
//! a flood of refusals is throttled, for each peer and for all. Never decides anything and never holds a credential: a record says who, what, by which
//! rule and with which outcome.
//!
//! A repeated release costs one uncontended lock and one atomic addition: no allocation, no system call. Lives as long as
//! the daemon, whatever configurations come and go. Next: `broker`, which calls it at the end of each decision.

mod metrics;
mod operation;
mod released;
#[cfg(test)]
mod tests;
mod trail;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

pub use metrics::Counts;
pub(crate) use metrics::Metrics;
pub use operation::Operation;
pub use released::Released;
use trail::Refusals;
pub(crate) use trail::{Recorder, Trail};

use crate::peer::Facts;
use claviger_runtime::clock::{Clock, Pace};
use claviger_runtime::reason::Reason;
use claviger_runtime::telemetry::{Causes, EVENTS};

/// What was asked for, by which peer, and the rule that allowed it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// What was asked for.
    pub(crate) operation: Operation,
    /// The name of the configuration that it is about, as the peer wrote it; empty if it is about none.
    pub(crate) name: &'a str,
    /// The peer.
    pub(crate) peer: &'a Facts,
    /// The rule that allowed it, counted from 1; `None` if no rule did, or none is needed.
    pub(crate) rule: Option<u32>,
}

/// Why a request got no answer.
#[derive(Clone, Copy)]
pub(crate) struct Refusal<'a> {
    /// Whether policy denied it, or the peer is not the process that connected; else it was allowed, and failed.
    pub(crate) denied: bool,
    /// Whether the peer is over its budget.
    pub(crate) limited: bool,
    /// Whether no rule selects the peer. Such peers share the records of one: there may be any number of them.
    pub(crate) stranger: bool,
    /// The reason that the caller is given.
    pub(crate) reason: Reason,
    /// The error itself. Holds no secret and no text of a third party.
    pub(crate) detail: &'a (dyn StdError + 'static),
}

impl fmt::Debug for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

/// Records decisions.
#[derive(Debug)]
pub(crate) struct Audit {
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    /// Bounds the records of refusals in all.
    refusals: Pace,
    /// Bounds those of peers that no rule selects, together.
    strangers: Refusals,
}

impl Audit {
    /// Nothing recorded yet.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            metrics: Metrics::default(),
            clock,
            refusals: trail::all_refusals(),
            strangers: Refusals::default(),
        }
    }

    /// Counts of decisions since the start.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Records that `value` goes to the peer, and gives it in the form that the encoders accept. `generation` is that of the
    /// credential in it; `None` if it holds none.
    pub(crate) fn release<T>(
        &self,
        recorder: &Recorder,
        entry: &Entry<'_>,
        generation: Option<u64>,
        value: T,
    ) -> Released<T> {
        self.metrics
            .count(entry.operation, |counters| &counters.answered);
        if entry.operation.is_operators() {
            operated(entry);
        }
        if let Some(generation) = generation
            && recorder.is_first(entry, generation, &*self.clock)
        {
            first_release(entry, generation);
        }
        Released::new(value)
    }

    /// Records that a request got no answer.
    pub(crate) fn refuse(&self, recorder: &Recorder, entry: &Entry<'_>, refusal: &Refusal<'_>) {
        if refusal.denied {
            self.metrics
                .count(entry.operation, |counters| &counters.denied);
        } else {
            self.metrics
                .count(entry.operation, |counters| &counters.failed);
        }
        let refusals = if refusal.stranger {
            &self.strangers
        } else {
            recorder.refusals()
        };
        if let Some(suppressed) = refusals.may_record(&self.refusals, self.clock.now()) {
            refused(entry, refusal, suppressed);
        }
    }
}

fn unit(peer: &Facts) -> Option<&str> {
    peer.cgroup.as_ref()?.unit.as_deref()
}

fn container(peer: &Facts) -> Option<&str> {
    peer.cgroup.as_ref()?.container.as_deref()
}

fn first_release(entry: &Entry<'_>, generation: u64) {
    let peer = entry.peer;
    tracing::info!(
        target: EVENTS,
        event_type = entry.operation.event().name(), operation = entry.operation.as_str(),
        name = entry.name, generation, rule = entry.rule, outcome = "released",
        peer.uid = peer.uid, peer.pid = peer.pid, peer.unit = unit(peer), peer.container = container(peer),
        "first release to this peer",
    );
}

fn operated(entry: &Entry<'_>) {
    tracing::debug!(
        target: "claviger::decision",
        operation = entry.operation.as_str(), name = cut(entry.name), outcome = "answered",
        peer.uid = entry.peer.uid, peer.pid = entry.peer.pid,
        "operator's request answered",
    );
}

fn refused(entry: &Entry<'_>, refusal: &Refusal<'_>, suppressed: u64) {
    let peer = entry.peer;
    let name = cut(entry.name);
    if refusal.limited {
        tracing::warn!(
            target: "claviger::decision",
            operation = entry.operation.as_str(), name, suppressed,
            peer.uid = peer.uid, peer.pid = peer.pid, peer.unit = unit(peer), peer.container = container(peer),
            "Rate limit exceeded",
        );
    } else {
        tracing::info!(
            target: "claviger::decision",
            operation = entry.operation.as_str(), name, outcome = refusal.reason.label(),
            detail = %Causes(refusal.detail), rule = entry.rule, suppressed,
            peer.uid = peer.uid, peer.pid = peer.pid, peer.unit = unit(peer), peer.container = container(peer),
            "request refused",
        );
    }
}

/// A name as a record has it. The peer chose it: records print it quoted and cut, so that it can neither forge nor flood one.
fn cut(name: &str) -> &str {
    let end = name.floor_char_boundary(LONGEST_NAME);
    name.get(..end).unwrap_or_default()
}

/// The longest part of a name that is recorded, in bytes.
const LONGEST_NAME: usize = 64;
