//! The state of each token, for operators.
//!
//! Owns the reading of the cache into plain data: names, states, times, counts and classes of failure. Never a token.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::tokens::Tokens;
use crate::tokens::entry::Entry;
use crate::tokens::state::Event;
use claviger_oauth_wire::Scopes;
use claviger_runtime::clock::Moment;
use claviger_runtime::reason::advice;

/// The state of one token of the configuration.
#[derive(Clone, Debug)]
pub struct TokenStatus {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its issuer's name in the configuration.
    pub issuer: Arc<str>,
    /// Its client's name in the configuration.
    pub client: Arc<str>,
    /// Its entries, the one of its own scopes first.
    pub entries: Vec<EntryStatus>,
}

/// The state of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryStatus {
    /// The scopes that the issuer is asked for.
    pub scopes: Scopes,
    /// `empty`, `fresh`, `due`, `stale`, `failed` or `refused`.
    pub state: &'static str,
    /// The lifetime left of the cached token.
    pub lifetime_left: Option<Duration>,
    /// The generation of the cached token; 0 if there is none.
    pub generation: u64,
    /// Names the cached token.
    pub fingerprint: Option<String>,
    /// Why the last attempt failed, if it did.
    pub last_error: Option<&'static str>,
    /// What that means and what to do about it, for operators.
    pub last_error_detail: Option<String>,
    /// When the issuer will be asked again at the earliest, if it failed.
    pub retry_in: Option<Duration>,
    /// Answers from memory.
    pub hits: u64,
    /// Requests to the issuer.
    pub upstream_requests: u64,
}

impl Tokens {
    /// Every token, by name.
    pub fn status(&self) -> Vec<TokenStatus> {
        let now = self.shared.clock.now();
        let mut rows: Vec<_> = self
            .supplies
            .iter()
            .map(|(name, supply)| TokenStatus {
                name: Arc::clone(name),
                issuer: Arc::clone(&supply.definition.issuer),
                client: Arc::clone(&supply.definition.client),
                entries: supply
                    .entries()
                    .iter()
                    .map(|entry| entry.status(now))
                    .collect(),
            })
            .collect();
        rows.sort_by(|one, other| one.name.cmp(&other.name));
        rows
    }
}

impl Entry {
    fn status(&self, now: Moment) -> EntryStatus {
        let core = self.lock();
        let state = core.state.step(Event::Look, now);
        let held = self.serving(now);
        EntryStatus {
            scopes: self.ask.scopes.clone(),
            state: state.as_str(),
            lifetime_left: held.as_ref().map(|held| held.expires.left(now)),
            generation: held.as_ref().map_or(0, |held| held.generation),
            fingerprint: held.map(|held| held.fingerprint.clone()),
            last_error: core.last_error.as_ref().map(|error| error.kind.as_str()),
            last_error_detail: core.last_error.as_ref().map(advice),
            retry_in: state.retry().map(|retry| retry.at.left(now)),
            hits: self.hits.load(Ordering::Relaxed),
            upstream_requests: self.requests.load(Ordering::Relaxed),
        }
    }
}
