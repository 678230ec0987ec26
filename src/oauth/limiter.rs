//! How often claviger allows itself to ask an issuer.
//!
//! Owns the limit on token requests of one client: so many at once, refilled evenly over a minute (the generic cell rate
//! algorithm: one number of state). Runs on the boot-time clock, so that steps of the wall clock give nothing away. It
//! guards requests to issuers alone; answers from the cache never come here.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Moment;

const MINUTE: Duration = Duration::from_mins(1);

/// The limit of one client at one issuer.
#[derive(Debug)]
pub(crate) struct Limiter {
    /// The time that one request uses up.
    interval: Duration,
    /// How far requests may run ahead of an even pace.
    tolerance: Duration,
    /// When the next request would be due at an even pace, on the boot-time clock.
    due: Mutex<Duration>,
}

impl Limiter {
    /// Allows `per_minute` requests at once and in every minute; at least one.
    pub(crate) fn new(per_minute: u32) -> Self {
        let per_minute = per_minute.max(1);
        let interval = MINUTE.checked_div(per_minute).unwrap_or(MINUTE);
        Self {
            interval,
            tolerance: MINUTE.saturating_sub(interval),
            due: Mutex::new(Duration::ZERO),
        }
    }

    /// Takes one request.
    ///
    /// # Errors
    /// How long to wait, if none is left.
    pub(crate) fn take(&self, now: Moment) -> Result<(), Duration> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let start = (*due).max(now.boot);
        let ahead = start.saturating_sub(now.boot);
        if ahead > self.tolerance {
            return Err(ahead.saturating_sub(self.tolerance));
        }
        *due = start.saturating_add(self.interval);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SteppedClock};

    fn taken(limiter: &Limiter, now: Moment) -> usize {
        std::iter::repeat_with(|| limiter.take(now))
            .take_while(Result::is_ok)
            .count()
    }

    #[tokio::test(start_paused = true)]
    async fn ten_at_once_and_ten_a_minute() {
        let clock = SteppedClock::new();
        let limiter = Limiter::new(10);
        assert_eq!(taken(&limiter, clock.now()), 10);
        assert_eq!(limiter.take(clock.now()), Err(Duration::from_secs(6)));
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(taken(&limiter, clock.now()), 1);
        tokio::time::advance(Duration::from_mins(10)).await;
        assert_eq!(taken(&limiter, clock.now()), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn steps_of_the_wall_clock_give_nothing() {
        let clock = SteppedClock::new();
        let limiter = Limiter::new(3);
        assert_eq!(taken(&limiter, clock.now()), 3);
        clock.step_wall(3600);
        assert_eq!(taken(&limiter, clock.now()), 0);
        assert_eq!(taken(&Limiter::new(0), clock.now()), 1);
    }
}
