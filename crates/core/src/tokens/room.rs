//! How many entries there are.
//!
//! Owns the bound on all entries of the cache and who may add one: a caller without budget for a request cannot push out the
//! entries of others. Next: `supply`, which keeps them.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::policy::Reach;
use crate::tokens::entry::Entry;
use crate::tokens::scope::Effective;
use crate::tokens::source::Ask;
use crate::tokens::supply::Supply;
use crate::tokens::{Budget, Error, Tokens};
use claviger_runtime::clock::Moment;

/// Entries besides those of the definitions' own scopes; the least recently used are evicted first.
pub(super) const MOST_ENTRIES: usize = 4096;

/// A budget that is never exhausted, for work that is charged already or follows the token's own schedule.
pub(super) const UNCHARGED: fn(Moment) -> Result<(), Duration> = |_now| Ok(());

/// The entry that answers a request.
pub(super) struct Place<'a> {
    pub(super) supply: &'a Arc<Supply>,
    pub(super) entry: Arc<Entry>,
    /// Whether the entry is new, which the caller's budget was charged for.
    is_new: bool,
}

impl Place<'_> {
    /// The budget for a request to the issuer: the caller's, unless it was charged for the entry.
    pub(super) fn budget<'b>(&self, budget: Budget<'b>) -> Budget<'b> {
        if self.is_new { &UNCHARGED } else { budget }
    }
}

impl Tokens {
    /// The entry that answers a request, made if there is none.
    pub(super) fn place(
        &self,
        reach: &Reach,
        budget: Budget<'_>,
        now: Moment,
    ) -> Result<Place<'_>, Error> {
        let supply = self.supplies.get(reach.name()).ok_or(Error::Unknown)?;
        let place = |entry, is_new| Place {
            supply,
            entry,
            is_new,
        };
        if let Some(entry) = supply.find(reach)? {
            return Ok(place(entry, false));
        }
        let scopes = match supply.effective(reach)? {
            Effective::Other(scopes) => scopes.into_owned(),
            Effective::Definition => return Err(Error::Unknown), // Always found above.
        };
        budget(now).map_err(|retry_in| Error::OverBudget { retry_in })?;
        let _growing = self
            .shared
            .growth
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.make_room();
        let entry = supply.make(Ask::client(scopes));
        entry.touch(now);
        Ok(place(entry, true))
    }

    /// Evicts entries if there are as many as allowed: first those without a token, then the least recently used. A few at
    /// once, so that not every new entry has to look at all others.
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
        // Entries that callers watch or wait for go last.
        all.sort_by_cached_key(|(_, entry)| {
            let awaited = entry.lock().flight.is_some();
            let cached = entry.current.load().is_some();
            (entry.is_watched(), awaited, cached, entry.last_used())
        });
        let surplus = count
            .saturating_sub(MOST_ENTRIES)
            .saturating_add(MOST_ENTRIES / 64);
        for (supply, entry) in all.iter().take(surplus) {
            supply.remove(&entry.ask);
        }
        tracing::debug!(count, evicted = surplus, "the token cache is full");
    }
}
