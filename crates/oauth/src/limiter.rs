//! The rate limit of one client towards its issuer.
//!
//! Owns the limit on token requests: so many at once, refilled evenly over a minute, and none while the issuer's `Retry-After`
//! lasts. It counts requests to issuers alone; answers from the cache are not counted. Runs on the boot-time clock, so a step
//! of the wall clock adds no request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use claviger_core::tokens::source::Urgency;
use claviger_runtime::clock::{Moment, Pace};

const MINUTE: Duration = Duration::from_mins(1);

/// The limit of one client at one issuer.
#[derive(Debug)]
pub(crate) struct Limiter {
    pace: Pace,
    /// Boot time, in milliseconds, until which the issuer wants to hear nothing of the client.
    quiet_until: AtomicU64,
}

impl Limiter {
    /// `count` requests at once and in every minute; at least one.
    pub(crate) fn per_minute(count: u32) -> Self {
        let interval = MINUTE.checked_div(count.max(1)).unwrap_or(MINUTE);
        Self {
            pace: Pace::new(interval, MINUTE.saturating_sub(interval)),
            quiet_until: AtomicU64::new(0),
        }
    }

    /// Takes one request.
    ///
    /// # Errors
    /// How long to wait, if none is left or the issuer asked for a pause.
    pub(crate) fn take(&self, urgency: Urgency, now: Moment) -> Result<(), Duration> {
        let quiet = Duration::from_millis(self.quiet_until.load(Ordering::Relaxed));
        let left = quiet.saturating_sub(now.boot);
        match urgency {
            _ if !left.is_zero() => Err(left),
            Urgency::Needed | Urgency::Ordered => self.pace.take(now),
            Urgency::Early => self.pace.take_sparingly(now),
        }
    }

    /// Notes that the issuer asked for a pause of this length. It applies to all requests of the client: an issuer locks out
    /// clients that do not pause.
    pub(crate) fn keep_quiet(&self, now: Moment, wait: Duration) {
        let until = now.boot.saturating_add(wait).as_millis();
        let until = u64::try_from(until).unwrap_or(u64::MAX);
        self.quiet_until.fetch_max(until, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use claviger_runtime::clock::{Clock as _, SteppedClock};

    fn taken(limiter: &Limiter, now: Moment) -> usize {
        std::iter::repeat_with(|| limiter.take(Urgency::Needed, now))
            .take_while(Result::is_ok)
            .count()
    }

    #[tokio::test(start_paused = true)]
    async fn ten_at_once_and_ten_a_minute() {
        let clock = SteppedClock::new();
        let limiter = Limiter::per_minute(10);
        assert_eq!(taken(&limiter, clock.now()), 10);
        let six = Err(Duration::from_secs(6));
        assert_eq!(limiter.take(Urgency::Needed, clock.now()), six);
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(taken(&limiter, clock.now()), 1);
        tokio::time::advance(Duration::from_mins(10)).await;
        assert_eq!(taken(&limiter, clock.now()), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn steps_of_the_wall_clock_give_nothing() {
        let clock = SteppedClock::new();
        let limiter = Limiter::per_minute(3);
        assert_eq!(taken(&limiter, clock.now()), 3);
        clock.step_wall(3600);
        assert_eq!(taken(&limiter, clock.now()), 0);
        assert_eq!(taken(&Limiter::per_minute(0), clock.now()), 1);
    }
}
