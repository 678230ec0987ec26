//! Caps: how many connections and open requests there may be at once.
//!
//! Owns the bounds on both, the slots within them, and their fair division. Peers that a rule selects are counted by principal:
//! by user, and by unit or container, because a user id alone would let root of a container use up what root of the host has.
//! Peers that no rule selects share one small pool of their own, so that they take nothing from the others, however many
//! users one of them can be. In both pools the last eighth is for principals that have nothing yet; in a full pool the oldest
//! idle connection of the principal that has most of them is closed for one that has fewer. Whether rules select a peer is
//! determined when it connects.
//!
//! A slot is released when it is dropped, in any order and on any thread. Counting requests besides connections is what bounds
//! memory: one connection is cheap, but each of its requests may hold headers, half a message and an answer that the peer does
//! not read. Next: `pool`, which has the arithmetic.

use std::sync::Arc;

use crate::metrics::Metrics;
use crate::pool::{Bounds, MOST_LEAVING, Owner, Pool, Slot};
use crate::settings::Limits;

/// How many connections operators may have.
pub(crate) const OPERATORS: usize = 64;

/// What peers that no rule selects share.
const STRANGERS: Bounds = Bounds {
    connections: 64,
    connections_each: 16,
    requests: 128,
    requests_each: 32,
};

/// What is kept for the daemon itself and for health checks beside it: if other peers could make those fail, the service
/// manager would restart the daemon.
const KEPT: Bounds = Bounds {
    connections: 8,
    connections_each: 8,
    requests: 32,
    requests_each: 32,
};

/// The pools of one socket.
#[derive(Debug)]
pub(crate) struct Caps {
    permitted: Arc<Pool>,
    strangers: Arc<Pool>,
    kept: Arc<Pool>,
}

impl Caps {
    pub(crate) fn for_programs(limits: &Limits) -> Self {
        let permitted = Bounds {
            connections: limits.connections,
            connections_each: limits.connections_per_uid,
            requests: limits.open_requests,
            requests_each: limits.open_requests_per_uid,
        };
        Self {
            strangers: Pool::new(STRANGERS.within(&permitted)),
            permitted: Pool::new(permitted),
            kept: Pool::new(KEPT),
        }
    }

    pub(crate) fn for_operators(limits: &Limits) -> Self {
        Self::for_programs(&Limits {
            connections: OPERATORS,
            connections_per_uid: OPERATORS,
            ..limits.clone()
        })
    }

    /// The most connections there may be on both sockets, those included that are closing for others.
    pub(crate) fn most(limits: &Limits) -> usize {
        const OTHERS: usize =
            STRANGERS.connections + KEPT.connections + OPERATORS + 3 * MOST_LEAVING;
        limits.connections.saturating_add(OTHERS)
    }

    /// Takes a slot for a connection, if there is one.
    pub(crate) fn take(&self, owner: &Owner, metrics: &Arc<Metrics>) -> Option<Slot> {
        let pool = if owner.permitted {
            &self.permitted
        } else {
            &self.strangers
        };
        let kept = || {
            owner
                .beside_daemon
                .then(|| self.kept.take(owner, metrics))
                .flatten()
        };
        pool.take(owner, metrics).or_else(kept)
    }
}

#[cfg(test)]
mod tests {
    use claviger_core::peer::Principal;

    use super::*;

    const LIMITS: Limits = Limits {
        connections: 3,
        connections_per_uid: 2,
        open_requests: 4,
        open_requests_per_uid: 3,
        ..Limits::DEFAULT
    };

    fn owner(uid: u32, permitted: bool) -> Owner {
        Owner {
            principal: Principal::of_user(uid),
            permitted,
            beside_daemon: false,
        }
    }

    #[test]
    fn strangers_take_nothing_from_permitted_peers() {
        let (caps, metrics) = (Caps::for_programs(&Limits::DEFAULT), Arc::default());
        let strangers: Vec<_> = (0..200)
            .filter_map(|uid| caps.take(&owner(uid, false), &metrics))
            .collect();
        assert_eq!(strangers.len(), 64);
        let opened: Vec<_> = (0..20)
            .flat_map(|_| &strangers)
            .filter_map(|slot| slot.requests().open())
            .collect();
        assert_eq!(opened.len(), 112, "the rest is for those that have none");
        let permitted = caps.take(&owner(1000, true), &metrics).unwrap();
        assert!(permitted.requests().open().is_some());
    }

    #[test]
    fn something_is_kept_for_the_daemons_own_health_check() {
        let (caps, metrics) = (Caps::for_programs(&LIMITS), Arc::default());
        let of = |permitted| Owner {
            beside_daemon: true,
            ..owner(7, permitted)
        };
        let others = [1, 2, 3].map(|uid| caps.take(&owner(uid, true), &metrics).unwrap());
        let open = [0, 1, 2, 0].map(|other: usize| others[other].requests().open());
        assert!(open.iter().all(Option::is_some));
        assert!(caps.take(&owner(7, true), &metrics).is_none());
        let own = [true, true, true, false].map(|permitted| caps.take(&of(permitted), &metrics));
        for slot in own {
            assert!(slot.unwrap().requests().open().is_some());
        }
    }
}
