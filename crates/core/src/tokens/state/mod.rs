//! The state machine of one cache entry.
//!
//! Owns the [`State`] of an entry, its transitions and its timing. Pure: time and the random [`Roll`] are
//! arguments, so every edge has a row in a table test. Holds no token; `entry` keeps the token beside it and drops it as soon
//! as the state no longer has a [`Life`].

use std::time::Duration;

use crate::tokens::source::Verdict;
use claviger_runtime::clock::{Backoff, Deadline, Jitter, Moment, Roll};

/// A token is renewed this long before it expires at the latest, or a fifth of its lifetime if that is shorter.
const BUFFER_MOST: Duration = Duration::from_mins(5);
/// An old token is not served in its last half minute, or its last tenth if that is shorter.
const FLOOR_MOST: Duration = Duration::from_secs(30);
/// An issuer that returns the same token again is asked after this long at the earliest.
const REPEAT_LEAST: Duration = Duration::from_secs(5);
/// An earlier `refresh_in` of the issuer is raised to this: other tokens of the client need requests too.
const HINT_LEAST: Duration = Duration::from_mins(1);
/// Between requests to an issuer whose tokens are expired when they arrive.
pub(super) const SPENT_GAP: Duration = Duration::from_secs(1);
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    most: Duration::from_mins(1),
    jitter: Jitter::FULL,
};
const BACKOFF_LEAST: Duration = Duration::from_millis(100);
/// The longest pause that an issuer can ask for.
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
    /// The credential that failed. A different one may be tried at once.
    pub(super) credential: u64,
}

impl Retry {
    fn is_over(self, now: Moment, credential: u64) -> bool {
        self.at.passed(now) || self.credential != credential
    }
}

/// The state of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No token is cached, and the issuer may be asked.
    Empty,
    /// The last token was expired when it arrived. None is cached; the next request waits until `again_at`.
    Spent { again_at: Deadline },
    /// A token is cached, and its renewal is not due before `refresh_at`.
    Fresh { life: Life, refresh_at: Deadline },
    /// A token is cached, and its renewal is due.
    Due { life: Life },
    /// A token is cached, and its renewal failed.
    Stale { life: Life, retry: Retry },
    /// No token is cached, and the last request failed.
    Failed { retry: Retry },
    /// No token is cached, and the issuer refused the last request.
    Refused { retry: Retry },
}

/// What happens to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Time went by.
    Look,
    /// The issuer issued a token.
    Issued { life: Life, refresh_at: Deadline },
    /// The issuer returned an expired token.
    Spent,
    /// The request failed.
    Failed(Retry),
    /// The token was rejected, revoked or is not used any more.
    Dropped,
}

/// What a request may do, given the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Serve the cached token.
    Serve,
    /// Serve the cached token, marked stale: it is too early for another request.
    ServeStale { retry_in: Duration },
    /// Send a request; serve the cached token if that takes long.
    Renew,
    /// Send a request; no token is cached.
    Ask,
    /// Refuse: it is too early for another request.
    Deny { retry_in: Duration },
}

impl State {
    /// Its name in status and metrics.
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

    /// How long the cached token may be served, if there is one.
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
                // The cached token outlives the returned one. Another request soon would return the same.
                Some(life) => Self::Fresh {
                    life,
                    refresh_at: now.after(repeat_pause(life.expires.left(now))),
                },
                None => Self::Spent {
                    again_at: now.after(SPENT_GAP),
                },
            },
            Event::Dropped if matches!(self, Self::Spent { .. }) => self,
            Event::Dropped => Self::without_token(self.retry()),
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

/// The inputs of a token's timing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) sent: Moment,
    pub(super) lifetime: Duration,
    pub(super) expires: Deadline,
    /// The issuer's `refresh_in`, counted from `sent`.
    pub(super) refresh_in: Option<Duration>,
    /// Whether it is the same token as before.
    pub(super) same: bool,
    /// Whether the request brought no gain: the same token, or one that does not expire later.
    pub(super) no_gain: bool,
}

/// How long a token may be served, and when its successor is due.
pub(super) fn timing(terms: &Terms, now: Moment, roll: Roll) -> (Life, Deadline) {
    let Terms {
        sent,
        lifetime,
        expires,
        ..
    } = *terms;
    let floor = if terms.same {
        // The issuer decides when it returns another one. Until then this one is served to its end.
        Duration::ZERO
    } else {
        FLOOR_MOST.min(lifetime / 10)
    };
    let life = Life { expires, floor };
    if terms.no_gain {
        let pause = repeat_pause(expires.left(now));
        return (life, now.after(pause));
    }
    // Jitter only ever renews earlier, so that the buffer stays, also where `refresh_in` is later: without it an outage of the
    // issuer would show at once.
    let buffer = BUFFER_MOST.min(lifetime / 5);
    let latest = lifetime.saturating_sub(buffer.saturating_add(roll.part(buffer / 10)));
    let after = terms.refresh_in.map_or(latest, |wanted| {
        let least = HINT_LEAST.min(lifetime / 2);
        let wanted = wanted.saturating_sub(roll.part(wanted / 10));
        wanted.max(least).min(latest)
    });
    (life, sent.after(after))
}

/// The pause after a request without gain: half of the lifetime left.
fn repeat_pause(left: Duration) -> Duration {
    (left / 2).max(REPEAT_LEAST)
}

/// When to try again after the `attempts`-th failure in a row, counted from 1.
pub(super) fn pause(verdict: Verdict, attempts: u32, negative: Duration, roll: Roll) -> Duration {
    match verdict {
        Verdict::Terminal => negative,
        Verdict::Transient { retry_after } => {
            let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MOST);
            BACKOFF.pause(attempts, roll).max(BACKOFF_LEAST).max(asked)
        }
    }
}

#[cfg(test)]
mod tests;
