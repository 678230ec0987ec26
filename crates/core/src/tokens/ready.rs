//! Whether tokens can be handed out, as far as is known.
//!
//! Owns the judgment on each definition, made from what requests have shown; it asks nobody, because a token request proves
//! the client's credential and costs. A definition that nobody has asked for counts as ready as soon as its credential is
//! held. One that is known to fail does not:
//!
//! - what the issuer refused stays refused until it gives a token, or another credential is held;
//! - an issuer that could not be asked counts as long as somebody wants the token. Once nobody has for half an hour, nothing
//!   is known any more: otherwise a failure that only a request can lift might keep away those who would make it.
//!
//! The definition's own scopes decide. If they tell nothing, because every rule narrows them, the other scope sets do: one
//! that works is proof enough.

use std::sync::Arc;
use std::time::Duration;

use crate::tokens::Tokens;
use crate::tokens::entry::Entry;
use crate::tokens::source::{ErrorKind, TokenSource};
use crate::tokens::state::{Event, State};
use crate::tokens::supply::Supply;
use claviger_runtime::clock::Moment;

/// What is known of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It has a token to serve.
    Serves,
    /// The issuer was asked and gave nothing.
    Fails,
    /// Nothing.
    Unknown,
}

impl Tokens {
    /// Each token of the configuration, by name, and whether it can be handed out.
    pub fn readiness(&self) -> Vec<(Arc<str>, bool)> {
        let now = self.shared.clock.now();
        let each = self.supplies.iter();
        let mut rows: Vec<_> = each
            .map(|(name, supply)| (Arc::clone(name), serves(supply, now)))
            .collect();
        rows.sort_unstable();
        rows
    }

    /// Whether every token can be handed out.
    pub fn is_ready(&self) -> bool {
        let now = self.shared.clock.now();
        let mut supplies = self.supplies.values();
        supplies.all(|supply| serves(supply, now))
    }
}

fn serves(supply: &Supply, now: Moment) -> bool {
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
    let known = match own {
        Standing::Unknown => others().unwrap_or(own),
        Standing::Serves | Standing::Fails => own,
    };
    match known {
        Standing::Serves => true,
        Standing::Fails => false,
        Standing::Unknown => source.has_credential(),
    }
}

impl Entry {
    fn standing(&self, source: &dyn TokenSource, idle: Duration, now: Moment) -> Standing {
        let core = self.lock();
        match core.state.step(Event::Look, now) {
            State::Fresh { .. } | State::Due { .. } | State::Stale { .. } => Standing::Serves,
            State::Empty | State::Spent { .. } => Standing::Unknown,
            State::Refused { retry } if retry.credential != source.credential() => {
                Standing::Unknown
            }
            State::Refused { .. } => Standing::Fails,
            State::Failed { .. } => {
                let kind = core.last_error.as_ref().map(|error| error.kind);
                let lacked = matches!(kind, Some(ErrorKind::NoCredential { .. }));
                let unused = self.idle_at(now, idle).passed(now) && !self.is_watched();
                if unused || (lacked && source.has_credential()) {
                    Standing::Unknown
                } else {
                    Standing::Fails
                }
            }
        }
    }
}
