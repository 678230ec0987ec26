//! Following a token.
//!
//! Owns [`Watch`], which turns an entry into a sequence of tokens, each newer than the one before. A watched entry counts as
//! used, so the loop in `warm` renews it, at the token's own schedule and however many watch it: a watch is charged for its
//! start alone. A slow reader sees the newest token only. A watch ends when the configuration is replaced, because its permit
//! belongs to the old one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;

use crate::policy::TokenPermit;
use crate::secrets::Freshness;
use crate::tokens::entry::Entry;
use crate::tokens::room::UNCHARGED;
use crate::tokens::{Answer, Budget, Error, Tokens, Want};
use claviger_runtime::clock::{Deadline, sleep_until};
use claviger_runtime::reason::Reasoned as _;

/// A watch waits for the issuer as long as the issuer takes.
const PATIENCE: Duration = Duration::from_mins(2);
/// Between two attempts when there is nothing to serve, at least.
const PAUSE_LEAST: Duration = Duration::from_secs(1);
/// After an already expired token: there is always a newer one, and no reader wants each of them.
const PAUSE_SPENT: Duration = Duration::from_mins(1);

/// Follows the token of a permit.
#[derive(Debug)]
pub struct Watch {
    tokens: Arc<Tokens>,
    permit: TokenPermit,
    entry: Arc<Entry>,
    changed: watch::Receiver<u64>,
    /// The generation that was answered last.
    seen: Option<u64>,
    /// When to look even without a notification: the answered token ends, or a failure is over. `None` before the first look.
    look_at: Option<Deadline>,
}

impl Tokens {
    /// Follows the token of a permit. If the issuer has to be asked for the first one, that begins now and is charged to
    /// `budget`, as in [`Tokens::get`].
    ///
    /// # Errors
    /// [`Error::Unknown`] or [`Error::Scopes`], as [`Tokens::get`]; [`Error::OverBudget`].
    pub fn watch(
        self: &Arc<Self>,
        permit: &TokenPermit,
        budget: Budget<'_>,
    ) -> Result<Watch, Error> {
        let now = self.shared.clock.now();
        let place = self.place(permit.reach(), budget, now)?;
        let entry = Arc::clone(&place.entry);
        entry.touch(now);
        let begun = self.begin(place.supply, &entry, &Want::default(), place.budget(budget));
        if let Err(error @ Error::OverBudget { .. }) = begun {
            return Err(error);
        }
        // Any other failure is reported by the watch.
        entry.watches.fetch_add(1, Ordering::Relaxed);
        Ok(Watch {
            changed: entry.changed.subscribe(),
            tokens: Arc::clone(self),
            permit: permit.clone(),
            entry,
            seen: None,
            look_at: None,
        })
    }
}

impl Watch {
    /// The current token, at first; then waits for each newer one. Safe to cancel.
    ///
    /// # Errors
    /// Why there is no token to serve (call again to wait on; it paces itself), [`Error::Stopping`] at the end.
    pub async fn next(&mut self) -> Result<Answer, Error> {
        let shared = Arc::clone(&self.tokens.shared);
        tokio::select! {
            biased;
            () = shared.stopping() => Err(Error::Stopping),
            answer = self.newer() => answer,
        }
    }

    async fn newer(&mut self) -> Result<Answer, Error> {
        let clock = Arc::clone(&self.tokens.shared.clock);
        loop {
            if let Some(look_at) = self.look_at {
                tokio::select! {
                    // The sender lives in the entry that this watch holds.
                    _changed = self.changed.changed() => {}
                    () = sleep_until(&*clock, look_at) => {}
                }
            }
            let want = Want {
                deadline: PATIENCE,
                ..Want::default()
            };
            let result = self.tokens.get(&self.permit, &want, &UNCHARGED).await;
            let now = clock.now();
            match result {
                Ok(mut answer) => {
                    let token = Arc::clone(&answer.token);
                    let ends = token.life.expires.earlier(token.life.floor);
                    self.look_at = Some(if ends.passed(now) {
                        now.after(PAUSE_SPENT)
                    } else {
                        ends
                    });
                    let first = self.seen.is_none();
                    if self.seen.replace(token.generation) != Some(token.generation) {
                        if !first && answer.freshness == Freshness::Fresh {
                            answer.freshness = Freshness::Refreshed;
                        }
                        return Ok(answer);
                    }
                }
                Err(error) => {
                    let pause = error.retry_in().unwrap_or(PATIENCE).max(PAUSE_LEAST);
                    self.look_at = Some(now.after(pause));
                    return Err(error);
                }
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.entry.watches.fetch_sub(1, Ordering::Relaxed);
    }
}
