//! Taking tokens out of service: because a resource server rejected them, or because a caller has them revoked.
//!
//! Owns two rules: one rejected token costs one renewal, however often it is reported; and a token is dropped here before its
//! issuer is asked to revoke it.

use std::sync::Arc;

use crate::policy::{Reach, RevokePermit, TokenPermit};
use crate::tokens::entry::Entry;
use crate::tokens::held::Held;
use crate::tokens::source::{self, Revocation};
use crate::tokens::supply::Supply;
use crate::tokens::{NEGATIVE, Tokens};
use claviger_runtime::clock::Deadline;
use claviger_runtime::telemetry::{EVENTS, Event};

/// The outcome of a report that a resource server rejected a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// The token was dropped. The next request brings a newer one, or the issuer's refusal.
    Dropped,
    /// That token is no longer cached.
    Superseded,
    /// A newer token would be rejected as well: that token has just replaced one that was rejected, or the resource server
    /// says that something else is missing. Nothing was dropped.
    NotTheToken,
}

/// The outcome of a revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// No token was cached.
    NothingHeld,
    /// The issuer confirmed it.
    Revoked,
    /// The issuer cannot revoke it. It stays usable elsewhere.
    Unsupported {
        /// Until then.
        until: Deadline,
    },
    /// The issuer answered with an error. The token stays usable elsewhere.
    Refused {
        /// Until then.
        until: Deadline,
        /// What the issuer's answer means.
        error: source::Error,
    },
    /// The issuer could not be asked. The token stays usable elsewhere.
    Failed {
        /// Until then.
        until: Deadline,
        /// Why; `None` if the daemon is stopping.
        error: Option<source::Error>,
    },
}

impl Revoked {
    /// The word for it, for logs.
    fn as_str(&self) -> &'static str {
        match self {
            Self::NothingHeld => "nothing_held",
            Self::Revoked => "revoked",
            Self::Unsupported { .. } => "unsupported",
            Self::Refused { .. } => "refused",
            Self::Failed { .. } => "failed",
        }
    }

    /// Why the issuer did not revoke it, if an error was the cause.
    pub fn error(&self) -> Option<&source::Error> {
        match self {
            Self::Refused { error, .. } => Some(error),
            Self::Failed { error, .. } => error.as_ref(),
            Self::NothingHeld | Self::Revoked | Self::Unsupported { .. } => None,
        }
    }
}

impl Tokens {
    /// Notes that a resource server rejected the token with this fingerprint. Drops exactly that token. A report about any
    /// other token changes nothing, so any number of reports about one token costs one renewal.
    pub fn report(&self, permit: &TokenPermit, fingerprint: &str) -> Report {
        let Some((supply, entry)) = self.known(permit.reach()) else {
            return Report::Superseded;
        };
        let now = self.shared.clock.now();
        let mut core = entry.lock();
        let current = entry.current.load_full();
        let Some(held) = current.filter(|held| held.fingerprint == fingerprint) else {
            return Report::Superseded;
        };
        // Otherwise a resource server that rejects every token would make the cache ask the issuer in a loop.
        if held.replacement && now.since(held.sent) < NEGATIVE {
            return Report::NotTheToken;
        }
        let generation = held.generation;
        core.replacing = true;
        drop(entry.evict(&mut core, now));
        tracing::info!(
            token = %supply.definition.name, fingerprint, generation,
            "a resource server rejected the token; dropped"
        );
        Report::Dropped
    }

    /// Drops the token here at once, then asks its issuer to revoke it. The request goes on if the caller disconnects.
    pub async fn revoke(&self, permit: &RevokePermit) -> Revoked {
        let Some((supply, entry)) = self.known(permit.reach()) else {
            return Revoked::NothingHeld;
        };
        let now = self.shared.clock.now();
        let Some(held) = entry.evict(&mut entry.lock(), now) else {
            return Revoked::NothingHeld;
        };
        let until = held.expires;
        let definition = &supply.definition;
        let (source, name) = (Arc::clone(&definition.source), Arc::clone(&definition.name));
        // The record is written also when the caller has left.
        let request = async move {
            let revoked = match source.revoke(&held.access_token).await {
                Revocation::Revoked => Revoked::Revoked,
                Revocation::Unsupported => Revoked::Unsupported { until },
                Revocation::Refused(error) => Revoked::Refused { until, error },
                Revocation::Failed(error) => Revoked::Failed {
                    until,
                    error: Some(error),
                },
            };
            record(&name, &held, &revoked);
            revoked
        };
        self.shared
            .drain
            .spawn(request)
            .await
            .unwrap_or(Revoked::Failed { until, error: None })
    }

    /// The entry that a permit reaches, if there is one. Makes none: it would be empty.
    fn known(&self, reach: &Reach) -> Option<(&Arc<Supply>, Arc<Entry>)> {
        let supply = self.supplies.get(reach.name())?;
        let entry = supply.find(reach).ok()??;
        Some((supply, entry))
    }
}

/// Records how a revocation ended.
fn record(name: &str, held: &Held, revoked: &Revoked) {
    let (fingerprint, generation) = (held.fingerprint.as_str(), held.generation);
    let outcome = revoked.as_str();
    if *revoked == Revoked::Revoked {
        tracing::info!(
            target: EVENTS, event_type = Event::TokenRevoked.name(),
            token = name, fingerprint, generation, "the issuer revoked the token"
        );
    } else {
        let error = revoked.error().map(tracing::field::display);
        tracing::warn!(
            target: EVENTS, event_type = Event::RevocationFailed.name(),
            token = name, fingerprint, generation, outcome, error,
            "the token was dropped, but the issuer did not revoke it"
        );
    }
}
