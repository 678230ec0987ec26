//! Connections between their acceptance and the identification of their peers.
//!
//! Owns the bounds on them: by account, because only the uid is known yet. The connections of an account wait for their turn,
//! one identification at a time and no faster than a pace, so that a user that connects and closes as fast as it can occupies
//! one worker at most, and there only between the turns of others. The daemon and health checks beside it are an account of their own, apart from
//! other processes of the daemon's user. Never decides who a peer is: next is `caps`, when that is known.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::settings::Limits;
use claviger_core::peer::Account;
use claviger_runtime::clock::{Clock, Moment, Pace};

/// Between two connections of one account, in the long run.
const INTERVAL: Duration = Duration::from_millis(5);

/// How many connections of one account may come at once, beyond what the interval allows: twice what a user may keep.
const BURST: u32 = 512;

/// The most accounts that are tracked at once. An account is forgotten when nothing of it waits and its pace is whole.
const MOST_TRACKED: usize = 1024;

/// How many connections wait for the identification of their peers, and may.
#[derive(Debug)]
pub(crate) struct Arrivals {
    most: usize,
    most_per_account: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    all: usize,
    by_account: HashMap<Account, OfAccount>,
}

#[derive(Debug)]
struct OfAccount {
    waiting: usize,
    turns: Arc<Turns>,
}

/// When connections of one account are identified.
#[derive(Debug)]
struct Turns {
    pace: Pace,
    next: Semaphore,
}

impl OfAccount {
    fn new() -> Self {
        Self {
            waiting: 0,
            turns: Arc::new(Turns {
                pace: Pace::new(INTERVAL, INTERVAL.saturating_mul(BURST.saturating_sub(1))),
                next: Semaphore::new(1),
            }),
        }
    }
}

/// How many connections may wait, beside the first one of each account.
pub(crate) fn most(limits: &Limits) -> usize {
    limits.connections.div_ceil(2)
}

/// A connection that waits. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) account: Account,
    turns: Arc<Turns>,
    arrivals: Arc<Arrivals>,
}

impl Arrivals {
    /// None yet. Half as many may wait as may be served, and as many of one account as one user may have.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            most: most(limits),
            most_per_account: limits.connections_per_uid,
            waiting: Mutex::default(),
        }
    }

    /// Counts a connection, unless too many of its account wait. Constant time, but for the rare search for accounts
    /// to be forgotten.
    pub(crate) fn admit(self: &Arc<Self>, account: Account, now: Moment) -> Option<Arrived> {
        let mut waiting = self.lock();
        if waiting.by_account.len() >= MOST_TRACKED && !waiting.by_account.contains_key(&account) {
            waiting
                .by_account
                .retain(|_, of| of.waiting > 0 || !of.turns.pace.is_whole(now));
            if waiting.by_account.len() >= MOST_TRACKED {
                return None;
            }
        }
        let full = waiting.all >= self.most && !account.beside_daemon;
        let of = waiting
            .by_account
            .entry(account)
            .or_insert_with(OfAccount::new);
        // The last ones are for accounts of which none waits.
        if (full && of.waiting > 0) || of.waiting >= self.most_per_account {
            return None;
        }
        of.waiting = of.waiting.saturating_add(1);
        let turns = Arc::clone(&of.turns);
        waiting.all = waiting.all.saturating_add(1);
        Some(Arrived {
            account,
            turns,
            arrivals: Arc::clone(self),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrived {
    /// Waits until no other connection of the account is identified and its pace allows this one. Keeps the others waiting until
    /// the turn is dropped.
    pub(crate) async fn turn(&self, clock: &dyn Clock) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        let turn = self.turns.next.acquire().await.ok();
        while let Err(wait) = self.turns.pace.take(clock.now()) {
            tokio::time::sleep(wait).await;
        }
        turn
    }
}

impl Drop for Arrived {
    fn drop(&mut self) {
        let mut waiting = self.arrivals.lock();
        waiting.all = waiting.all.saturating_sub(1);
        if let Some(of) = waiting.by_account.get_mut(&self.account) {
            of.waiting = of.waiting.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use claviger_runtime::clock::{SteppedClock, SystemClock};

    use super::*;

    fn arrivals() -> Arc<Arrivals> {
        Arc::new(Arrivals::new(&Limits {
            connections: 8,
            connections_per_uid: 3,
            ..Limits::DEFAULT
        }))
    }

    fn account(uid: u32) -> Account {
        Account {
            uid,
            beside_daemon: false,
        }
    }

    fn at(ms: u64) -> Moment {
        Moment {
            boot: Duration::from_millis(1_000_000 + ms),
            wall: Duration::ZERO,
        }
    }

    #[test]
    fn each_account_waits_within_its_own_bound() {
        let arrivals = arrivals();
        let admit = |uid| arrivals.admit(account(uid), at(0));
        let first = admit(1).unwrap();
        let _others = [admit(1).unwrap(), admit(1).unwrap()];
        assert!(admit(1).is_none(), "three of one account");
        let _another = admit(2).unwrap();
        assert!(admit(2).is_none(), "four in all");
        assert!(admit(3).is_some(), "but for an account without any");
        let own = Account {
            uid: 1,
            beside_daemon: true,
        };
        let _own = [(); 2].map(|()| arrivals.admit(own, at(0)).unwrap());
        drop(first);
        assert!(admit(2).is_none(), "five in all");
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_that_connects_and_closes_is_kept_to_its_pace() {
        let (arrivals, clock) = (arrivals(), SteppedClock::default());
        let started = clock.now();
        let mut waited = Duration::ZERO;
        for _ in 0..=BURST {
            assert_eq!(waited, Duration::ZERO);
            let arrived = arrivals.admit(account(1), clock.now()).unwrap();
            drop(arrived.turn(&clock).await.unwrap());
            waited = clock.now().since(started);
        }
        assert!(waited >= INTERVAL, "{waited:?}");
        let before = clock.now();
        let other = arrivals.admit(account(2), before).unwrap();
        assert!(other.turn(&clock).await.is_some());
        assert_eq!(clock.now().since(before), Duration::ZERO, "others");
    }

    #[tokio::test(start_paused = true)]
    async fn accounts_without_connections_are_forgotten() {
        let (arrivals, clock) = (arrivals(), SteppedClock::default());
        for uid in 0..5_000 {
            let arrived = arrivals.admit(account(uid), clock.now()).unwrap();
            drop(arrived.turn(&clock).await.unwrap());
            clock.suspend(INTERVAL);
        }
        assert!(arrivals.lock().by_account.len() <= MOST_TRACKED);
    }

    #[tokio::test]
    async fn one_identification_at_a_time_is_made_for_an_account() {
        let (arrivals, clock) = (arrivals(), SystemClock);
        let [one, two] = [(); 2].map(|()| arrivals.admit(account(1), at(0)).unwrap());
        let other = arrivals.admit(account(2), at(0)).unwrap();
        let turn = one.turn(&clock).await;
        assert!(other.turn(&clock).await.is_some());
        let mut next = Box::pin(two.turn(&clock));
        assert!(futures_util::poll!(&mut next).is_pending());
        drop(turn);
        assert!(futures_util::poll!(&mut next).is_ready());
    }
}
