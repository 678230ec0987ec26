//! A rate limit.
//!
//! Owns the generic cell rate algorithm (GCRA): its state is one number, so taking is one atomic update and needs no lock. Uses
//! the boot-time clock, so steps of the wall clock do not affect the rate. Independent of what is limited.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Moment;

/// A rate limit and its state.
#[derive(Debug)]
pub struct Pace {
    /// The boot time, in nanoseconds, at which the full burst is available again: when the next event is due at an even rate
    /// (GCRA's theoretical arrival time).
    due: AtomicU64,
    /// Nanoseconds between events at an even rate.
    interval: u64,
    /// How many nanoseconds ahead of an even rate events may be.
    tolerance: u64,
}

impl Pace {
    /// Allows one event per `interval` on average, and a burst of 1 + `tolerance` / `interval`.
    #[must_use]
    pub fn new(interval: Duration, tolerance: Duration) -> Self {
        Self {
            due: AtomicU64::new(0),
            interval: nanoseconds(interval),
            tolerance: nanoseconds(tolerance),
        }
    }

    /// Takes one event.
    ///
    /// # Errors
    /// The time to wait, if the limit is reached.
    pub fn take(&self, now: Moment) -> Result<(), Duration> {
        self.take_within(self.tolerance, now)
    }

    /// Takes one event, and reserves half of the burst for other callers: however often it is called, [`Pace::take`] never has
    /// to wait because of it, unless the burst is a single event.
    ///
    /// # Errors
    /// The time to wait, if no event may be taken.
    pub fn take_sparingly(&self, now: Moment) -> Result<(), Duration> {
        let spared = self.tolerance.saturating_sub(self.interval) / 2;
        self.take_within(spared, now)
    }

    fn take_within(&self, tolerance: u64, now: Moment) -> Result<(), Duration> {
        let now = nanoseconds(now.boot);
        let mut due = self.due.load(Ordering::Relaxed);
        loop {
            let start = due.max(now);
            let ahead = start.saturating_sub(now);
            if ahead > tolerance {
                return Err(Duration::from_nanos(ahead.saturating_sub(tolerance)));
            }
            let next = start.saturating_add(self.interval);
            let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
            match self.due.compare_exchange_weak(due, next, success, failure) {
                Ok(_) => return Ok(()),
                Err(seen) => due = seen,
            }
        }
    }

    /// Whether the full burst is available.
    #[must_use]
    pub fn is_whole(&self, now: Moment) -> bool {
        self.due.load(Ordering::Relaxed) <= nanoseconds(now.boot)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(milliseconds: u64) -> Moment {
        let since = Duration::from_millis(milliseconds);
        Moment {
            wall: since,
            boot: since,
        }
    }

    #[test]
    fn concurrent_callers_together_never_exceed_the_burst() {
        let pace = Pace::new(Duration::from_secs(1), Duration::from_secs(99));
        let taken: usize = std::thread::scope(|scope| {
            let takers: Vec<_> = std::iter::repeat_with(|| {
                scope.spawn(|| (0..100).filter(|_| pace.take(at(5)).is_ok()).count())
            })
            .take(8)
            .collect();
            takers.into_iter().map(|taker| taker.join().unwrap()).sum()
        });
        assert_eq!(taken, 100);
        assert!(!pace.is_whole(at(5)) && pace.is_whole(at(100_005)));
    }

    proptest! {
        #[test]
        fn no_interval_exceeds_the_rate(
            interval in 1_u64..50,
            burst in 1_u64..20,
            waits in proptest::collection::vec(0_u64..60, 1..200),
        ) {
            let tolerance = Duration::from_millis(interval * (burst - 1));
            let pace = Pace::new(Duration::from_millis(interval), tolerance);
            let mut now = 0;
            let mut taken = 0;
            for wait in waits {
                now += wait;
                match pace.take(at(now)) {
                    Ok(()) => taken += 1,
                    // Just before the reported wait is over, no event is available.
                    Err(left) => {
                        let left = u64::try_from(left.as_millis()).unwrap();
                        prop_assert!(left > 0 && pace.take(at(now + left - 1)).is_err());
                    }
                }
                prop_assert!(taken <= burst + now / interval);
            }
        }

        #[test]
        fn taking_sparingly_leaves_half_of_the_burst(
            interval in 1_u64..50,
            burst in 2_u64..20,
            waits in proptest::collection::vec(0_u64..60, 1..200),
        ) {
            let pace = Pace::new(Duration::from_millis(interval), Duration::from_millis(interval * (burst - 1)));
            let now = waits.iter().fold(0, |now, wait| {
                let _greedy = (0..burst).map(|_| pace.take_sparingly(at(now))).collect::<Vec<_>>();
                now + wait
            });
            let left = (0..burst).filter(|_| pace.take(at(now)).is_ok()).count() as u64;
            prop_assert!(left >= burst / 2, "{left} of {burst}");
            prop_assert!(pace.take_sparingly(at(now)).is_err());
        }

        #[test]
        fn any_settings_and_times_can_be_computed(interval: u64, tolerance: u64, times in proptest::array::uniform4(any::<u64>())) {
            let pace = Pace::new(Duration::from_secs(interval), Duration::from_secs(tolerance));
            for time in times {
                let _outcome = (pace.take(at(time)), pace.take_sparingly(at(time)), pace.is_whole(at(time)));
            }
        }
    }
}
