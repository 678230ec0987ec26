//! What one peer may cost.
//!
//! Owns one budget per identity (uid and cgroup), spent by refusals and by requests that reach upstream; answers from the
//! cache are free. A budget is a single number, the earliest moment at which it is whole again (the generic cell rate
//! algorithm), so spending is one atomic update. The number of identities that are tracked is bounded: whole budgets are
//! forgotten first, because forgetting them changes nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::broker::Error;
use crate::clock::Moment;
use crate::peer::Facts;

/// The most identities that are tracked at once.
const MOST_TRACKED: usize = 10_000;

/// How fast a budget refills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetSettings {
    /// Requests per second in the long run; at least 1.
    pub per_second: u32,
    /// Requests at once; at least 1.
    pub burst: u32,
}

/// One identity's budget.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Boot time, in nanoseconds, at which the budget is whole again.
    whole_at: AtomicU64,
    /// Nanoseconds that one request costs.
    cost: u64,
    /// Nanoseconds of cost that may be outstanding.
    depth: u64,
}

impl Budget {
    fn new(settings: BudgetSettings) -> Self {
        let cost = 1_000_000_000 / u64::from(settings.per_second.max(1));
        let depth = cost.saturating_mul(u64::from(settings.burst.max(1)));
        Self {
            whole_at: AtomicU64::new(0),
            cost,
            depth,
        }
    }

    /// Takes one request's cost, or says how long to wait.
    pub(crate) fn spend(&self, now: Moment) -> Result<(), Error> {
        let now = nanoseconds(now);
        let mut whole_at = self.whole_at.load(Ordering::Relaxed);
        loop {
            let next = whole_at.max(now).saturating_add(self.cost);
            let ahead = next.saturating_sub(now);
            if ahead > self.depth {
                let retry_in = Duration::from_nanos(ahead.saturating_sub(self.depth));
                return Err(Error::Limited { retry_in });
            }
            match self.whole_at.compare_exchange_weak(
                whole_at,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(seen) => whole_at = seen,
            }
        }
    }

    fn is_whole(&self, now: Moment) -> bool {
        self.whole_at.load(Ordering::Relaxed) <= nanoseconds(now)
    }
}

fn nanoseconds(now: Moment) -> u64 {
    u64::try_from(now.boot.as_nanos()).unwrap_or(u64::MAX)
}

/// Who a budget belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    uid: u32,
    cgroup: Option<String>,
}

/// All budgets.
#[derive(Debug)]
pub struct Budgets {
    settings: BudgetSettings,
    tracked: Mutex<HashMap<Identity, Arc<Budget>>>,
}

impl Budgets {
    /// No budgets yet; each begins whole.
    #[must_use]
    pub fn new(settings: BudgetSettings) -> Self {
        Self {
            settings,
            tracked: Mutex::default(),
        }
    }

    /// The budget of a peer. Connections of one identity share it.
    pub(crate) fn of(&self, facts: &Facts, now: Moment) -> Arc<Budget> {
        let identity = Identity {
            uid: facts.uid,
            cgroup: facts.cgroup.as_ref().map(|cgroup| cgroup.path.clone()),
        };
        let mut tracked = self.tracked.lock().unwrap_or_else(PoisonError::into_inner);
        if tracked.len() >= MOST_TRACKED && !tracked.contains_key(&identity) {
            tracked.retain(|_, budget| !budget.is_whole(now) || Arc::strong_count(budget) > 1);
            if tracked.len() >= MOST_TRACKED {
                // Ten thousand identities with spent budgets at once: a newcomer gets one that nobody remembers.
                return Arc::new(Budget::new(self.settings));
            }
        }
        let budget = tracked
            .entry(identity)
            .or_insert_with(|| Arc::new(Budget::new(self.settings)));
        Arc::clone(budget)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: BudgetSettings = BudgetSettings {
        per_second: 10,
        burst: 20,
    };

    fn at(ms: u64) -> Moment {
        Moment {
            boot: Duration::from_millis(1_000_000 + ms),
            wall: Duration::ZERO,
        }
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let budget = Budget::new(SETTINGS);
        assert!((0..20).all(|_| budget.spend(at(0)).is_ok()));
        let Err(Error::Limited { retry_in }) = budget.spend(at(0)) else {
            panic!("the 21st passed")
        };
        assert_eq!(retry_in, Duration::from_millis(100));
        assert!(budget.spend(at(100)).is_ok());
        assert!(budget.spend(at(150)).is_err());
        assert!((0..20).all(|_| budget.spend(at(60_000)).is_ok()));
    }

    #[test]
    fn identities_do_not_share_and_their_number_is_bounded() {
        let budgets = Budgets::new(SETTINGS);
        let facts = |uid| Facts {
            uid,
            ..Facts::default()
        };
        let first = budgets.of(&facts(1), at(0));
        assert!(Arc::ptr_eq(&first, &budgets.of(&facts(1), at(0))));
        assert!(!Arc::ptr_eq(&first, &budgets.of(&facts(2), at(0))));
        for uid in 0..10_500 {
            drop(budgets.of(&facts(uid), at(0)));
        }
        assert!(budgets.tracked.lock().unwrap().len() <= MOST_TRACKED);
    }
}
