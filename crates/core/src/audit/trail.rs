//! What has been recorded about one peer.
//!
//! Owns [`Trail`], one per identity, and [`Recorder`], one per connection, which answers for most requests without touching
//! what the connections of an identity share. Both remember a bounded number of releases; a release that was forgotten is
//! recorded again, so forgetting hides nothing.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::audit::Entry;
use claviger_runtime::clock::{Clock, Moment, Pace};
use claviger_runtime::telemetry::Event;

/// Records of refusals that one identity may cause: five at once, one per second. A flood must not bury the rest of the log.
const REFUSALS: Rate = Rate {
    interval: Duration::from_secs(1),
    burst: 5,
};

/// Records of refusals in all: at most 20 in any second, ten per second in the long run.
const ALL_REFUSALS: Rate = Rate {
    interval: Duration::from_millis(100),
    burst: 10,
};

/// Records of first releases that one identity may cause: 64 at once, ten per second.
const RELEASES: Rate = Rate {
    interval: Duration::from_millis(100),
    burst: 64,
};

/// The most releases that are remembered, of an identity and of a connection.
const MOST_REMEMBERED: usize = 64;

#[derive(Clone, Copy)]
struct Rate {
    interval: Duration,
    burst: u32,
}

impl Rate {
    fn pace(self) -> Pace {
        let ahead = self.burst.saturating_sub(1);
        Pace::new(self.interval, self.interval.saturating_mul(ahead))
    }
}

/// One generation of one credential.
#[derive(Debug)]
struct Credential {
    event: Event,
    name: Box<str>,
    generation: u64,
}

/// The credentials released last.
#[derive(Debug, Default)]
struct Remembered(VecDeque<Credential>);

impl Remembered {
    fn has(&self, entry: &Entry<'_>, generation: u64) -> bool {
        let event = entry.operation.event();
        self.0.iter().any(|known| {
            known.generation == generation && known.event == event && *known.name == *entry.name
        })
    }

    fn remember(&mut self, entry: &Entry<'_>, generation: u64) {
        if self.0.len() >= MOST_REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(Credential {
            event: entry.operation.event(),
            name: entry.name.into(),
            generation,
        });
    }
}

fn lock(remembered: &Mutex<Remembered>) -> MutexGuard<'_, Remembered> {
    remembered.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bounds the records of refusals of some peers.
#[derive(Debug)]
pub(super) struct Refusals {
    pace: Pace,
    /// Those that were not recorded since the last one that was.
    suppressed: AtomicU64,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            pace: REFUSALS.pace(),
            suppressed: AtomicU64::new(0),
        }
    }
}

impl Refusals {
    /// Whether a refusal may be recorded now, within the bound on `all`; if so, how many were left out before it.
    pub(super) fn may_record(&self, all: &Pace, now: Moment) -> Option<u64> {
        match self.pace.take(now).and_then(|()| all.take(now)) {
            Ok(()) => Some(self.suppressed.swap(0, Ordering::Relaxed)),
            Err(_wait) => {
                self.suppressed.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }
}

/// The bound on the records of all refusals.
pub(super) fn all_refusals() -> Pace {
    ALL_REFUSALS.pace()
}

/// What has been recorded about one identity.
#[derive(Debug)]
pub(crate) struct Trail {
    refusals: Refusals,
    releases: Pace,
    remembered: Mutex<Remembered>,
}

impl Default for Trail {
    fn default() -> Self {
        Self {
            refusals: Refusals::default(),
            releases: RELEASES.pace(),
            remembered: Mutex::default(),
        }
    }
}

impl Trail {
    /// Whether both rates are whole again, so that forgetting the trail makes room for no flood.
    pub(crate) fn is_whole(&self, now: Moment) -> bool {
        self.refusals.pace.is_whole(now) && self.releases.is_whole(now)
    }
}

/// What one connection's peer leaves behind. Connections of one identity share its [`Trail`].
#[derive(Debug)]
pub(crate) struct Recorder {
    trail: Arc<Trail>,
    /// What this connection knows to be recorded, so that repeats do not meet at the lock of the trail.
    remembered: Mutex<Remembered>,
}

impl Recorder {
    /// The recorder of a new connection.
    pub(crate) fn new(trail: Arc<Trail>) -> Self {
        Self {
            trail,
            remembered: Mutex::default(),
        }
    }

    /// Whether this release must be recorded: the first one of this generation to the identity. It then counts as recorded.
    pub(super) fn is_first(&self, entry: &Entry<'_>, generation: u64, clock: &dyn Clock) -> bool {
        if lock(&self.remembered).has(entry, generation) {
            return false;
        }
        let mut shared = lock(&self.trail.remembered);
        let first = !shared.has(entry, generation);
        if first {
            // Over its rate it is not remembered either, so that a later release of the same generation is recorded.
            if self.trail.releases.take(clock.now()).is_err() {
                return false;
            }
            shared.remember(entry, generation);
        }
        drop(shared);
        lock(&self.remembered).remember(entry, generation);
        first
    }

    /// What bounds the records of refusals of this identity.
    pub(super) fn refusals(&self) -> &Refusals {
        &self.trail.refusals
    }
}
