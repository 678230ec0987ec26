//! A circuit breaker for requests to a server that does not respond.
//!
//! Owns the circuit [`Breaker`]: it opens after several consecutive failures, rejects requests for a while, then admits one
//! probe, whose outcome closes it or opens it for twice as long. Pure: the time is an argument. Never sends a request, and
//! never decides which failures count. Wrap it in a lock to share it. Next: its users, the guard of `registry` and the issuers
//! of `oauth`.

use std::time::Duration;

use super::{Backoff, Deadline, Jitter, Moment, Roll};

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Consecutive failures that open it. 0 counts as 1.
    pub failures: u32,
    /// How long it stays open the first time.
    pub first: Duration,
    /// The longest time that it stays open, after failed probes.
    pub most: Duration,
    /// A probe without an outcome after this time counts as lost, and another is admitted. Must be longer than a request takes.
    pub probe: Duration,
}

/// A circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    settings: BreakerSettings,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Requests pass.
    Closed { failures: u32 },
    /// Requests are rejected until the deadline. `opened` counts how often it has opened since it was last closed.
    Open { until: Deadline, opened: u32 },
    /// One probe is in flight; it counts as lost at the deadline.
    Probing { until: Deadline, opened: u32 },
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub const fn new(settings: BreakerSettings) -> Self {
        Self {
            settings,
            state: State::Closed { failures: 0 },
        }
    }

    /// Admits a request. Once it has been open long enough, it admits one as a probe.
    ///
    /// # Errors
    /// The time until a request may be admitted, if this one is rejected. While a probe is in flight, an estimate.
    pub fn admit(&mut self, now: Moment) -> Result<(), Duration> {
        match self.state {
            State::Closed { .. } => Ok(()),
            State::Open { until, opened } | State::Probing { until, opened } => {
                if !until.passed(now) {
                    // A probe usually ends long before it counts as lost.
                    let probing = matches!(self.state, State::Probing { .. });
                    let longest = if probing {
                        self.settings.first
                    } else {
                        Duration::MAX
                    };
                    return Err(until.left(now).min(longest));
                }
                self.state = State::Probing {
                    until: now.after(self.settings.probe),
                    opened,
                };
                Ok(())
            }
        }
    }

    /// Records the outcome of a request. `answered`: the server responded, with whatever result.
    pub fn settle(&mut self, now: Moment, answered: bool) {
        self.state = match self.state {
            _ if answered => State::Closed { failures: 0 },
            State::Closed { failures } => {
                let failures = failures.saturating_add(1);
                if failures >= self.settings.failures {
                    self.open(now, 1)
                } else {
                    State::Closed { failures }
                }
            }
            // The request was in flight when the breaker opened.
            open @ State::Open { .. } => open,
            State::Probing { opened, .. } => self.open(now, opened.saturating_add(1)),
        };
    }

    /// Takes back an admission: the request was not sent. If it was the probe, the next request is admitted in its place.
    pub fn withdraw(&mut self, now: Moment) {
        if let State::Probing { opened, .. } = self.state {
            self.state = State::Open {
                until: now.after(Duration::ZERO),
                opened,
            };
        }
    }

    fn open(&self, now: Moment, opened: u32) -> State {
        let span = Backoff {
            first: self.settings.first,
            most: self.settings.most,
            jitter: Jitter::NONE,
        };
        State::Open {
            until: now.after(span.pause(opened, Roll::LEAST)),
            opened,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const SETTINGS: BreakerSettings = BreakerSettings {
        failures: 5,
        first: Duration::from_secs(5),
        most: Duration::from_secs(150),
        probe: Duration::from_secs(15),
    };

    fn at(seconds: u64) -> Moment {
        Moment {
            boot: Duration::from_secs(1000 + seconds),
            wall: Duration::from_secs(2_000_000 + seconds),
        }
    }

    #[test]
    fn the_breaker_opens_after_five_failures_and_lets_one_probe_pass() {
        let mut breaker = Breaker::new(SETTINGS);
        for _ in 0..4 {
            breaker.settle(at(0), false);
            assert_eq!(breaker.admit(at(0)), Ok(()));
        }
        breaker.settle(at(0), false);
        assert_eq!(breaker.admit(at(0)), Err(SECOND * 5));
        breaker.settle(at(2), false);
        assert_eq!(
            breaker.admit(at(4)),
            Err(SECOND),
            "requests in flight do not extend it"
        );
        assert_eq!(breaker.admit(at(5)), Ok(()), "the probe");
        assert!(breaker.admit(at(5)).is_err(), "one probe only");
        breaker.settle(at(6), false);
        assert_eq!(breaker.admit(at(6)), Err(SECOND * 10), "twice as long");
        assert_eq!(breaker.admit(at(16)), Ok(()));
        assert_eq!(breaker.admit(at(31)), Ok(()), "the first probe was lost");
        breaker.settle(at(32), true);
        assert_eq!(breaker, Breaker::new(SETTINGS));
    }

    #[test]
    fn a_probe_that_was_not_sent_makes_way_for_the_next() {
        let mut breaker = Breaker::new(SETTINGS);
        breaker.withdraw(at(0));
        assert_eq!(breaker, Breaker::new(SETTINGS));
        for _ in 0..5 {
            breaker.settle(at(0), false);
        }
        breaker.withdraw(at(1));
        assert_eq!(breaker.admit(at(1)), Err(SECOND * 4), "still open");
        assert_eq!(breaker.admit(at(5)), Ok(()), "the probe");
        assert_eq!(breaker.admit(at(5)), Err(SECOND * 5));
        breaker.withdraw(at(6));
        assert_eq!(breaker.admit(at(6)), Ok(()), "another probe");
        breaker.settle(at(7), false);
        assert_eq!(breaker.admit(at(7)), Err(SECOND * 10), "opened twice");
    }

    #[test]
    fn an_answer_resets_the_count_of_failures() {
        let mut breaker = Breaker::new(SETTINGS);
        for _ in 0..3 {
            for _ in 0..4 {
                breaker.settle(at(0), false);
            }
            breaker.settle(at(0), true);
        }
        assert_eq!(breaker.admit(at(0)), Ok(()));
    }

    #[test]
    fn the_breaker_never_stays_open_longer_than_its_limit() {
        let mut breaker = Breaker::new(SETTINGS);
        for _ in 0..5 {
            breaker.settle(at(0), false);
        }
        let mut now = 0;
        for _ in 0..20 {
            now += 150;
            assert_eq!(breaker.admit(at(now)), Ok(()));
            breaker.settle(at(now), false);
        }
        assert_eq!(breaker.admit(at(now)), Err(SETTINGS.most));
    }
}
