//! When to fetch a secret again.
//!
//! Owns the arithmetic of the refresh schedule. Pure: the random [`Roll`] is an argument, so every edge is tested without
//! chance. Never decides whether a backend may be called at all: its guard does. Next: `origin`, which keeps one schedule per
//! secret.

use std::time::Duration;

use claviger_backend::{Class, Kind};
use claviger_runtime::clock::{Backoff, Jitter, Roll};

/// All attempts of one flight together.
pub(super) const OPERATION: Duration = Duration::from_secs(10);

/// Secrets that were first fetched together are refreshed up to this long apart.
const FIRST_SPREAD: Duration = Duration::from_secs(5);
const REFRESH_JITTER: Jitter = Jitter::around(10);
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(500),
    most: Duration::from_secs(150),
    jitter: Jitter::around(20),
};
/// The shortest pause after an authoritative failure. An operator's refresh does not wait for it.
const NEGATIVE: Duration = Duration::from_secs(5);
/// The longest pause that a backend can demand.
const RETRY_AFTER_MOST: Duration = Duration::from_hours(1);

/// From one confirmation to the next attempt.
pub(super) fn next_refresh(interval: Duration, first: bool, roll: Roll) -> Duration {
    let next = REFRESH_JITTER.apply(interval, roll);
    if first {
        next.saturating_add(roll.part(FIRST_SPREAD.min(interval)))
    } else {
        next
    }
}

/// The longest time between two confirmations while the backend answers: refreshes are spread, and a fetch takes time. A
/// shorter stale bound would refuse values although the backend answers.
#[must_use]
pub fn slowest_refresh(interval: Duration) -> Duration {
    next_refresh(interval, true, Roll::MOST).saturating_add(OPERATION)
}

/// From the `failures`-th failure in a row, counted from 1, to the next attempt.
pub(super) fn backoff(kind: Kind, failures: u32, roll: Roll) -> Duration {
    if kind.class() == Class::Authoritative {
        let negative = Backoff {
            first: NEGATIVE,
            ..BACKOFF
        };
        return negative.pause(failures, roll).max(NEGATIVE);
    }
    let asked = if let Kind::RateLimited { retry_after } = kind {
        retry_after.unwrap_or_default().min(RETRY_AFTER_MOST)
    } else {
        Duration::ZERO
    };
    BACKOFF.pause(failures, roll).max(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    #[test]
    fn refreshes_are_spread_by_ten_percent_and_the_first_by_five_seconds_more() {
        let interval = SECOND * 300;
        assert_eq!(next_refresh(interval, false, Roll::LEAST), SECOND * 270);
        assert_eq!(next_refresh(interval, false, Roll::new(500)), SECOND * 300);
        assert_eq!(next_refresh(interval, false, Roll::MOST), SECOND * 330);
        assert_eq!(next_refresh(interval, true, Roll::LEAST), SECOND * 270);
        assert_eq!(next_refresh(interval, true, Roll::MOST), SECOND * 335);
        assert_eq!(slowest_refresh(interval), SECOND * 345);
    }

    #[test]
    fn backoff_doubles_from_half_a_second_to_its_ceiling() {
        let wait = |failures| backoff(Kind::Timeout, failures, Roll::new(500)).as_millis();
        assert_eq!(
            [1, 2, 3, 9, 10, 60].map(wait),
            [500, 1000, 2000, 128_000, 150_000, 150_000]
        );
        assert_eq!(wait(u32::MAX), 150_000);
        assert_eq!(backoff(Kind::Timeout, 1, Roll::LEAST).as_millis(), 400);
        assert_eq!(backoff(Kind::Timeout, 1, Roll::MOST).as_millis(), 600);
        assert_eq!(backoff(Kind::Timeout, 99, Roll::MOST).as_millis(), 150_000);
    }

    #[test]
    fn an_authoritative_failure_pauses_for_five_seconds_at_least() {
        assert_eq!(backoff(Kind::NotFound, 1, Roll::LEAST), NEGATIVE);
        assert_eq!(backoff(Kind::Gone, 2, Roll::new(500)), NEGATIVE * 2);
    }

    #[test]
    fn a_backend_that_asks_for_patience_gets_it_within_reason() {
        let asked = |seconds| Kind::RateLimited {
            retry_after: Some(SECOND * seconds),
        };
        assert_eq!(backoff(asked(30), 1, Roll::new(500)), SECOND * 30);
        assert_eq!(backoff(asked(0), 1, Roll::new(500)), BACKOFF.first);
        assert_eq!(
            backoff(asked(u32::MAX), 1, Roll::new(500)),
            RETRY_AFTER_MOST
        );
    }
}
