//! Counts of connections.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Counts of connections.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    open: AtomicUsize,
    refused: AtomicU64,
}

impl Metrics {
    /// Connections open now.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections refused because a limit was reached or the peer could not be identified.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn count_opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}
