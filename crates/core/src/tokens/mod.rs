//! The token cache.
//!
//! Owns every token that is held, one entry per definition and scope set: answers from memory, asks the issuer once for all
//! who wait, renews ahead of expiry, and remembers failures so that nobody hammers an issuer. Never speaks OAuth itself: a
//! [`TokenSource`] does. Never decides who may have a token: it answers to a [`TokenPermit`], and a permit with narrower
//! scopes leads to an entry of its own.
//!
//! [`Tokens::cached`] is the fast path: no wait, no allocation, no lock for the definition's own scopes. [`Tokens::get`] is
//! everything else. A request to an issuer is a task that the drain waits for; callers come and go. One loop (`warm`) keeps
//! used entries warm and lets unused ones lapse. Next: `entry` (what to do about a request), `state` (when), `land` (what
//! an answer does).

mod entry;
mod error;
mod flight;
mod held;
mod land;
mod ready;
mod scope;
pub mod source;
mod state;
mod status;
mod supply;
mod warm;
mod watch;
mod withdraw;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::policy::{Reach, TokenPermit};
use crate::secrets::Freshness;
use crate::tokens::entry::{Entry, Step};
use crate::tokens::flight::{Asker, Flight, PENDING};
use crate::tokens::scope::Effective;
use crate::tokens::source::{Identity, TokenSource};
use crate::tokens::state::Plan;
use crate::tokens::supply::Supply;
use claviger_oauth_wire::Scopes;
use claviger_runtime::clock::{Clock, Moment};
use claviger_runtime::shutdown::Drain;

pub use error::Error;
pub use held::{Answer, Fingerprints, Held, NoFingerprints};
pub use status::{EntryStatus, TokenStatus};
pub use watch::Watch;
pub use withdraw::{Report, Revoked};

/// After which time without a request a token is not renewed any more, unless its definition says otherwise.
pub const DEFAULT_IDLE: Duration = Duration::from_mins(30);

/// How long callers wait for a renewal while the old token is still good.
const WAIT: Duration = Duration::from_secs(2);

/// How long a refusal of the issuer is remembered.
const NEGATIVE: Duration = Duration::from_mins(1);

/// Entries besides those of the definitions' own scopes; the least recently used are evicted first.
const MOST_ENTRIES: usize = 4096;

/// Renewals per minute and entry that callers may force.
const FORCED_PER_MINUTE: u32 = 10;

/// A token of the configuration, and who obtains it.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its issuer's name in the configuration.
    pub issuer: Arc<str>,
    /// Its client's name in the configuration.
    pub client: Arc<str>,
    /// The scopes to ask for; empty for the issuer's default.
    pub scopes: Scopes,
    /// After which time without a request it is not renewed any more.
    pub idle: Duration,
    /// Cached tokens survive a reload only if this and the scopes are equal.
    pub identity: Identity,
    /// Who obtains it.
    pub source: Arc<dyn TokenSource>,
}

/// What a caller wants of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// The least lifetime left.
    pub min_remaining: Duration,
    /// Whether to renew even if the cached token is good.
    pub force_refresh: bool,
    /// How long the caller waits.
    pub deadline: Duration,
}

impl Default for Want {
    fn default() -> Self {
        Self {
            min_remaining: Duration::ZERO,
            force_refresh: false,
            deadline: Duration::from_secs(5),
        }
    }
}

/// What all flights share.
#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    drain: Drain,
    fingerprints: Arc<Fingerprints>,
    /// Wakes the loop that keeps entries warm.
    wake: Notify,
    /// Set when another configuration took over.
    retired: CancellationToken,
    /// Held while the map of an entry grows, so that the bound on all of them holds.
    growth: Mutex<()>,
}

impl Shared {
    /// Waits until nothing new may start.
    async fn stopping(&self) {
        tokio::select! {
            () = self.drain.begun() => {}
            () = self.retired.cancelled() => {}
        }
    }
}

/// The tokens of one configuration.
#[derive(Debug)]
pub struct Tokens {
    shared: Arc<Shared>,
    supplies: HashMap<Arc<str>, Arc<Supply>>,
}

/// What a caller pays when a request to the issuer is started for it, or how long it must wait until it can. Called with a
/// lock held: it must not wait.
pub type Pay<'a> = &'a (dyn Fn(Moment) -> Result<(), Duration> + Sync);

/// How a request begins.
enum Begun {
    Served(Answer),
    Asked { flight: Flight, fallback: bool },
}

impl Tokens {
    /// Begins to answer for `definitions`, until the drain begins or the value is dropped.
    ///
    /// With `previous`, unchanged definitions keep their tokens, flights, failures and generations. `previous` does not
    /// renew any more and its watches end; so call this when nothing of a reload can fail any more. All token caches of a
    /// daemon share its `fingerprints`.
    pub fn new(
        definitions: Vec<Definition>,
        fingerprints: Arc<Fingerprints>,
        clock: Arc<dyn Clock>,
        drain: Drain,
        previous: Option<&Self>,
    ) -> Arc<Self> {
        if let Some(previous) = previous {
            previous.shared.retired.cancel();
        }
        let supplies = definitions.into_iter().map(|definition| {
            let name = Arc::clone(&definition.name);
            let before = previous.and_then(|previous| previous.supplies.get(&name));
            let supply = Supply::new(definition, before.map(AsRef::as_ref));
            (name, Arc::new(supply))
        });
        let tokens = Arc::new(Self {
            supplies: supplies.collect(),
            shared: Arc::new(Shared {
                clock,
                drain,
                fingerprints,
                wake: Notify::new(),
                retired: CancellationToken::new(),
                growth: Mutex::new(()),
            }),
        });
        let supplies = tokens.supplies.values().map(Arc::clone).collect();
        drop(tokio::spawn(warm::run(
            Arc::clone(&tokens.shared),
            supplies,
        )));
        tokens
    }

    /// The token that is held, if it is good and not due for renewal. Never waits.
    pub fn cached(&self, permit: &TokenPermit) -> Option<Answer> {
        let reach = permit.reach();
        let entry = self.supplies.get(reach.name())?.find(reach).ok()??;
        let now = self.shared.clock.now();
        let current = entry.current.load();
        let held = current
            .as_ref()
            .filter(|held| !held.refresh_at.passed(now) && held.life.serves(now))?;
        entry.touch(now);
        entry.hits.fetch_add(1, Ordering::Relaxed);
        Some(Answer::new(Arc::clone(held), Freshness::Fresh, now))
    }

    /// A token that does what the caller wants: from memory, or from the issuer, together with all others who wait for the
    /// same. The request to the issuer goes on if the caller goes away or runs out of time.
    ///
    /// `pay` is asked once before a request to the issuer is started for this caller; joining one that is under way is free.
    ///
    /// A token whose renewal is due is still served if the issuer does not answer within two seconds, or fails.
    ///
    /// # Errors
    /// See [`Error`]. Failures are remembered and told to everybody until it is time to ask again.
    pub async fn get(
        &self,
        permit: &TokenPermit,
        want: &Want,
        pay: Pay<'_>,
    ) -> Result<Answer, Error> {
        let called = self.shared.clock.now();
        let (supply, entry, paid) = self.entry(permit.reach(), pay, called)?;
        let pay = if paid { &watch::FREE } else { pay };
        entry.touch(called);
        let (mut flight, fallback) = match self.begin(supply, &entry, (want, pay), called)? {
            Begun::Served(answer) => return Ok(answer),
            Begun::Asked { flight, fallback } => (flight, fallback),
        };
        if fallback {
            // Counted from take-off: a slow issuer costs the first callers this wait, and not everybody.
            let patience = flight.started.after(WAIT);
            let limit = patience.left(called).min(want.deadline);
            if let Some(result) = flight.landed(limit, &self.shared).await {
                return self.finish(&entry, want, fallback, Some(result));
            }
            if let Some(answer) = self.old(&entry, want) {
                return Ok(answer);
            }
        }
        let spent = self.shared.clock.now().since(called);
        let rest = want.deadline.saturating_sub(spent);
        let result = flight.landed(rest, &self.shared).await;
        self.finish(&entry, want, fallback, result)
    }

    /// Renews all entries of a token now, whatever is held or remembered. One result per entry: whether another token is
    /// held now. The requests go on if the caller goes away.
    pub async fn refresh(&self, name: &str) -> Vec<Result<bool, Error>> {
        let Some(supply) = self.supplies.get(name) else {
            return vec![Err(Error::Unknown)];
        };
        // All take off before the first is waited for.
        let flights: Vec<_> = supply
            .entries()
            .into_iter()
            .map(|entry| {
                let mut core = entry.lock();
                let before = entry.current.load().as_ref().map(|held| held.generation);
                flight::join(&self.shared, supply, &entry, &mut core, Asker::Operator)
                    .map(|flight| (flight, before))
            })
            .collect();
        let mut results = Vec::with_capacity(flights.len());
        for flight in flights {
            results.push(match flight {
                Ok((mut flight, before)) => flight
                    .landed(Duration::MAX, &self.shared)
                    .await
                    .unwrap_or(Err(Error::Pending { retry_in: PENDING }))
                    .map(|held| Some(held.generation) != before),
                Err(error) => Err(error),
            });
        }
        results
    }

    /// Decides about a request, and starts or joins a flight if it needs one.
    fn begin(
        &self,
        supply: &Arc<Supply>,
        entry: &Arc<Entry>,
        (want, pay): (&Want, Pay<'_>),
        now: Moment,
    ) -> Result<Begun, Error> {
        let credential = supply.definition.source.credential();
        let mut core = entry.lock();
        Ok(
            match entry.decide(&mut core, want, (now, credential), FORCED_PER_MINUTE)? {
                Step::Serve(held, plan) => {
                    entry.hits.fetch_add(1, Ordering::Relaxed);
                    // A renewal that failed before it was due does not make the token any older.
                    let overdue = held.refresh_at.passed(now);
                    let freshness = if overdue && matches!(plan, Plan::ServeStale { .. }) {
                        Freshness::Stale
                    } else {
                        Freshness::Fresh
                    };
                    Begun::Served(Answer::new(held, freshness, now))
                }
                Step::Ask { fallback } => {
                    let under_way = core.flight.as_ref().is_some_and(Flight::is_under_way);
                    let paid = if under_way { Ok(()) } else { pay(now) };
                    let flight = paid
                        .map_err(|retry_in| Error::Unpaid { retry_in })
                        .and_then(|()| {
                            flight::join(&self.shared, supply, entry, &mut core, Asker::Use)
                        });
                    match (flight, entry.serving(now).filter(|_| fallback)) {
                        (Ok(flight), _) => Begun::Asked { flight, fallback },
                        // The daemon stops, or the caller is over its budget. What is held is good to the end.
                        (Err(_), Some(held)) => {
                            Begun::Served(Answer::new(held, Freshness::Stale, now))
                        }
                        (Err(error), None) => return Err(error),
                    }
                }
            },
        )
    }

    /// Turns what a flight brought into an answer.
    fn finish(
        &self,
        entry: &Entry,
        want: &Want,
        fallback: bool,
        result: Option<Result<Arc<Held>, Error>>,
    ) -> Result<Answer, Error> {
        let now = self.shared.clock.now();
        let old = || self.old(entry, want).filter(|_| fallback);
        match result.unwrap_or(Err(Error::Pending { retry_in: PENDING })) {
            Ok(held) => {
                let longest = held.expires.left(now);
                if longest.is_zero()
                    && let Some(answer) = old()
                {
                    return Ok(answer);
                }
                if longest < want.min_remaining {
                    return Err(Error::TooShort { longest });
                }
                Ok(Answer::new(held, Freshness::Refreshed, now))
            }
            Err(error) => old().ok_or(error),
        }
    }

    /// What is held although its renewal is due, if it still does what the caller wants.
    fn old(&self, entry: &Entry, want: &Want) -> Option<Answer> {
        let now = self.shared.clock.now();
        let held = entry.serving(now)?;
        let answer = Answer::new(held, Freshness::Stale, now);
        Some(answer).filter(|answer| answer.lifetime_left >= want.min_remaining)
    }

    /// The entry that answers a request, and whether the caller has paid for it: one is made if there is none, and nobody
    /// pushes out the entries of others without paying for a request.
    fn entry(
        &self,
        reach: &Reach,
        pay: Pay<'_>,
        now: Moment,
    ) -> Result<(&Arc<Supply>, Arc<Entry>, bool), Error> {
        let supply = self.supplies.get(reach.name()).ok_or(Error::Unknown)?;
        if let Some(entry) = supply.find(reach)? {
            return Ok((supply, entry, false));
        }
        let scopes = match supply.effective(reach)? {
            Effective::Other(scopes) => scopes,
            Effective::Definition => return Err(Error::Unknown), // Always found above.
        };
        pay(now).map_err(|retry_in| Error::Unpaid { retry_in })?;
        let _growing = self
            .shared
            .growth
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.make_room();
        let entry = supply.make(&scopes);
        entry.touch(now);
        Ok((supply, entry, true))
    }

    /// Forgets entries if there are as many as may be: first those that hold nothing, then the least recently used. A few at
    /// once, so that not every newcomer has to look at all of them.
    fn make_room(&self) {
        let count: usize = self.supplies.values().map(|supply| supply.len()).sum();
        if count < MOST_ENTRIES {
            return;
        }
        let mut all = Vec::with_capacity(count);
        for supply in self.supplies.values() {
            let others = supply.entries().into_iter().skip(1);
            all.extend(others.map(|entry| (supply, entry)));
        }
        // Those that somebody follows or waits for go last.
        all.sort_by_cached_key(|(_, entry)| {
            let awaited = entry.lock().flight.is_some();
            let holds = entry.current.load().is_some();
            (entry.is_watched(), awaited, holds, entry.last_used())
        });
        let surplus = count
            .saturating_sub(MOST_ENTRIES)
            .saturating_add(MOST_ENTRIES / 64);
        for (supply, entry) in all.iter().take(surplus) {
            supply.forget(&entry.scopes);
        }
        tracing::debug!(count, forgotten = surplus, "the token cache is full");
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        self.shared.retired.cancel();
    }
}

#[cfg(test)]
mod tests;
