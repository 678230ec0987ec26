//! Counts of decisions.
//!
//! Owns one set of counters per thread, up to a bound, each on cache lines of its own: all workers count every request, and
//! one shared line would travel between their cores each time. Reading adds them up.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Sets of counters. With more threads than this, some share a set, which costs time and no count.
const SHARDS: usize = 32;

/// The number of threads that have counted something.
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The number of this thread, once it has counted something.
    static THREAD: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Counts of decisions since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that policy denied, or whose peer was not the process that connected.
    pub denied: u64,
    /// Requests that failed for another reason.
    pub failed: u64,
}

/// One set of counters, on cache lines of its own. Two lines, because processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    answered: AtomicU64,
    denied: AtomicU64,
    failed: AtomicU64,
}

/// Counters of decisions.
#[derive(Debug, Default)]
pub struct Metrics {
    shards: [Shard; SHARDS],
}

impl Metrics {
    /// The counts of all threads.
    #[must_use]
    pub fn read(&self) -> Counts {
        self.shards
            .iter()
            .fold(Counts::default(), |sum, shard| Counts {
                answered: sum.answered + shard.answered.load(Ordering::Relaxed),
                denied: sum.denied + shard.denied.load(Ordering::Relaxed),
                failed: sum.failed + shard.failed.load(Ordering::Relaxed),
            })
    }

    pub(super) fn count_answered(&self) {
        self.count(|shard| &shard.answered);
    }

    pub(super) fn count_denied(&self) {
        self.count(|shard| &shard.denied);
    }

    pub(super) fn count_failed(&self) {
        self.count(|shard| &shard.failed);
    }

    fn count(&self, counter: fn(&Shard) -> &AtomicU64) {
        if let Some(shard) = self.shards.get(thread() % SHARDS) {
            counter(shard).fetch_add(1, Ordering::Relaxed);
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
