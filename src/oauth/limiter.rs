//! How often claviger allows itself to ask an issuer.
//!
//! Owns the limit on token requests of one client: so many at once, refilled evenly over a minute. It guards requests to
//! issuers alone; answers from the cache never come here.

use std::time::Duration;

use crate::clock::Pace;

const MINUTE: Duration = Duration::from_mins(1);

/// The limit of one client at one issuer: `count` requests at once and in every minute; at least one.
pub(crate) fn per_minute(count: u32) -> Pace {
    let interval = MINUTE.checked_div(count.max(1)).unwrap_or(MINUTE);
    Pace::new(interval, MINUTE.saturating_sub(interval))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, Moment, SteppedClock};

    fn taken(limiter: &Pace, now: Moment) -> usize {
        std::iter::repeat_with(|| limiter.take(now))
            .take_while(Result::is_ok)
            .count()
    }

    #[tokio::test(start_paused = true)]
    async fn ten_at_once_and_ten_a_minute() {
        let clock = SteppedClock::new();
        let limiter = per_minute(10);
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
        let limiter = per_minute(3);
        assert_eq!(taken(&limiter, clock.now()), 3);
        clock.step_wall(3600);
        assert_eq!(taken(&limiter, clock.now()), 0);
        assert_eq!(taken(&per_minute(0), clock.now()), 1);
    }
}
