//! Where an entry of the cache stands, and when it moves on.
//!
//! Owns the [`State`] of an entry, its transitions and its timing. Pure: time and luck are arguments (`roll` is a number
//! from 0 to [`DICE`]), so every edge has a row in a table test. Holds no token; `entry` keeps the token beside it and drops
//! it as soon as the state no longer has a [`Life`].

use std::time::Duration;

use crate::clock::{Deadline, Moment};
use crate::oauth::Verdict;

/// The largest roll.
pub(super) const DICE: u32 = 1000;

/// A token is renewed this long before it expires at the latest, or a fifth of its lifetime if that is shorter.
const BUFFER_MOST: Duration = Duration::from_mins(5);
/// An old token is not served for its last half minute, or for its last tenth if that is shorter.
const FLOOR_MOST: Duration = Duration::from_secs(30);
/// An issuer that answers with the token it gave before is asked again after this long at the earliest.
const REPEAT_LEAST: Duration = Duration::from_secs(5);
/// Between requests to an issuer whose tokens live for no time.
pub(super) const SPENT_GAP: Duration = Duration::from_secs(1);
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MOST: Duration = Duration::from_secs(60);
const BACKOFF_LEAST: Duration = Duration::from_millis(100);
/// An issuer may ask for more patience than our own backoff has, but not for ever.
const RETRY_AFTER_MOST: Duration = Duration::from_hours(1);

/// How long a token may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) expires: Deadline,
    /// It is served while more than this is left.
    pub(super) floor: Duration,
}

impl Life {
    pub(super) fn serves(self, now: Moment) -> bool {
        self.expires.left(now) > self.floor
    }
}

/// When to try again after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retry {
    pub(super) at: Deadline,
    /// Failures in a row.
    pub(super) attempts: u32,
    /// Whether waiting alone is not expected to help.
    pub(super) terminal: bool,
    /// The credential that failed. Another one may be tried at once.
    pub(super) credential: u64,
}

impl Retry {
    fn is_over(self, now: Moment, credential: u64) -> bool {
        self.at.passed(now) || self.credential != credential
    }
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing is held, and nothing keeps us from asking.
    Empty,
    /// The last token lived for no time. Nothing is held; the next request waits until then.
    Spent { again_at: Deadline },
    /// A token is held, and there is no reason to ask before `refresh_at`.
    Fresh { life: Life, refresh_at: Deadline },
    /// A token is held, and its successor is wanted.
    Due { life: Life },
    /// A token is held, and its successor could not be had.
    Stale { life: Life, retry: Retry },
    /// Nothing is held, and the issuer could not be asked.
    Failed { retry: Retry },
    /// Nothing is held, and the issuer refuses.
    Refused { retry: Retry },
}

/// What happens to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Time went by.
    Look,
    /// The issuer gave a token.
    Issued { life: Life, refresh_at: Deadline },
    /// The issuer gave a token that has expired already.
    Spent,
    /// The issuer gave none.
    Failed(Retry),
    /// The token was rejected, revoked or is not used any more.
    Dropped,
}

/// What a request may do, given the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Serve what is held.
    Serve,
    /// Serve what is held, and say that it is stale: asking again is too early.
    ServeStale { retry_in: Duration },
    /// Ask; what is held will do if that takes long.
    Renew,
    /// Ask; there is nothing else.
    Ask,
    /// Refuse: asking again is too early.
    Deny { retry_in: Duration },
}

impl State {
    /// The word for it in status and metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Empty | Self::Spent { .. } => "empty",
            Self::Fresh { .. } => "fresh",
            Self::Due { .. } => "due",
            Self::Stale { .. } => "stale",
            Self::Failed { .. } => "failed",
            Self::Refused { .. } => "refused",
        }
    }

    /// How long what is held may be served, if anything is.
    pub(super) fn life(self) -> Option<Life> {
        match self {
            Self::Fresh { life, .. } | Self::Due { life } | Self::Stale { life, .. } => Some(life),
            Self::Empty | Self::Spent { .. } | Self::Failed { .. } | Self::Refused { .. } => None,
        }
    }

    pub(super) fn retry(self) -> Option<Retry> {
        match self {
            Self::Stale { retry, .. } | Self::Failed { retry } | Self::Refused { retry } => {
                Some(retry)
            }
            Self::Empty | Self::Spent { .. } | Self::Fresh { .. } | Self::Due { .. } => None,
        }
    }

    /// The transition function.
    pub(super) fn step(self, event: Event, now: Moment) -> Self {
        let life = self.life().filter(|life| life.serves(now));
        match event {
            Event::Issued { life, refresh_at } => Self::Fresh { life, refresh_at },
            Event::Failed(retry) => match life {
                Some(life) => Self::Stale { life, retry },
                None => Self::without_token(Some(retry)),
            },
            Event::Spent => match life {
                // What is held outlives what was given. Asking again soon would bring the same.
                Some(life) => Self::Fresh {
                    life,
                    refresh_at: now.after(repeat_pause(life.expires.left(now))),
                },
                None => Self::Spent {
                    again_at: now.after(SPENT_GAP),
                },
            },
            Event::Dropped => match self {
                Self::Spent { .. } => self,
                _ => Self::without_token(self.retry()),
            },
            Event::Look => match (self, life) {
                (Self::Fresh { refresh_at, .. }, Some(life)) if refresh_at.passed(now) => {
                    Self::Due { life }
                }
                (Self::Fresh { .. } | Self::Due { .. } | Self::Stale { .. }, None) => {
                    Self::without_token(self.retry())
                }
                _ => self,
            },
        }
    }

    fn without_token(retry: Option<Retry>) -> Self {
        match retry {
            None => Self::Empty,
            Some(retry) if retry.terminal => Self::Refused { retry },
            Some(retry) => Self::Failed { retry },
        }
    }

    /// What a request may do now. `credential` is the one that the next attempt would use.
    pub(super) fn plan(self, now: Moment, credential: u64) -> Plan {
        match self {
            Self::Empty | Self::Spent { .. } => Plan::Ask,
            Self::Fresh { .. } => Plan::Serve,
            Self::Due { .. } => Plan::Renew,
            Self::Stale { retry, .. } if retry.is_over(now, credential) => Plan::Renew,
            Self::Stale { retry, .. } => Plan::ServeStale {
                retry_in: retry.at.left(now),
            },
            Self::Failed { retry } | Self::Refused { retry } => {
                if retry.is_over(now, credential) {
                    Plan::Ask
                } else {
                    Plan::Deny {
                        retry_in: retry.at.left(now),
                    }
                }
            }
        }
    }
}

/// What decides about a token's timing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) sent: Moment,
    pub(super) lifetime: Duration,
    pub(super) expires: Deadline,
    /// When the issuer wants it renewed, counted from `sent`, if it said.
    pub(super) refresh_in: Option<Duration>,
    /// Whether it is the very token that was given before.
    pub(super) same: bool,
    /// Whether asking brought no gain: the same token, or one that does not expire later.
    pub(super) no_gain: bool,
}

/// How long a token may be served, and when its successor is due.
pub(super) fn timing(terms: &Terms, now: Moment, roll: u32) -> (Life, Deadline) {
    let Terms {
        sent,
        lifetime,
        expires,
        ..
    } = *terms;
    let floor = if terms.same {
        // Its successor comes when the issuer thinks fit. Until then it is all there is.
        Duration::ZERO
    } else {
        FLOOR_MOST.min(lifetime / 10)
    };
    let life = Life { expires, floor };
    if terms.no_gain {
        let pause = repeat_pause(expires.left(now));
        return (life, now.after(pause));
    }
    // Jitter only ever renews earlier, so that the buffer is kept.
    let after = if let Some(refresh_in) = terms.refresh_in {
        let least = REPEAT_LEAST.min(lifetime / 2);
        let wanted = refresh_in.min(lifetime);
        wanted.saturating_sub(part(wanted / 10, roll)).max(least)
    } else {
        let buffer = BUFFER_MOST.min(lifetime / 5);
        lifetime.saturating_sub(buffer.saturating_add(part(buffer / 10, roll)))
    };
    (life, sent.after(after))
}

/// Before an issuer that had nothing better is asked again: half of what is left.
fn repeat_pause(left: Duration) -> Duration {
    (left / 2).max(REPEAT_LEAST)
}

/// When to try again after the `attempts`-th failure in a row, counted from 1.
pub(super) fn pause(verdict: Verdict, attempts: u32, negative: Duration, roll: u32) -> Duration {
    match verdict {
        Verdict::Terminal => negative,
        Verdict::Transient { retry_after } => {
            let doublings = attempts.saturating_sub(1).min(16);
            let most = BACKOFF_FIRST
                .saturating_mul(1_u32 << doublings)
                .min(BACKOFF_MOST);
            let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MOST);
            part(most, roll).max(BACKOFF_LEAST).max(asked)
        }
    }
}

fn part(most: Duration, roll: u32) -> Duration {
    most.saturating_mul(roll.min(DICE)) / DICE
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Moment = Moment {
        boot: Duration::from_hours(1),
        wall: Duration::from_hours(10),
    };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn at(offset: u64) -> Moment {
        Moment {
            boot: NOW.boot + seconds(offset),
            wall: NOW.wall + seconds(offset),
        }
    }

    fn life(left: u64) -> Life {
        Life {
            expires: NOW.after(seconds(left)),
            floor: seconds(30),
        }
    }

    fn retry(after: u64, terminal: bool) -> Retry {
        Retry {
            at: NOW.after(seconds(after)),
            attempts: 1,
            terminal,
            credential: 7,
        }
    }

    fn fresh(left: u64, refresh_in: u64) -> State {
        State::Fresh {
            life: life(left),
            refresh_at: NOW.after(seconds(refresh_in)),
        }
    }

    #[test]
    fn every_transition_is_as_the_table_says() {
        let (soon, never) = (retry(10, false), retry(60, true));
        let issued = Event::Issued {
            life: life(900),
            refresh_at: NOW.after(seconds(800)),
        };
        let stale = |left, retry| State::Stale {
            life: life(left),
            retry,
        };
        let spent = State::Spent {
            again_at: NOW.after(SPENT_GAP),
        };
        for (state, event, next) in [
            (State::Empty, Event::Look, State::Empty),
            (fresh(600, 1), Event::Look, fresh(600, 1)),
            (fresh(600, 0), Event::Look, State::Due { life: life(600) }),
            (fresh(30, 0), Event::Look, State::Empty),
            (fresh(30, 20), Event::Look, State::Empty),
            (
                State::Due { life: life(31) },
                Event::Look,
                State::Due { life: life(31) },
            ),
            (State::Due { life: life(30) }, Event::Look, State::Empty),
            (stale(31, soon), Event::Look, stale(31, soon)),
            (stale(30, soon), Event::Look, State::Failed { retry: soon }),
            (
                stale(30, never),
                Event::Look,
                State::Refused { retry: never },
            ),
            (
                State::Failed { retry: soon },
                Event::Look,
                State::Failed { retry: soon },
            ),
            (spent, Event::Look, spent),
            (State::Empty, issued, fresh(900, 800)),
            (stale(40, never), issued, fresh(900, 800)),
            (State::Refused { retry: never }, issued, fresh(900, 800)),
            (
                State::Empty,
                Event::Failed(soon),
                State::Failed { retry: soon },
            ),
            (
                State::Empty,
                Event::Failed(never),
                State::Refused { retry: never },
            ),
            (
                State::Due { life: life(60) },
                Event::Failed(soon),
                stale(60, soon),
            ),
            (
                State::Due { life: life(60) },
                Event::Failed(never),
                stale(60, never),
            ),
            (
                State::Due { life: life(20) },
                Event::Failed(soon),
                State::Failed { retry: soon },
            ),
            (fresh(600, 500), Event::Failed(soon), stale(600, soon)),
            (State::Empty, Event::Spent, spent),
            (State::Due { life: life(100) }, Event::Spent, fresh(100, 50)),
            (fresh(600, 500), Event::Dropped, State::Empty),
            (
                stale(60, soon),
                Event::Dropped,
                State::Failed { retry: soon },
            ),
            (
                State::Refused { retry: never },
                Event::Dropped,
                State::Refused { retry: never },
            ),
            (spent, Event::Dropped, spent),
        ] {
            assert_eq!(state.step(event, NOW), next, "{state:?} on {event:?}");
        }
    }

    #[test]
    fn every_state_plans_as_the_table_says() {
        let retry_in = seconds(60);
        let refused = State::Refused {
            retry: retry(60, true),
        };
        let stale = State::Stale {
            life: life(200),
            retry: retry(60, true),
        };
        for (state, now, credential, plan) in [
            (State::Empty, NOW, 7, Plan::Ask),
            (fresh(600, 500), NOW, 7, Plan::Serve),
            (State::Due { life: life(60) }, NOW, 7, Plan::Renew),
            (stale, NOW, 7, Plan::ServeStale { retry_in }),
            (stale, at(60), 7, Plan::Renew),
            (stale, NOW, 8, Plan::Renew),
            (refused, NOW, 7, Plan::Deny { retry_in }),
            (refused, at(60), 7, Plan::Ask),
            (refused, NOW, 8, Plan::Ask),
        ] {
            assert_eq!(state.plan(now, credential), plan, "{state:?}");
        }
    }

    fn terms(lifetime: u64) -> Terms {
        Terms {
            sent: NOW,
            lifetime: seconds(lifetime),
            expires: NOW.after(seconds(lifetime)),
            refresh_in: None,
            same: false,
            no_gain: false,
        }
    }

    #[test]
    fn the_buffer_is_a_fifth_up_to_five_minutes_and_jitter_only_widens_it() {
        for (lifetime, latest, earliest, floor) in [
            (3600, 3_300_000, 3_270_000, 30_000),
            (60, 48_000, 46_800, 6_000),
            (600, 480_000, 468_000, 30_000),
            (10, 8_000, 7_800, 1_000),
            (86_400, 86_100_000, 86_070_000, 30_000),
        ] {
            for (roll, due) in [(0, latest), (DICE, earliest)] {
                let (life, refresh_at) = timing(&terms(lifetime), NOW, roll);
                assert_eq!(refresh_at.left(NOW).as_millis(), due, "{lifetime} s");
                assert_eq!(life.floor.as_millis(), floor, "{lifetime} s");
            }
        }
    }

    #[test]
    fn the_issuer_may_say_when_and_cannot_make_us_ask_all_the_time() {
        for (wanted, due) in [(1800, 1800), (0, 5), (10_000, 3600)] {
            let terms = Terms {
                refresh_in: Some(seconds(wanted)),
                ..terms(3600)
            };
            assert_eq!(
                timing(&terms, NOW, 0).1,
                NOW.after(seconds(due)),
                "{wanted} s"
            );
        }
    }

    #[test]
    fn an_answer_without_gain_is_asked_for_again_after_half_of_what_is_left() {
        for (left, pause) in [(300, 150), (8, 5), (2, 5)] {
            let terms = Terms {
                same: true,
                no_gain: true,
                ..terms(left)
            };
            let (life, refresh_at) = timing(&terms, NOW, 500);
            assert_eq!(refresh_at, NOW.after(seconds(pause)));
            assert_eq!(life.floor, Duration::ZERO);
        }
    }

    #[test]
    fn failures_pause_with_full_jitter_or_as_long_as_the_issuer_asks() {
        let transient = |retry_after| Verdict::Transient { retry_after };
        let minute = seconds(60);
        for (verdict, attempts, roll, expected) in [
            (Verdict::Terminal, 1, 0, 60_000),
            (transient(None), 1, DICE, 1_000),
            (transient(None), 1, 0, 100),
            (transient(None), 4, 500, 4_000),
            (transient(None), u32::MAX, DICE, 60_000),
            (transient(Some(seconds(90))), 1, DICE, 90_000),
            (transient(Some(seconds(90_000))), 1, DICE, 3_600_000),
        ] {
            assert_eq!(pause(verdict, attempts, minute, roll).as_millis(), expected);
        }
    }

    proptest! {
        #[test]
        fn no_answer_of_an_issuer_breaks_the_arithmetic(
            lifetime in any::<u64>(), refresh_in in proptest::option::of(any::<u64>()),
            no_gain in any::<bool>(), roll in 0..=DICE,
        ) {
            let terms = Terms {
                refresh_in: refresh_in.map(seconds),
                no_gain,
                lifetime: seconds(lifetime),
                expires: NOW.after(seconds(lifetime)),
                ..terms(0)
            };
            let (life, refresh_at) = timing(&terms, NOW, roll);
            prop_assert!(life.floor <= FLOOR_MOST);
            if !no_gain {
                prop_assert!(refresh_at.left(NOW) <= seconds(lifetime));
            }
        }

        #[test]
        fn whatever_happens_nothing_is_served_past_its_floor(
            events in proptest::collection::vec((0_u64..4000, 0_u8..5), 1..40),
        ) {
            let (mut state, mut offset) = (State::Empty, 0);
            for (pause, event) in events {
                offset += pause / 10;
                let now = at(offset);
                let event = match event {
                    0 => Event::Issued {
                        life: Life { expires: now.after(seconds(pause)), floor: seconds(pause / 10) },
                        refresh_at: now.after(seconds(pause / 2)),
                    },
                    1 => Event::Failed(Retry { at: now.after(seconds(10)), ..retry(0, pause % 2 == 0) }),
                    2 => Event::Spent,
                    3 => Event::Dropped,
                    _ => Event::Look,
                };
                state = state.step(event, now).step(Event::Look, now);
                let held = state.life();
                prop_assert!(held.is_none_or(|life| life.serves(now)), "{state:?}");
                let serves = matches!(
                    state.plan(now, 7), Plan::Serve | Plan::Renew | Plan::ServeStale { .. }
                );
                prop_assert_eq!(serves, held.is_some());
            }
        }
    }
}
