//! Pauses between retries.
//!
//! Owns [`Backoff`], the exponential pause between attempts; its [`Jitter`], which keeps many callers from retrying at the same
//! time; and [`Roll`], the random number that selects a pause within the jitter. Pure except for [`Roll::random`]: a roll is an
//! argument, so tests reach every edge deterministically. Never waits, and never decides whether to retry. Next: `breaker`.

use std::time::Duration;

/// A random number from 0 to [`Roll::STEPS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roll(u32);

impl Roll {
    /// The largest roll.
    pub const STEPS: u32 = 1000;
    /// The roll that gives the shortest pause.
    pub const LEAST: Self = Self(0);
    /// The roll that gives the longest pause.
    pub const MOST: Self = Self(Self::STEPS);

    /// This roll; numbers above [`Roll::STEPS`] count as `STEPS`.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(if number > Self::STEPS {
            Self::STEPS
        } else {
            number
        })
    }

    /// A random roll. Not for secrets.
    #[must_use]
    pub fn random() -> Self {
        Self(fastrand::u32(0..=Self::STEPS))
    }

    /// The part of `whole` that the roll selects: nothing at [`Roll::LEAST`], all at [`Roll::MOST`].
    #[must_use]
    pub fn part(self, whole: Duration) -> Duration {
        whole.saturating_mul(self.0) / Self::STEPS
    }
}

/// The range from which a jittered duration is drawn, in percent of the duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jitter {
    /// Percent of the duration at [`Roll::LEAST`].
    pub low: u32,
    /// Percent of the duration at [`Roll::MOST`]. Not below `low`.
    pub high: u32,
}

impl Jitter {
    /// The duration itself.
    pub const NONE: Self = Self {
        low: 100,
        high: 100,
    };
    /// From nothing to the duration.
    pub const FULL: Self = Self { low: 0, high: 100 };
    /// From half the duration to the duration.
    pub const HALF: Self = Self { low: 50, high: 100 };

    /// Up to `percent` in either direction.
    #[must_use]
    pub const fn around(percent: u32) -> Self {
        Self {
            low: 100_u32.saturating_sub(percent),
            high: 100_u32.saturating_add(percent),
        }
    }

    /// `duration`, moved by the roll. Saturates.
    #[must_use]
    pub fn apply(self, duration: Duration, roll: Roll) -> Duration {
        let percent = |number| duration.saturating_mul(number) / 100;
        let range = percent(self.high.saturating_sub(self.low));
        percent(self.low).saturating_add(roll.part(range))
    }
}

/// An exponential pause: `first` after the first failure, twice as long after each further one, jittered, at most `most`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The pause after the first failure, before jitter.
    pub first: Duration,
    /// The longest pause, jitter included.
    pub most: Duration,
    /// What the roll decides.
    pub jitter: Jitter,
}

impl Backoff {
    /// The pause after the `failures`-th failure in a row, counted from 1 (0 counts as 1). Saturates.
    #[must_use]
    pub fn pause(self, failures: u32, roll: Roll) -> Duration {
        let factor = 2_u32.saturating_pow(failures.saturating_sub(1));
        let pause = self.first.saturating_mul(factor).min(self.most);
        self.jitter.apply(pause, roll).min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_millis(500),
        most: Duration::from_secs(150),
        jitter: Jitter::around(20),
    };

    #[test]
    fn the_pause_doubles_from_the_first_to_the_longest() {
        let pause = |failures| BACKOFF.pause(failures, Roll::new(500)).as_millis();
        assert_eq!(
            [0, 1, 2, 3, 9, 10, 60, u32::MAX].map(pause),
            [500, 500, 1000, 2000, 128_000, 150_000, 150_000, 150_000]
        );
    }

    #[test]
    fn the_roll_moves_the_pause_within_its_jitter_and_never_past_the_longest() {
        for (jitter, failures, least, most) in [
            (Jitter::NONE, 1, 500, 500),
            (Jitter::FULL, 1, 0, 500),
            (Jitter::HALF, 2, 500, 1000),
            (Jitter::around(20), 1, 400, 600),
            (Jitter::around(20), 99, 120_000, 150_000),
            (Jitter::around(120), 1, 0, 1100),
        ] {
            let backoff = Backoff { jitter, ..BACKOFF };
            let pause = |roll| backoff.pause(failures, roll).as_millis();
            assert_eq!((pause(Roll::LEAST), pause(Roll::MOST)), (least, most));
            assert_eq!(pause(Roll::new(u32::MAX)), most);
            assert!((least..=most).contains(&pause(Roll::random())));
        }
    }

    #[test]
    fn arithmetic_saturates() {
        let longest = Backoff {
            first: Duration::MAX,
            most: Duration::MAX,
            jitter: Jitter::NONE,
        };
        assert!(longest.pause(u32::MAX, Roll::MOST) > Duration::from_hours(1 << 20));
    }
}
