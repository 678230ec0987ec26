//! Fetching ahead of the schedule, for handles.
//!
//! Owns [`OriginRefetch`], by which a [`Live`](crate::secrets::Live) handle reaches the origin of the active configuration.
//! Keeps neither alive: a handle of a configuration that has ended fetches nothing. Next: `origin`, which limits the rate.

use std::sync::{Arc, Weak};

use async_trait::async_trait;

use crate::secrets::Shared;
use crate::secrets::live::{Pace, Refetch};
use crate::secrets::origin::Origin;

/// One origin of one configuration.
#[derive(Debug)]
pub(super) struct OriginRefetch {
    shared: Weak<Shared>,
    origin: Weak<Origin>,
}

impl OriginRefetch {
    pub(super) fn new(shared: &Arc<Shared>, origin: &Arc<Origin>) -> Self {
        Self {
            shared: Arc::downgrade(shared),
            origin: Arc::downgrade(origin),
        }
    }
}

#[async_trait]
impl Refetch for OriginRefetch {
    async fn refetch(&self, pace: Pace) -> bool {
        let flight = match (self.shared.upgrade(), self.origin.upgrade()) {
            (Some(shared), Some(origin)) => origin.reread(&shared, pace),
            (None, _) | (_, None) => None,
        };
        match flight {
            Some(flight) => flight.outcome().await.is_some(),
            None => false,
        }
    }
}
