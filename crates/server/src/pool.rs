//! One pool of connections and open requests, divided among the principals that share it.
//!
//! Owns the counts and their arithmetic. Taking a slot costs one lock, opening a request some atomic additions; in a full pool
//! taking a slot looks at each connection once. Knows nothing of peers but their principals: `caps` chooses the pool.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use claviger_core::peer::Principal;

/// How many connections that were closed for others may still be on their way out.
pub(crate) const MOST_LEAVING: usize = 64;

/// What a connection is counted by.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) principal: Principal,
    /// Whether a rule selects it, or it is an operator on the socket for operators.
    pub(crate) permitted: bool,
    /// Whether it is the daemon itself, or a health check beside it.
    pub(crate) beside_daemon: bool,
}

/// The bounds of a pool.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// Connections of all principals.
    pub(crate) connections: usize,
    /// Connections of one principal.
    pub(crate) connections_each: usize,
    /// Open requests of all principals.
    pub(crate) requests: usize,
    /// Open requests of one principal.
    pub(crate) requests_each: usize,
}

impl Bounds {
    /// The lower of each bound and its counterpart.
    pub(crate) fn within(&self, other: &Self) -> Self {
        Self {
            connections: self.connections.min(other.connections),
            connections_each: self.connections_each.min(other.connections_each),
            requests: self.requests.min(other.requests),
            requests_each: self.requests_each.min(other.requests_each),
        }
    }
}

/// What is left of `most` for a principal that has `own` already: the last eighth is for those that have none.
fn open_to(most: usize, own: usize) -> usize {
    let reserve = if own == 0 { 0 } else { most / 8 };
    most.saturating_sub(reserve)
}

/// The connections and open requests of some principals.
#[derive(Debug)]
pub(crate) struct Pool {
    bounds: Bounds,
    connections: Mutex<Connections>,
    requests: AtomicUsize,
}

#[derive(Debug, Default)]
struct Connections {
    all: usize,
    /// Those that were closed for others, and are not among `all` any more.
    leaving: usize,
    next: u64,
    by_principal: HashMap<Principal, Held>,
}

/// What one principal has.
#[derive(Debug, Default)]
struct Held {
    requests: Arc<AtomicUsize>,
    /// In the order in which they came.
    connections: BTreeMap<u64, Arc<Connection>>,
}

#[derive(Debug, Default)]
struct Connection {
    /// Its open requests.
    open: AtomicUsize,
    evicted: CancellationToken,
}

/// A slot among the connections. Released when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    metrics: Arc<Metrics>,
    principal: Principal,
    number: u64,
    requests: Arc<Requests>,
}

/// The open requests of one connection, counted with those of its principal and with all.
#[derive(Debug)]
pub(crate) struct Requests {
    pool: Arc<Pool>,
    of_principal: Arc<AtomicUsize>,
    connection: Arc<Connection>,
    /// Whether the bound on all requests does not apply.
    beside_daemon: bool,
}

/// An open request: from its head to the end of its answer. Over when dropped.
#[derive(Debug)]
pub(crate) struct OpenRequest(Arc<Requests>);

impl Pool {
    pub(crate) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            connections: Mutex::default(),
            requests: AtomicUsize::new(0),
        })
    }

    /// Takes a slot, if there is one or one can be made free.
    pub(crate) fn take(self: &Arc<Self>, owner: &Owner, metrics: &Arc<Metrics>) -> Option<Slot> {
        let mut connections = self.lock();
        let own = connections.of(&owner.principal);
        if own >= self.bounds.connections_each {
            return None;
        }
        let most = open_to(self.bounds.connections, own);
        if connections.all >= most && !connections.evict_for(own) {
            return None;
        }
        let number = connections.next;
        connections.next = number.wrapping_add(1);
        connections.all = connections.all.saturating_add(1);
        let held = connections
            .by_principal
            .entry(owner.principal.clone())
            .or_default();
        let connection = Arc::<Connection>::default();
        held.connections.insert(number, Arc::clone(&connection));
        metrics.count_opened();
        Some(Slot {
            metrics: Arc::clone(metrics),
            principal: owner.principal.clone(),
            number,
            requests: Arc::new(Requests {
                pool: Arc::clone(self),
                of_principal: Arc::clone(&held.requests),
                connection,
                beside_daemon: owner.beside_daemon,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connections {
    /// How many connections a principal has.
    fn of(&self, principal: &Principal) -> usize {
        let held = self.by_principal.get(principal);
        held.map_or(0, |held| held.connections.len())
    }

    /// Removes a connection of a principal; whether it was there.
    fn remove(&mut self, principal: &Principal, number: u64) -> bool {
        let Some(held) = self.by_principal.get_mut(principal) else {
            return false;
        };
        let removed = held.connections.remove(&number).is_some();
        if held.connections.is_empty() {
            self.by_principal.remove(principal);
        }
        if removed {
            self.all = self.all.saturating_sub(1);
        }
        removed
    }

    /// Closes the oldest idle connection of the principal that has most, for one that has `own`. Two principals never close
    /// each other's in turn: afterwards the first one still has as many as the second.
    fn evict_for(&mut self, own: usize) -> bool {
        if self.leaving >= MOST_LEAVING {
            return false;
        }
        let largest = self
            .by_principal
            .iter()
            .filter(|(_, held)| held.connections.len() > own.saturating_add(1))
            .filter_map(|(principal, held)| Some((principal, held, held.oldest_idle()?)))
            .max_by_key(|(_, held, _)| held.connections.len());
        let Some((principal, held, number)) = largest else {
            return false;
        };
        if let Some(connection) = held.connections.get(&number) {
            connection.evicted.cancel();
        }
        let principal = principal.clone();
        self.leaving = self.leaving.saturating_add(1);
        self.remove(&principal, number)
    }
}

impl Held {
    fn oldest_idle(&self) -> Option<u64> {
        let mut connections = self.connections.iter();
        let idle = connections.find(|(_, connection)| connection.open.load(Ordering::Relaxed) == 0);
        idle.map(|(number, _)| *number)
    }
}

impl Slot {
    /// The open requests of this connection.
    pub(crate) fn requests(&self) -> Arc<Requests> {
        Arc::clone(&self.requests)
    }

    /// Fires when the connection must make room for another.
    pub(crate) fn evicted(&self) -> CancellationToken {
        self.requests.connection.evicted.clone()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut connections = self.requests.pool.lock();
        if !connections.remove(&self.principal, self.number) {
            connections.leaving = connections.leaving.saturating_sub(1);
        }
        self.metrics.count_closed();
    }
}

impl Requests {
    /// Opens a request, if its principal and all together have not too many open.
    pub(crate) fn open(self: &Arc<Self>) -> Option<OpenRequest> {
        let Bounds {
            requests,
            requests_each,
            ..
        } = self.pool.bounds;
        let own = one_more(&self.of_principal, requests_each)?;
        let most = if self.beside_daemon {
            usize::MAX
        } else {
            open_to(requests, own)
        };
        if one_more(&self.pool.requests, most).is_none() {
            self.of_principal.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        self.connection.open.fetch_add(1, Ordering::Relaxed);
        Some(OpenRequest(Arc::clone(self)))
    }
}

/// Counts one more, unless there are `most`; returns how many there were.
fn one_more(count: &AtomicUsize, most: usize) -> Option<usize> {
    count
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
            (open < most).then(|| open.saturating_add(1))
        })
        .ok()
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let requests = &*self.0;
        requests.connection.open.fetch_sub(1, Ordering::Relaxed);
        requests.of_principal.fetch_sub(1, Ordering::Relaxed);
        requests.pool.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        connections: 8,
        connections_each: 6,
        requests: 8,
        requests_each: 6,
    };

    fn owner(uid: u32) -> Owner {
        Owner {
            principal: Principal::of_user(uid),
            permitted: true,
            beside_daemon: false,
        }
    }

    #[test]
    fn a_full_pool_closes_the_oldest_idle_connection_of_the_largest_principal() {
        let (pool, metrics) = (Pool::new(BOUNDS), Arc::new(Metrics::default()));
        let take = |uid| pool.take(&owner(uid), &metrics);
        let mut large: Vec<_> = (0..6).map(|_| take(1).unwrap()).collect();
        assert!(take(1).is_none(), "six of one");
        let busy = large[0].requests().open().unwrap();
        let mut small = vec![take(2).unwrap()];
        assert!(large.iter().all(|slot| !slot.evicted().is_cancelled()));
        // The last eighth is for those that have none.
        small.push(take(2).unwrap());
        let evicted = |slots: &[Slot]| -> Vec<bool> {
            let tokens = slots.iter().map(|slot| slot.evicted().is_cancelled());
            tokens.collect()
        };
        assert_eq!(
            evicted(&large),
            [false, true, false, false, false, false],
            "the first one is busy"
        );
        let third = take(3).unwrap();
        assert_eq!(pool.lock().all, 8);
        assert!(take(1).is_none(), "the largest one takes from none");
        let fourth = take(4).unwrap();
        drop(busy);
        let fifth = take(5).unwrap();
        assert_eq!(evicted(&large), [true, true, true, false, false, false],);
        assert!(take(2).is_none(), "the largest one would have fewer");
        assert_eq!(pool.lock().leaving, 3);
        large.clear();
        assert_eq!(pool.lock().leaving, 0);
        assert_eq!(pool.lock().all, 5);
        drop((small, third, fourth, fifth));
        assert!(pool.lock().by_principal.is_empty());
        assert_eq!(metrics.open(), 0);
    }

    #[test]
    fn only_so_many_connections_leave_at_once() {
        let bounds = Bounds {
            connections: 200,
            connections_each: 200,
            ..BOUNDS
        };
        let (pool, metrics) = (Pool::new(bounds), Arc::default());
        let _large: Vec<_> = std::iter::from_fn(|| pool.take(&owner(0), &metrics)).collect();
        let small: Vec<_> = (1..200)
            .map_while(|uid| pool.take(&owner(uid), &metrics))
            .collect();
        assert_eq!(small.len(), 25 + MOST_LEAVING);
    }

    #[test]
    fn open_requests_are_limited_in_all_and_by_principal_and_end() {
        let (pool, metrics) = (Pool::new(BOUNDS), Arc::default());
        let connect = |uid| pool.take(&owner(uid), &metrics).unwrap();
        let (first, second, other, last) = (connect(1), connect(1), connect(2), connect(3));
        let mut open: Vec<_> = [&first, &first, &first, &second, &second, &second]
            .into_iter()
            .map(|slot| slot.requests().open().unwrap())
            .collect();
        assert!(second.requests().open().is_none(), "six of one principal");
        open.push(other.requests().open().unwrap());
        assert!(other.requests().open().is_none(), "seven in all");
        open.push(last.requests().open().unwrap());
        assert!(last.requests().open().is_none(), "eight in all");
        let own = Owner {
            beside_daemon: true,
            ..owner(4)
        };
        let own = pool.take(&own, &metrics).unwrap();
        assert!(own.requests().open().is_some(), "but for the daemon itself");
        open.clear();
        assert!(second.requests().open().is_some() && other.requests().open().is_some());
        assert_eq!(pool.requests.load(Ordering::Relaxed), 0);
    }
}
