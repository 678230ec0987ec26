//! Counts of decisions, by operation and outcome.
//!
//! Owns one set of counters per thread, up to a bound, each on cache lines of its own: all workers count every request, and
//! one shared line would travel between their cores each time. Reading adds them up.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::audit::Operation;

/// Sets of counters. With more threads than this, some share a set, which costs time and no count.
const SHARDS: usize = 32;

/// The number of threads that have counted something.
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The number of this thread, once it has counted something.
    static THREAD: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Counts of decisions about one operation, since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// The operation.
    pub operation: Operation,
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that policy denied, or whose peer was not the process that connected.
    pub denied: u64,
    /// Requests that failed for another reason.
    pub failed: u64,
}

/// The counters of one operation.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) answered: AtomicU64,
    pub(super) denied: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// The counters of one thread, on cache lines of their own. Two lines, because processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard([Counters; Operation::ALL.len()]);

impl Shard {
    fn of(&self, operation: Operation) -> Option<&Counters> {
        self.0.get(operation as usize)
    }
}

/// Counters of decisions.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    shards: [Shard; SHARDS],
}

impl Metrics {
    /// The counts of all threads, for each operation.
    pub(crate) fn read(&self) -> Vec<Counts> {
        Operation::ALL
            .into_iter()
            .map(|operation| {
                let sum = |counter: fn(&Counters) -> &AtomicU64| {
                    self.shards
                        .iter()
                        .filter_map(|shard| shard.of(operation))
                        .map(|counters| counter(counters).load(Ordering::Relaxed))
                        .sum()
                };
                Counts {
                    operation,
                    answered: sum(|counters| &counters.answered),
                    denied: sum(|counters| &counters.denied),
                    failed: sum(|counters| &counters.failed),
                }
            })
            .collect()
    }

    /// Counts one decision about `operation` by the `counter` of its outcome.
    pub(super) fn count(&self, operation: Operation, counter: fn(&Counters) -> &AtomicU64) {
        let shard = self.shards.get(thread() % SHARDS);
        if let Some(counters) = shard.and_then(|shard| shard.of(operation)) {
            counter(counters).fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The number of this thread.
fn thread() -> usize {
    THREAD.with(|thread| {
        thread.get().unwrap_or_else(|| {
            let number = THREADS.fetch_add(1, Ordering::Relaxed);
            thread.set(Some(number));
            number
        })
    })
}
