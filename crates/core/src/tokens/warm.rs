//! Keeping used entries warm.
//!
//! Owns the loop that renews tokens ahead of their expiry while callers use them, lets unused ones lapse, and drops expired
//! ones. It starts requests and never waits for them. One loop for all entries, without a timer for each: it looks again when
//! the next entry is due, at most once a second.

use std::sync::Arc;
use std::time::Duration;

use crate::tokens::Shared;
use crate::tokens::entry::{At, Entry};
use crate::tokens::flight::Flight;
use crate::tokens::request::{self, Asker};
use crate::tokens::state::{Event, Plan, State};
use crate::tokens::supply::Supply;
use claviger_runtime::clock::{Deadline, sleep_until};

/// Between two looks, at least and at most. A changed credential is noticed by looking.
const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(30);

/// Runs until the drain begins or another configuration takes over.
pub(super) async fn run(shared: Arc<Shared>, supplies: Vec<Arc<Supply>>) {
    let work = async {
        loop {
            let now = shared.clock.now();
            let mut next = now.after(MOST);
            for supply in &supplies {
                let at = At {
                    now,
                    credential: supply.definition.source.credential().number,
                };
                for entry in supply.entries() {
                    if let Some(look_at) = tend(&shared, supply, &entry, at) {
                        next = next.min(look_at);
                    }
                }
            }
            tokio::time::sleep(LEAST).await;
            tokio::select! {
                () = sleep_until(&*shared.clock, next) => {}
                () = shared.wake.notified() => {}
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = shared.stopping() => {}
    }
}

/// Does what one entry needs, and returns when to look again. An entry whose request ends wakes the loop by itself.
fn tend(
    shared: &Arc<Shared>,
    supply: &Arc<Supply>,
    entry: &Arc<Entry>,
    At { now, credential }: At,
) -> Option<Deadline> {
    let mut core = entry.lock();
    entry.step(&mut core, Event::Look, now);
    if core.flight.as_ref().is_some_and(Flight::is_under_way) {
        return None;
    }
    let idle_at = entry.idle_at(now, supply.definition.idle);
    let idle = idle_at.passed(now) && !entry.is_watched();
    let Some(held) = entry.current.load_full() else {
        if idle {
            drop(core);
            supply.remove(&entry.ask);
            return None;
        }
        return Some(idle_at).filter(|_| !entry.is_watched());
    };
    let replaced = held.credential != credential;
    let wanted = held.refresh_at.passed(now) || replaced;
    let due = match core.state.plan(now, credential) {
        // A caller forced a renewal before it was due, and it failed: the loop does not repeat that.
        Plan::Renew => wanted,
        // The credential was replaced: a token proves that the new one works, while the old token is still good. Once: the
        // result may not have been worth caching.
        Plan::Serve => replaced && core.tried != Some(credential),
        Plan::ServeStale { .. } | Plan::Ask | Plan::Deny { .. } => false,
    };
    let ends = held.life.expires.earlier(held.life.floor);
    if due && idle {
        // It lapses: served to its end if a caller comes back, but not renewed.
        return Some(ends);
    }
    if due {
        // Only a drain refuses, and that ends this loop.
        drop(request::join(shared, supply, entry, &mut core, Asker::Use));
        return None;
    }
    Some(match core.state {
        State::Fresh { refresh_at, .. } => ends.min(refresh_at),
        State::Stale { retry, .. } if wanted => ends.min(retry.at),
        State::Stale { .. } => ends.min(held.refresh_at),
        State::Empty
        | State::Spent { .. }
        | State::Due { .. }
        | State::Failed { .. }
        | State::Refused { .. } => ends,
    })
}
