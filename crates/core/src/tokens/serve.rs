//! Answering a request that the fast path cannot answer.
//!
//! Owns the wait: which token a request gets, how long it waits for the issuer, and when the old token is served instead. The
//! decision itself is `entry`'s, the request to the issuer `request`'s. Next: `room`, which bounds the number of entries.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::policy::TokenPermit;
use crate::secrets::Freshness;
use crate::tokens::entry::{At, Entry, Step};
use crate::tokens::flight::{Flight, PENDING};
use crate::tokens::held::{Answer, Held};
use crate::tokens::request::{self, Asker};
use crate::tokens::state::Plan;
use crate::tokens::supply::Supply;
use crate::tokens::{Budget, Error, Tokens, Want};
use claviger_runtime::clock::Moment;

/// How long callers wait for a renewal while the old token is still good.
const WAIT: Duration = Duration::from_secs(2);

/// Renewals per minute and entry that callers may force.
const FORCED_PER_MINUTE: u32 = 10;

/// What a request has begun.
pub(super) enum Begun {
    /// It is answered.
    Served(Answer),
    /// It waits for the issuer. `fallback`: the cached token is good enough if that takes long.
    Asked { flight: Flight, fallback: bool },
}

impl Tokens {
    /// A token that does what the caller wants: from memory, or from the issuer, together with all callers who wait for the
    /// same. The request to the issuer goes on if the caller disconnects or runs out of time.
    ///
    /// `budget` is charged once before a request to the issuer is started for this caller; joining one is free.
    ///
    /// A token whose renewal is due is still served if the issuer does not answer within two seconds, or fails.
    ///
    /// # Errors
    /// See [`Error`]. A failure is remembered, and is the answer to every caller until it is time to ask again.
    pub async fn get(
        &self,
        permit: &TokenPermit,
        want: &Want,
        budget: Budget<'_>,
    ) -> Result<Answer, Error> {
        let clock = &*self.shared.clock;
        let called = clock.now();
        let place = self.place(permit.reach(), budget, called)?;
        let (supply, entry) = (place.supply, &place.entry);
        entry.touch(called);
        let (flight, fallback) = match self.begin(supply, entry, want, place.budget(budget))? {
            Begun::Served(answer) => return Ok(answer),
            Begun::Asked { flight, fallback } => (flight, fallback),
        };
        if fallback {
            // Counted from the start of the request: a slow issuer delays the first callers, and not every one.
            let patience = flight.started.after(WAIT);
            let limit = patience.left(called).min(want.deadline);
            if let Some(result) = flight.landed(limit, clock).await {
                return self.finish(entry, want, fallback, Some(result));
            }
            if let Some(answer) = self.old(entry, want) {
                return Ok(answer);
            }
        }
        let spent = clock.now().since(called);
        let rest = want.deadline.saturating_sub(spent);
        let result = flight.landed(rest, clock).await;
        self.finish(entry, want, fallback, result)
    }

    /// Decides about a request, and joins or starts a request to the issuer if it needs one.
    pub(super) fn begin(
        &self,
        supply: &Arc<Supply>,
        entry: &Arc<Entry>,
        want: &Want,
        budget: Budget<'_>,
    ) -> Result<Begun, Error> {
        let now = self.shared.clock.now();
        let at = At {
            now,
            credential: supply.definition.source.credential().number,
        };
        let mut core = entry.lock();
        let fallback = match entry.decide(&mut core, want, at, FORCED_PER_MINUTE)? {
            Step::Serve(held, plan) => {
                entry.hits.fetch_add(1, Ordering::Relaxed);
                return Ok(Begun::Served(served(held, plan, now)));
            }
            Step::Ask { fallback } => fallback,
        };
        let charged = if core.flight.as_ref().is_some_and(Flight::is_under_way) {
            Ok(())
        } else {
            budget(now).map_err(|retry_in| Error::OverBudget { retry_in })
        };
        let flight = charged
            .and_then(|()| request::join(&self.shared, supply, entry, &mut core, Asker::Use));
        match (flight, entry.serving(now).filter(|_| fallback)) {
            (Ok(flight), _) => Ok(Begun::Asked { flight, fallback }),
            // The daemon stops, or the caller is over its budget. The cached token is good to its end.
            (Err(_), Some(held)) => Ok(Begun::Served(Answer::new(held, Freshness::Stale, now))),
            (Err(error), None) => Err(error),
        }
    }

    /// Turns the outcome of a request to the issuer into an answer.
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

    /// The cached token although its renewal is due, if it still does what the caller wants.
    fn old(&self, entry: &Entry, want: &Want) -> Option<Answer> {
        let now = self.shared.clock.now();
        let answer = Answer::new(entry.serving(now)?, Freshness::Stale, now);
        (answer.lifetime_left >= want.min_remaining).then_some(answer)
    }
}

fn served(held: Arc<Held>, plan: Plan, now: Moment) -> Answer {
    // A renewal that failed before it was due does not make the token any older.
    let overdue = held.refresh_at.passed(now);
    let freshness = if overdue && matches!(plan, Plan::ServeStale { .. }) {
        Freshness::Stale
    } else {
        Freshness::Fresh
    };
    Answer::new(held, freshness, now)
}
