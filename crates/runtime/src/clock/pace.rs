//! A pace that must not be exceeded in the long run.
//!
//! Owns the generic cell rate algorithm: one number of state, so taking is one atomic update and needs no lock. Runs on the
//! boot-time clock, so steps of the wall clock give nothing away. Knows nothing of what is paced.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Moment;

/// A pace, and how far it is used up.
#[derive(Debug)]
pub struct Pace {
    /// Boot time, in nanoseconds, at which it is whole again: when the next one would be due at an even pace.
    due: AtomicU64,
    /// Nanoseconds between two at an even pace.
    interval: u64,
    /// Nanoseconds by which an even pace may be run ahead of.
    tolerance: u64,
}

impl Pace {
    /// One per `interval` in the long run, and as many at once as fit into `tolerance` besides the first.
    #[must_use]
    pub fn new(interval: Duration, tolerance: Duration) -> Self {
        Self {
            due: AtomicU64::new(0),
            interval: nanoseconds(interval),
            tolerance: nanoseconds(tolerance),
        }
    }

    /// Takes one.
    ///
    /// # Errors
    /// How long to wait, if none is left.
    pub fn take(&self, now: Moment) -> Result<(), Duration> {
        self.take_within(self.tolerance, now)
    }

    /// Takes one and leaves half of what may come at once to others: whoever takes this way, however often, never keeps
    /// [`Pace::take`] waiting, unless only one may come at once.
    ///
    /// # Errors
    /// How long to wait, if none may be taken.
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

    /// Whether nothing of it is used up.
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
    fn those_who_take_at_once_never_get_more_together() {
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
        fn no_stretch_of_time_gives_more_than_the_pace(
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
                    // A moment before the time that it says there is none yet.
                    Err(left) => {
                        let left = u64::try_from(left.as_millis()).unwrap();
                        prop_assert!(left > 0 && pace.take(at(now + left - 1)).is_err());
                    }
                }
                prop_assert!(taken <= burst + now / interval);
            }
        }

        #[test]
        fn who_takes_sparingly_leaves_half(
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
