//! The budget of each peer.
//!
//! Owns one [`Budget`] per identity (uid and unit or container): a budget for refusals and for requests that reach upstream, while
//! answers from the cache are free, and the trail of what was recorded. The number of identities that are tracked is bounded:
//! whole budgets are forgotten first, because forgetting them changes nothing but that a release is recorded twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::audit::Trail;
use crate::peer::{Facts, Principal};
use claviger_runtime::clock::{Moment, Pace};

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

impl Default for BudgetSettings {
    fn default() -> Self {
        Self {
            per_second: 10,
            burst: 20,
        }
    }
}

/// What one identity may spend.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Refusals, and requests that reach upstream.
    pub(crate) requests: Pace,
    /// What is recorded of the identity.
    pub(crate) trail: Arc<Trail>,
}

impl Budget {
    fn new(settings: BudgetSettings) -> Self {
        Self {
            requests: pace(settings),
            trail: Arc::default(),
        }
    }

    fn is_whole(&self, now: Moment) -> bool {
        self.requests.is_whole(now) && self.trail.is_whole(now)
    }
}

fn pace(settings: BudgetSettings) -> Pace {
    let interval = Duration::from_secs(1) / settings.per_second.max(1);
    let ahead = settings.burst.max(1).saturating_sub(1);
    Pace::new(interval, interval.saturating_mul(ahead))
}

/// All budgets.
#[derive(Debug)]
pub(crate) struct Budgets {
    settings: BudgetSettings,
    tracked: Mutex<HashMap<Principal, Arc<Budget>>>,
}

impl Budgets {
    /// No budgets yet; each begins whole.
    pub(crate) fn new(settings: BudgetSettings) -> Self {
        Self {
            settings,
            tracked: Mutex::default(),
        }
    }

    /// The budget of a peer. Connections of one identity share it.
    pub(crate) fn of(&self, facts: &Facts, now: Moment) -> Arc<Budget> {
        let identity = facts.principal();
        let mut tracked = self.tracked.lock().unwrap_or_else(PoisonError::into_inner);
        if tracked.len() >= MOST_TRACKED && !tracked.contains_key(&identity) {
            tracked.retain(|_, budget| !budget.is_whole(now) || Arc::strong_count(budget) > 1);
            if tracked.len() >= MOST_TRACKED {
                // Ten thousand identities with spent budgets at once: a new one gets a budget that is not tracked.
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
    use crate::peer;

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
        let budget = pace(SETTINGS);
        assert!((0..20).all(|_| budget.take(at(0)).is_ok()));
        assert_eq!(budget.take(at(0)), Err(Duration::from_millis(100)));
        assert!(budget.take(at(100)).is_ok());
        assert!(budget.take(at(150)).is_err());
        assert!((0..20).all(|_| budget.take(at(60_000)).is_ok()));
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

    #[test]
    fn creating_cgroups_gives_no_further_budget() {
        let budgets = Budgets::new(SETTINGS);
        let of = |path: &str| {
            let facts = Facts {
                uid: 1000,
                cgroup: peer::cgroup_of(&format!("0::{path}")),
                ..Facts::default()
            };
            assert!(facts.cgroup.is_some(), "{path}");
            budgets.of(&facts, at(0))
        };
        let (id, other) = ("c0ffee00".repeat(8), "decade00".repeat(8));
        let session = "/user.slice/user-1000.slice/user@1000.service";
        for (one, another, same) in [
            (session.to_owned(), format!("{session}/app.slice/x"), true),
            (
                format!("{session}/{id}"),
                format!("{session}/{other}"),
                true,
            ),
            (
                "/system.slice/a.service".to_owned(),
                format!("/system.slice/a.service/{id}"),
                true,
            ),
            (
                "/system.slice/a.service".to_owned(),
                "/system.slice/b.service".to_owned(),
                false,
            ),
            (format!("/docker/{id}"), format!("/docker/{id}/x"), true),
            (format!("/docker/{id}"), format!("/docker/{other}"), false),
            (
                session.to_owned(),
                "/system.slice/a.service".to_owned(),
                false,
            ),
        ] {
            let shared = Arc::ptr_eq(&of(&one), &of(&another));
            assert_eq!(shared, same, "{one} and {another}");
        }
    }
}
