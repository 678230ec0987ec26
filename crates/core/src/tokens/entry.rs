//! One entry of the cache: one token for one ask.
//!
//! Owns the cached token, the state beside it, and what a request may do now. The token can be read without the lock;
//! everything that changes it holds the lock, for moments and never across a wait. Decides nothing about time by itself: that
//! is `state`. Next: `request`, which asks the issuer, and `land`, what its answer does.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use crate::tokens::flight::Flight;
use crate::tokens::held::Held;
use crate::tokens::source::{self, Ask};
use crate::tokens::state::{Event, Plan, State};
use crate::tokens::{Error, Want};
use claviger_runtime::clock::{Deadline, Moment};

/// Forced renewals are counted over this long.
const FORCED_WINDOW: Duration = Duration::from_mins(1);

/// One entry.
#[derive(Debug)]
pub(super) struct Entry {
    /// What the issuer is asked for.
    pub(super) ask: Ask,
    /// The token that may be served. Read without the lock, written under it.
    pub(super) current: ArcSwapOption<Held>,
    pub(super) hits: AtomicU64,
    pub(super) requests: AtomicU64,
    /// When a caller last used it, in seconds since boot.
    last_used: AtomicU64,
    /// Watches that follow it. An entry that is followed is in use.
    pub(super) watches: AtomicUsize,
    /// Counts the changes of the cached token.
    pub(super) changed: watch::Sender<u64>,
    core: Mutex<Core>,
}

/// What changes under the lock.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) state: State,
    /// The request under way.
    pub(super) flight: Option<Flight>,
    /// The last token that was issued, also when it is dropped.
    pub(super) last: Option<Last>,
    pub(super) last_error: Option<source::Error>,
    /// Whether the next token replaces one that was rejected.
    pub(super) replacing: bool,
    /// The newest credential at the last request, whatever its outcome.
    pub(super) tried: Option<u64>,
    /// When renewals were forced.
    forced: VecDeque<Moment>,
}

/// A token that was issued, without the token.
#[derive(Debug)]
pub(super) struct Last {
    pub(super) fingerprint: String,
    pub(super) generation: u64,
}

/// The inputs that change between two decisions about an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) now: Moment,
    /// The number of the credential that a request would use.
    pub(super) credential: u64,
}

/// What to do about a request.
#[derive(Debug)]
pub(super) enum Step {
    /// Answer with the cached token.
    Serve(Arc<Held>, Plan),
    /// Wait for the issuer. `fallback`: the cached token is good enough if that takes long.
    Ask { fallback: bool },
}

impl Entry {
    pub(super) fn new(ask: Ask) -> Self {
        Self {
            ask,
            current: ArcSwapOption::empty(),
            hits: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            last_used: AtomicU64::new(0),
            watches: AtomicUsize::new(0),
            changed: watch::Sender::new(0),
            core: Mutex::new(Core {
                state: State::Empty,
                flight: None,
                last: None,
                last_error: None,
                replacing: false,
                tried: None,
                forced: VecDeque::new(),
            }),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cached token, if it may still be served.
    pub(super) fn serving(&self, now: Moment) -> Option<Arc<Held>> {
        self.current
            .load_full()
            .filter(|held| held.life.serves(now))
    }

    pub(super) fn touch(&self, now: Moment) {
        self.last_used.store(now.boot.as_secs(), Ordering::Relaxed);
    }

    pub(super) fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }

    /// When it counts as unused, if nothing happens until then.
    pub(super) fn idle_at(&self, now: Moment, idle: Duration) -> Deadline {
        let unused = now
            .boot
            .saturating_sub(Duration::from_secs(self.last_used()));
        now.after(idle.saturating_sub(unused))
    }

    pub(super) fn is_watched(&self) -> bool {
        self.watches.load(Ordering::Relaxed) > 0
    }

    /// Moves the state on, and drops the token as soon as the state has none.
    pub(super) fn step(&self, core: &mut Core, event: Event, now: Moment) {
        core.state = core.state.step(event, now);
        if core.state.life().is_none() && self.current.swap(None).is_some() {
            self.notify();
        }
    }

    /// Drops the cached token, and returns it.
    pub(super) fn evict(&self, core: &mut Core, now: Moment) -> Option<Arc<Held>> {
        let held = self.current.load_full()?;
        self.step(core, Event::Dropped, now);
        Some(held)
    }

    /// Notifies the watches that another token is cached now, or none.
    pub(super) fn notify(&self) {
        self.changed
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Decides about a request.
    ///
    /// # Errors
    /// The last failure while asking again is too early; [`Error::TooShort`] and [`Error::Limited`].
    pub(super) fn decide(
        &self,
        core: &mut Core,
        want: &Want,
        At { now, credential }: At,
        forced_per_minute: u32,
    ) -> Result<Step, Error> {
        self.step(core, Event::Look, now);
        let plan = core.state.plan(now, credential);
        let flying = core.flight.as_ref().is_some_and(Flight::is_under_way);
        let held = self.current.load_full();
        if !want.force_refresh
            && let Some(held) = &held
            && held.expires.left(now) >= want.min_remaining
        {
            return Ok(match plan {
                Plan::Renew => Step::Ask { fallback: true },
                Plan::Serve | Plan::ServeStale { .. } | Plan::Ask | Plan::Deny { .. } => {
                    Step::Serve(Arc::clone(held), plan)
                }
            });
        }
        let ask = Ok(Step::Ask { fallback: false });
        if flying {
            return ask;
        }
        match plan {
            Plan::Deny { retry_in } | Plan::ServeStale { retry_in } => Err(core.denial(retry_in)),
            Plan::Ask | Plan::Renew if !want.force_refresh => ask,
            Plan::Ask | Plan::Renew | Plan::Serve => {
                if !want.force_refresh
                    && let Some(held) = held
                    && (held.repeated || held.lifetime < want.min_remaining)
                {
                    let longest = if held.repeated {
                        held.expires.left(now)
                    } else {
                        held.lifetime
                    };
                    return Err(Error::TooShort { longest });
                }
                core.force(now, forced_per_minute)?;
                ask
            }
        }
    }
}

impl Core {
    /// The last failure, for a caller that comes before the next attempt.
    fn denial(&self, retry_in: Duration) -> Error {
        match &self.last_error {
            Some(error) => Error::Issuer {
                error: error.clone(),
                retry_in: Some(retry_in),
            },
            None => Error::Pending { retry_in },
        }
    }

    /// Counts a forced renewal.
    fn force(&mut self, now: Moment, per_minute: u32) -> Result<(), Error> {
        while self
            .forced
            .front()
            .is_some_and(|first| now.since(*first) >= FORCED_WINDOW)
        {
            self.forced.pop_front();
        }
        let most = usize::try_from(per_minute).unwrap_or(usize::MAX);
        if self.forced.len() >= most {
            let first = self.forced.front().copied().unwrap_or(now);
            return Err(Error::Limited {
                retry_in: FORCED_WINDOW.saturating_sub(now.since(first)),
            });
        }
        self.forced.push_back(now);
        Ok(())
    }
}
