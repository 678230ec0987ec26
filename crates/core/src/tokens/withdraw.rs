//! Taking tokens out of service: because a resource server rejected them, or because a caller has them revoked.
//!
//! Owns two rules: one rejected token costs one renewal, however often it is reported; and a token is dropped here before its
//! issuer is asked to revoke it.

use std::sync::Arc;

use crate::policy::{Reach, RevokePermit, TokenPermit};
use crate::tokens::entry::Entry;
use crate::tokens::source::Revocation;
use crate::tokens::supply::Supply;
use crate::tokens::{NEGATIVE, Tokens};
use claviger_runtime::clock::Deadline;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// The issuer could not be asked. It stays usable elsewhere.
    Failed {
        /// Until then.
        until: Deadline,
    },
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
        let source = Arc::clone(&supply.definition.source);
        let request = async move { source.revoke(&held.access_token).await };
        match self.shared.drain.spawn(request).await {
            Ok(Revocation::Revoked) => Revoked::Revoked,
            Ok(Revocation::Unsupported) => Revoked::Unsupported { until },
            Ok(Revocation::Failed) | Err(_) => Revoked::Failed { until },
        }
    }

    /// The entry that a permit reaches, if there is one. Makes none: it would be empty.
    fn known(&self, reach: &Reach) -> Option<(&Arc<Supply>, Arc<Entry>)> {
        let supply = self.supplies.get(reach.name())?;
        let entry = supply.find(reach).ok()??;
        Some((supply, entry))
    }
}
