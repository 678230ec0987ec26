//! When to ask a backend, and when not to.
//!
//! Owns the arithmetic of the refresh schedule and the circuit [`Breaker`]. Pure: time and luck are arguments (`roll` is a
//! number from 0 to [`DICE`]), so every edge is tested without waiting for it. Next: `origin`, which keeps one schedule per
//! secret, and `upstream`, which keeps one breaker per backend.

use std::time::Duration;

use claviger_backend::{Class, Kind};

use claviger_runtime::clock::{Deadline, Moment};

/// All attempts of one flight together.
pub(super) const OPERATION: Duration = Duration::from_secs(10);

/// The largest roll.
pub(super) const DICE: u32 = 1000;

/// What was fetched together is spread over this long, so that it is not refreshed together for ever.
const FIRST_SPREAD: Duration = Duration::from_secs(5);
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_MOST: Duration = Duration::from_secs(150);
/// How long a backend's final "no" is believed. An operator's refresh asks all the same.
const NEGATIVE: Duration = Duration::from_secs(5);
/// A backend may ask for more patience than our own backoff has, but not for ever.
const RETRY_AFTER_MOST: Duration = Duration::from_hours(1);

const BREAKER_FAILURES: u32 = 5;
const BREAKER_FIRST: Duration = Duration::from_secs(5);
const BREAKER_MOST: Duration = Duration::from_secs(150);
/// A probe that has not come back after this long is taken for lost.
const PROBE_LIMIT: Duration = Duration::from_secs(15);

/// `base` moved by up to `percent` in either direction.
fn jittered(base: Duration, percent: u32, roll: u32) -> Duration {
    // From -percent to +percent, in thousandths.
    let span = percent.saturating_mul(20).saturating_mul(roll.min(DICE)) / DICE;
    let per_mille = DICE
        .saturating_sub(percent.saturating_mul(10))
        .saturating_add(span);
    base.saturating_mul(per_mille) / DICE
}

/// `most`, or a part of it.
pub(super) fn part(most: Duration, roll: u32) -> Duration {
    most.saturating_mul(roll.min(DICE)) / DICE
}

/// From one confirmation to the next attempt.
pub(super) fn next_refresh(interval: Duration, first: bool, roll: u32) -> Duration {
    let next = jittered(interval, 10, roll);
    if first {
        next.saturating_add(part(FIRST_SPREAD.min(interval), roll))
    } else {
        next
    }
}

/// The longest time between two confirmations when nothing is wrong: refreshes are spread, and one takes its time. A shorter
/// stale bound would refuse values of a backend that is well.
#[must_use]
pub fn slowest_refresh(interval: Duration) -> Duration {
    next_refresh(interval, true, DICE).saturating_add(OPERATION)
}

/// From the `failures`-th failure in a row, counted from 1, to the next attempt.
pub(super) fn backoff(kind: Kind, failures: u32, roll: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let first = if kind.class() == Class::Authoritative {
        NEGATIVE
    } else {
        BACKOFF_FIRST
    };
    let base = first.saturating_mul(1_u32 << doublings).min(BACKOFF_MOST);
    let wait = jittered(base, 20, roll).min(BACKOFF_MOST);
    let asked = if let Kind::RateLimited {
        retry_after: Some(asked),
    } = kind
    {
        asked.min(RETRY_AFTER_MOST)
    } else {
        Duration::ZERO
    };
    let floor = if kind.class() == Class::Authoritative {
        NEGATIVE
    } else {
        Duration::ZERO
    };
    wait.max(asked).max(floor)
}

/// Keeps a backend that does not answer from being asked by everybody in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breaker {
    /// Calls pass.
    Closed {
        /// Failures in a row.
        failures: u32,
    },
    /// Calls are refused.
    Open {
        /// Until then.
        until: Deadline,
        /// For how long it was opened; the next time it is twice as long.
        span: Duration,
    },
    /// One call was let through to see.
    Probing {
        /// When the probe counts as lost.
        until: Deadline,
        /// For how long it was open before.
        span: Duration,
    },
}

impl Breaker {
    /// Lets a call pass, or says for how long not.
    pub(super) fn admit(&mut self, now: Moment) -> Result<(), Duration> {
        match *self {
            Self::Closed { .. } => Ok(()),
            Self::Open { until, span } | Self::Probing { until, span } => {
                if !until.passed(now) {
                    return Err(until.left(now));
                }
                *self = Self::Probing {
                    until: now.after(PROBE_LIMIT),
                    span,
                };
                Ok(())
            }
        }
    }

    /// Takes note of how a call went. `answered`: the backend spoke, whatever it said.
    pub(super) fn settle(&mut self, now: Moment, answered: bool) {
        if answered {
            *self = Self::Closed { failures: 0 };
            return;
        }
        let open = |span: Duration| Self::Open {
            until: now.after(span),
            span,
        };
        match *self {
            Self::Closed { failures } => {
                let failures = failures.saturating_add(1);
                *self = if failures >= BREAKER_FAILURES {
                    open(BREAKER_FIRST)
                } else {
                    Self::Closed { failures }
                };
            }
            // A call that was under way when it opened.
            Self::Open { .. } => {}
            Self::Probing { span, .. } => *self = open(span.saturating_mul(2).min(BREAKER_MOST)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NOW: Moment = Moment {
        boot: Duration::from_secs(1000),
        wall: Duration::from_secs(2_000_000),
    };

    fn later(seconds: u64) -> Moment {
        Moment {
            boot: NOW.boot + SECOND * u32::try_from(seconds).unwrap(),
            wall: NOW.wall + SECOND * u32::try_from(seconds).unwrap(),
        }
    }

    #[test]
    fn refreshes_are_spread_by_ten_percent_and_the_first_by_five_seconds_more() {
        let interval = SECOND * 300;
        assert_eq!(next_refresh(interval, false, 0), SECOND * 270);
        assert_eq!(next_refresh(interval, false, 500), SECOND * 300);
        assert_eq!(next_refresh(interval, false, DICE), SECOND * 330);
        assert_eq!(next_refresh(interval, true, 0), SECOND * 270);
        assert_eq!(next_refresh(interval, true, DICE), SECOND * 335);
        assert_eq!(slowest_refresh(interval), SECOND * 345);
    }

    #[test]
    fn backoff_doubles_from_half_a_second_to_its_ceiling() {
        let wait = |failures| backoff(Kind::Timeout, failures, 500).as_millis();
        assert_eq!(
            [1, 2, 3, 9, 10, 60].map(wait),
            [500, 1000, 2000, 128_000, 150_000, 150_000]
        );
        assert_eq!(wait(u32::MAX), 150_000);
        assert_eq!(backoff(Kind::Timeout, 1, 0).as_millis(), 400);
        assert_eq!(backoff(Kind::Timeout, 1, DICE).as_millis(), 600);
        assert_eq!(backoff(Kind::Timeout, 99, DICE).as_millis(), 150_000);
    }

    #[test]
    fn a_final_no_is_believed_for_five_seconds_at_least() {
        assert_eq!(backoff(Kind::NotFound, 1, 0), NEGATIVE);
        assert_eq!(backoff(Kind::Gone, 2, 500), NEGATIVE * 2);
    }

    #[test]
    fn a_backend_that_asks_for_patience_gets_it_within_reason() {
        let asked = |seconds| Kind::RateLimited {
            retry_after: Some(SECOND * seconds),
        };
        assert_eq!(backoff(asked(30), 1, 500), SECOND * 30);
        assert_eq!(backoff(asked(0), 1, 500), BACKOFF_FIRST);
        assert_eq!(backoff(asked(u32::MAX), 1, 500), RETRY_AFTER_MOST);
    }

    #[test]
    fn the_breaker_opens_after_five_failures_and_lets_one_probe_pass() {
        let mut breaker = Breaker::Closed { failures: 0 };
        for _ in 0..4 {
            breaker.settle(NOW, false);
            assert_eq!(breaker.admit(NOW), Ok(()));
        }
        breaker.settle(NOW, false);
        assert_eq!(breaker.admit(NOW), Err(SECOND * 5));
        breaker.settle(later(2), false);
        assert_eq!(
            breaker.admit(later(4)),
            Err(SECOND),
            "stragglers do not extend it"
        );
        assert_eq!(breaker.admit(later(5)), Ok(()), "the probe");
        assert!(breaker.admit(later(5)).is_err(), "one probe only");
        breaker.settle(later(6), false);
        assert_eq!(breaker.admit(later(6)), Err(SECOND * 10), "twice as long");
        assert_eq!(breaker.admit(later(16)), Ok(()));
        assert_eq!(breaker.admit(later(31)), Ok(()), "the first probe was lost");
        breaker.settle(later(32), true);
        assert_eq!(breaker, Breaker::Closed { failures: 0 });
    }

    #[test]
    fn the_breaker_never_stays_open_longer_than_its_ceiling() {
        let mut breaker = Breaker::Probing {
            until: NOW.after(SECOND),
            span: SECOND * 100,
        };
        breaker.settle(NOW, false);
        assert_eq!(breaker.admit(NOW), Err(BREAKER_MOST));
    }
}
