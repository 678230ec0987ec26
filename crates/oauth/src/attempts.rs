//! How often something is tried, and for how long.
//!
//! Owns the pauses between attempts of one operation: exponential with jitter, or what the issuer asks for, and never past
//! the operation's own end. An issuer that asks for a longer pause than callers wait ends the operation: callers learn at once
//! how long to wait. Which failures deserve another attempt is for the caller.

use std::time::Duration;

use claviger_runtime::clock::{Backoff, Clock, Deadline, Jitter, Roll, sleep_until};

/// Without a longest pause: the end of the operation is the bound.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(100),
    most: Duration::MAX,
    jitter: Jitter::HALF,
};

/// The longest pause that an issuer may ask for while callers wait.
const PATIENCE: Duration = Duration::from_secs(2);

/// The attempts of one operation.
#[derive(Debug)]
pub(crate) struct Attempts<'a> {
    clock: &'a dyn Clock,
    give_up: Deadline,
    failures: u32,
    patience: Duration,
    retries_left: u32,
}

impl<'a> Attempts<'a> {
    /// One attempt and at most `retries` more, all within `limit` from now.
    pub(crate) fn new(clock: &'a dyn Clock, retries: u32, limit: Duration) -> Self {
        Self {
            clock,
            give_up: clock.now().after(limit),
            failures: 0,
            patience: PATIENCE,
            retries_left: retries,
        }
    }

    /// The same for an operation without waiting callers: pauses may be as long as the operation.
    pub(crate) fn patient(self) -> Self {
        Self {
            patience: Duration::MAX,
            ..self
        }
    }

    /// The time left for the attempt under way; `None` if there is none.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let left = self.give_up.left(self.clock.now());
        (!left.is_zero()).then_some(left)
    }

    /// Waits for the next attempt, at least `asked`. Returns whether there is one; if not, returns at once.
    pub(crate) async fn pause(&mut self, asked: Option<Duration>) -> bool {
        let Some(retries_left) = self.retries_left.checked_sub(1) else {
            return false;
        };
        self.retries_left = retries_left;
        self.failures = self.failures.saturating_add(1);
        let pause = BACKOFF
            .pause(self.failures, Roll::random())
            .max(asked.unwrap_or_default());
        if pause > self.patience || self.time_left().is_none_or(|left| pause >= left) {
            return false;
        }
        sleep_until(self.clock, self.clock.now().after(pause)).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use claviger_runtime::clock::SteppedClock;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end() {
        let clock = SteppedClock::new();
        let start = clock.now();
        let mut attempts = Attempts::new(&clock, 2, Duration::from_secs(30));
        assert!(attempts.pause(None).await);
        let first = clock.now().since(start);
        assert!((50..=101).contains(&first.as_millis()), "{first:?}");
        assert!(attempts.pause(Some(Duration::from_secs(2))).await);
        let both = clock.now().since(start);
        assert!((2050..=2150).contains(&both.as_millis()), "{both:?}");
        assert!(!attempts.pause(None).await, "two retries, no more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_longer_than_callers_wait_ends_the_operation() {
        let clock = SteppedClock::new();
        let start = clock.now();
        let mut attempts = Attempts::new(&clock, 2, Duration::from_secs(30));
        for asked in [Duration::from_millis(2001), Duration::from_mins(1)] {
            assert!(!attempts.pause(Some(asked)).await, "{asked:?}");
        }
        assert_eq!(clock.now(), start);
        clock.suspend(Duration::from_mins(1));
        assert_eq!(attempts.time_left(), None);
    }
}
