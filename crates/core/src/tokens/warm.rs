//! Keeping used entries warm.
//!
//! Owns the loop that renews tokens ahead of their expiry while somebody uses them, lets unused ones lapse, and wipes what
//! has expired. It starts flights and never waits for them. One loop for all entries, without a timer for each: it looks
//! again when the next entry is due, at most once a second.

use std::sync::Arc;
use std::time::Duration;

use crate::tokens::Shared;
use crate::tokens::entry::Entry;
use crate::tokens::flight::{self, Asker, Flight};
use crate::tokens::state::{Event, Plan, State};
use crate::tokens::supply::Supply;
use claviger_runtime::clock::{Deadline, Moment, sleep_until};

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
                let credential = supply.definition.source.credential();
                for entry in supply.entries() {
                    if let Some(at) = tend(&shared, supply, &entry, (now, credential)) {
                        next = next.min(at);
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

/// Does what one entry needs, and says when to look again. An entry whose flight lands wakes the loop by itself.
fn tend(
    shared: &Arc<Shared>,
    supply: &Arc<Supply>,
    entry: &Arc<Entry>,
    (now, credential): (Moment, u64),
) -> Option<Deadline> {
    let mut core = entry.lock();
    entry.step(&mut core, Event::Look, now);
    if core.flight.as_ref().is_some_and(Flight::is_under_way) {
        return None;
    }
    let idle_at = entry.idle_at(now, supply.definition.idle);
    let idle = idle_at.passed(now) && !entry.is_watched();
    let held = entry.current.load_full();
    let Some(held) = held else {
        if idle {
            drop(core);
            supply.forget(&entry.scopes);
            return None;
        }
        return Some(idle_at).filter(|_| !entry.is_watched());
    };
    let replaced = held.credential != credential;
    let wanted = held.refresh_at.passed(now) || replaced;
    let due = match core.state.plan(now, credential) {
        // Somebody wished for a newer one too early and got none: that is not for us to repeat.
        Plan::Renew => wanted,
        // The credential was replaced: a token proves that the new one works, while the old token is still good. Once: what
        // came of it may not have been worth keeping.
        Plan::Serve => replaced && core.tried != Some(credential),
        Plan::ServeStale { .. } | Plan::Ask | Plan::Deny { .. } => false,
    };
    let ends = held.life.expires.earlier(held.life.floor);
    if due && idle {
        // It lapses: good to its end, should somebody come back, but without a successor.
        return Some(ends);
    }
    if due {
        // Only a drain refuses, and that ends this loop.
        drop(flight::join(shared, supply, entry, &mut core, Asker::Use));
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
