//! Whether tokens can be served.
//!
//! Owns the readiness of each definition, judged by earlier requests; it never sends one, because a token request uses the
//! client's credential and its rate limit. A definition without any request is ready as soon as its credential is cached. One
//! that fails is not:
//!
//! - a token that the issuer refused stays refused until the issuer gives it, or the credential changes;
//! - a request that failed otherwise counts as long as callers want the token. Half an hour after the last one the failure is
//!   forgotten: only a request can lift it, and a daemon that is not ready may receive none.
//!
//! The definition's own scopes decide. Where they have no entry, because every rule narrows them, the other scope sets do: one
//! that works is enough.

use std::sync::Arc;
use std::time::Duration;

use crate::tokens::Tokens;
use crate::tokens::entry::Entry;
use crate::tokens::source::{ErrorKind, TokenSource};
use crate::tokens::state::{Event, State};
use crate::tokens::supply::Supply;
use claviger_runtime::clock::Moment;

/// The readiness of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It has a token to serve.
    Serves,
    /// The issuer was asked and gave no token.
    Fails,
    /// There was no request yet, or none that counts.
    Unknown,
}

/// What earlier requests say about the issuers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// No request counts: there was none, or it is too long ago.
    Unknown,
    /// A token was issued, and none was refused or failed.
    Connected,
    /// A request was refused or failed.
    Disconnected,
}

impl Contact {
    /// The word in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
        }
    }
}

impl Tokens {
    /// Each token of the configuration, by name, and whether it can be served.
    pub fn readiness(&self) -> Vec<(Arc<str>, bool)> {
        let now = self.shared.clock.now();
        let each = self.supplies.iter();
        let mut rows: Vec<_> = each
            .map(|(name, supply)| (Arc::clone(name), serves(supply, now)))
            .collect();
        rows.sort_unstable();
        rows
    }

    /// Whether every token can be served.
    pub fn is_ready(&self) -> bool {
        let now = self.shared.clock.now();
        let mut supplies = self.supplies.values();
        supplies.all(|supply| serves(supply, now))
    }

    /// Whether issuers give tokens, by the requests so far.
    pub fn contact(&self) -> Contact {
        let now = self.shared.clock.now();
        let mut contact = Contact::Unknown;
        for supply in self.supplies.values() {
            match standing(supply, now) {
                Standing::Fails => return Contact::Disconnected,
                Standing::Serves => contact = Contact::Connected,
                Standing::Unknown => {}
            }
        }
        contact
    }
}

fn serves(supply: &Supply, now: Moment) -> bool {
    match standing(supply, now) {
        Standing::Serves => true,
        Standing::Fails => false,
        Standing::Unknown => supply.definition.source.credential().is_available,
    }
}

fn standing(supply: &Supply, now: Moment) -> Standing {
    let source = &*supply.definition.source;
    let idle = supply.definition.idle;
    let entries = supply.entries().into_iter();
    let mut standings = entries.map(|entry| entry.standing(source, idle, now));
    let own = standings.next().unwrap_or(Standing::Unknown);
    let others = || {
        standings.reduce(|one, other| match (one, other) {
            (Standing::Serves, _) | (_, Standing::Serves) => Standing::Serves,
            (Standing::Fails, _) | (_, Standing::Fails) => Standing::Fails,
            (Standing::Unknown, Standing::Unknown) => Standing::Unknown,
        })
    };
    match own {
        Standing::Unknown => others().unwrap_or(own),
        Standing::Serves | Standing::Fails => own,
    }
}

impl Entry {
    fn standing(&self, source: &dyn TokenSource, idle: Duration, now: Moment) -> Standing {
        let core = self.lock();
        match core.state.step(Event::Look, now) {
            State::Fresh { .. } | State::Due { .. } | State::Stale { .. } => Standing::Serves,
            State::Empty | State::Spent { .. } => Standing::Unknown,
            State::Refused { retry } if retry.credential != source.credential().number => {
                Standing::Unknown
            }
            State::Refused { .. } => Standing::Fails,
            State::Failed { .. } => {
                let kind = core.last_error.as_ref().map(|error| error.kind);
                let lacked = matches!(kind, Some(ErrorKind::NoCredential { .. }));
                let unused = self.idle_at(now, idle).passed(now) && !self.is_watched();
                if unused || (lacked && source.credential().is_available) {
                    Standing::Unknown
                } else {
                    Standing::Fails
                }
            }
        }
    }
}
