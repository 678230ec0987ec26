//! The token cache.
//!
//! Owns every cached token, one entry per definition and ask: answers from memory, sends one request for all callers who wait
//! for the same token, renews ahead of expiry, and remembers failures so that no caller can make it hammer an issuer. Never
//! speaks OAuth itself: a [`TokenSource`] does. Never decides who may have a token: it answers to a [`TokenPermit`], and a
//! permit with narrower scopes leads to an entry of its own.
//!
//! [`Tokens::cached`] is the fast path: no wait, no allocation, no lock for the definition's own scopes. [`Tokens::get`]
//! (`serve`) is everything else. A request to an issuer is a task that the drain waits for; callers come and go. One loop
//! (`warm`) renews used entries and lets unused ones lapse. Next: `entry` (what to do about a request), `state` (when),
//! `request` (how), `land` (what an answer does).

mod entry;
mod error;
mod flight;
mod held;
mod land;
mod ready;
mod request;
mod room;
mod scope;
mod serve;
pub mod source;
mod state;
mod status;
mod supply;
mod warm;
mod watch;
mod withdraw;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::policy::TokenPermit;
use crate::secrets::Freshness;
use crate::tokens::flight::PENDING;
use crate::tokens::request::Asker;
use crate::tokens::source::{Identity, TokenSource};
use crate::tokens::supply::Supply;
use claviger_oauth_wire::Scopes;
use claviger_runtime::clock::{Clock, Moment};
use claviger_runtime::shutdown::Drain;

pub use error::Error;
pub use held::{Answer, Fingerprints, Held, NoFingerprints};
pub use ready::Contact;
pub use status::{EntryStatus, TokenStatus};
pub use watch::Watch;
pub use withdraw::{Report, Revoked};

/// The time without a request after which a token is no longer renewed, unless its definition says otherwise.
pub const DEFAULT_IDLE: Duration = Duration::from_mins(30);

/// How long a refusal of the issuer is remembered.
const NEGATIVE: Duration = Duration::from_mins(1);

/// A token of the configuration, and the source that obtains it.
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
    /// The time without a request after which it is no longer renewed.
    pub idle: Duration,
    /// Cached tokens survive a reload only if this and the scopes are equal.
    pub identity: Identity,
    /// Obtains it.
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

/// What all requests share.
#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    drain: Drain,
    fingerprints: Arc<Fingerprints>,
    /// Wakes the loop that keeps entries warm.
    wake: Notify,
    /// Set when another configuration took over.
    retired: CancellationToken,
    /// Locked while a map of entries grows, so that the bound on all of them holds.
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

/// Takes one upstream request from the caller's rate budget, or returns how long the caller must wait for one. Called with a
/// lock held: it must not wait.
pub type Budget<'a> = &'a (dyn Fn(Moment) -> Result<(), Duration> + Sync);

impl Tokens {
    /// Begins to answer for `definitions`, until the drain begins or the value is dropped.
    ///
    /// With `previous`, unchanged definitions keep their tokens, requests, failures and generations. `previous` stops renewing
    /// and its watches end, so call this only when the rest of a reload can no longer fail. All token caches of a daemon share
    /// its `fingerprints`.
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
        let tokens = Arc::new(Self {
            supplies: definitions
                .into_iter()
                .map(|definition| {
                    let name = Arc::clone(&definition.name);
                    let before = previous.and_then(|previous| previous.supplies.get(&name));
                    let supply = Supply::new(definition, before.map(AsRef::as_ref));
                    (name, Arc::new(supply))
                })
                .collect(),
            shared: Arc::new(Shared {
                clock,
                drain,
                fingerprints,
                wake: Notify::new(),
                retired: CancellationToken::new(),
                growth: Mutex::new(()),
            }),
        });
        drop(tokio::spawn(warm::run(
            Arc::clone(&tokens.shared),
            tokens.supplies.values().map(Arc::clone).collect(),
        )));
        tokens
    }

    /// The cached token, if it is good and not due for renewal. Never waits.
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

    /// Renews all entries of a token now, whatever is cached or remembered. One result per entry: whether another token is
    /// cached now. The requests go on if the caller disconnects.
    pub async fn refresh(&self, name: &str) -> Vec<Result<bool, Error>> {
        let Some(supply) = self.supplies.get(name) else {
            return vec![Err(Error::Unknown)];
        };
        // All are started before the first is waited for.
        let flights: Vec<_> = supply
            .entries()
            .into_iter()
            .map(|entry| {
                let mut core = entry.lock();
                let before = entry.current.load().as_ref().map(|held| held.generation);
                request::join(&self.shared, supply, &entry, &mut core, Asker::Operator)
                    .map(|flight| (flight, before))
            })
            .collect();
        let mut results = Vec::with_capacity(flights.len());
        for flight in flights {
            results.push(match flight {
                Ok((flight, before)) => flight
                    .landed(Duration::MAX, &*self.shared.clock)
                    .await
                    .unwrap_or(Err(Error::Pending { retry_in: PENDING }))
                    .map(|held| Some(held.generation) != before),
                Err(error) => Err(error),
            });
        }
        results
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        self.shared.retired.cancel();
    }
}

#[cfg(test)]
mod tests;
