//! Following a secret.
//!
//! Owns [`Watcher`], which turns the slot of a value into a row of readings. It keeps no history: a slow follower sees the
//! newest version only. It ends when the configuration is replaced, because the permit it was made with is of the old one.

use std::sync::Arc;

use tokio::sync::watch;

use crate::secrets::live::Slot;
use crate::secrets::{Error, Freshness, Reading, Shared};

/// Follows the value that a peer may read.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    slot: watch::Receiver<Slot>,
    begun: bool,
}

impl Watcher {
    pub(super) fn new(shared: Arc<Shared>, slot: watch::Receiver<Slot>) -> Self {
        Self {
            shared,
            slot,
            begun: false,
        }
    }

    /// The cached value at first; then waits for each newer version, or for the eviction of the last. Safe to cancel.
    ///
    /// # Errors
    /// [`Error::Missing`] while nothing may be served (call again to wait on), [`Error::Stopping`] at the end.
    pub async fn next(&mut self) -> Result<Reading, Error> {
        let begun = self.begun;
        if begun {
            tokio::select! {
                biased;
                () = self.shared.over() => return Err(Error::Stopping),
                changed = self.slot.changed() => {
                    if changed.is_err() {
                        return Err(Error::Stopping);
                    }
                }
            }
        }
        self.begun = true;
        let now = self.shared.clock.now();
        let reading = self.slot.borrow_and_update().reading(now);
        let mut reading = reading.map_err(Error::Missing)?;
        if begun && reading.freshness == Freshness::Fresh {
            reading.freshness = Freshness::Refreshed;
        }
        Ok(reading)
    }
}
