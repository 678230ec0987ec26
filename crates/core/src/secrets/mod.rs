//! Live secrets in memory.
//!
//! Owns the versions of every secret that the configuration refers to: fetches them at the start, confirms them on a
//! schedule, replaces and zeroes them, and notifies watchers. A read never causes a fetch: it reads a slot in memory, so a peer
//! cannot put load on a backend. Peers read with a [`SecretPermit`]; the rest of the daemon follows a value by its [`Live`]
//! handle.
//!
//! One loop ([`Secrets::start`]) drives the schedule; each request to a backend is a task of its own that no waiting
//! caller can cancel. A value is served until its stale bound at the latest, and an authoritative "no" evicts it at once.
//! Next: `origin` (one secret), `settle` (what an answer does), `upstream` (one backend), `schedule` (the numbers).

mod assemble;
mod error;
mod live;
pub mod object;
mod origin;
mod pick;
mod refetch;
mod schedule;
mod settle;
mod status;
mod upstream;
mod watcher;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use claviger_backend::{BackendName, Kind, SecretRef, SecretSource};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::policy::SecretPermit;
use crate::secrets::assemble::assemble;
use crate::secrets::origin::{Field, Origin, Outcome};
use crate::secrets::upstream::Upstream;
use claviger_runtime::clock::{Clock, Deadline, Moment, sleep_until};
use claviger_runtime::flight::Flight;
use claviger_runtime::shutdown::Drain;

pub use error::{Error, reason};
pub use live::{Freshness, Live, Missing, Pace, Reading, Reread, Version};
pub use pick::pick_one;
pub use schedule::slowest_refresh;
pub use status::{State, Status};
pub use watcher::Watcher;

/// Requests to backends at once, in all.
const TURNS: usize = 16;

/// A secret that the configuration refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where it is.
    pub reference: SecretRef,
    /// How often it is confirmed. Of several intervals for the same version of a secret the shortest counts; at least 1 s.
    pub refresh: Duration,
    /// How long it is served without a confirmation; at most 24 h.
    pub max_stale: Duration,
    /// The name under which peers may request it, if they may.
    pub name: Option<Arc<str>>,
}

/// Whether a version older than the newest seen is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Older {
    /// It is refused and reported: versions do not go back by themselves.
    Refuse,
    /// It is accepted: an operator named this very secret.
    Accept,
}

/// What all flights share.
#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    drain: Drain,
    turns: Semaphore,
    /// Wakes the schedule when a flight ends.
    wake: Notify,
    /// Set when another configuration took over the schedule and the slots.
    retired: CancellationToken,
    /// Set when another configuration is the active one.
    ended: CancellationToken,
    /// How many origins have not been fetched once, successfully or not.
    unasked: watch::Sender<usize>,
}

impl Shared {
    fn is_stopping(&self) -> bool {
        self.drain.has_begun() || self.retired.is_cancelled()
    }

    /// Waits until nothing new may start.
    async fn stopping(&self) {
        tokio::select! {
            () = self.drain.begun() => {}
            () = self.retired.cancelled() => {}
        }
    }

    /// Waits until all watches must end.
    async fn over(&self) {
        tokio::select! {
            () = self.drain.begun() => {}
            () = self.ended.cancelled() => {}
        }
    }
}

/// Which field of which origin.
#[derive(Clone, Copy, Debug)]
struct Index {
    origin: usize,
    field: usize,
}

/// The live secrets of one configuration.
#[derive(Debug)]
pub struct Secrets {
    shared: Arc<Shared>,
    upstreams: Vec<Arc<Upstream>>,
    origins: Arc<[Arc<Origin>]>,
    by_reference: HashMap<Arc<SecretRef>, Index>,
    by_name: HashMap<Arc<str>, Index>,
}

impl Secrets {
    /// Begins to fetch `wanted` from `sources` and to keep it fresh, until the drain begins or the value is dropped.
    ///
    /// With `previous`, the cached values of unchanged references are carried over with their bounds, and their [`Live`]
    /// handles follow this configuration from now on. `previous` stops refreshing, so call this when no step of a reload can fail any
    /// more. It can still be read and watched, with the shared values as new as here, until it is [`end`](Self::end)ed.
    /// References to a backend that is not in `sources` are left out.
    pub fn start(
        sources: BTreeMap<BackendName, Arc<dyn SecretSource>>,
        wanted: Vec<Wanted>,
        clock: Arc<dyn Clock>,
        drain: Drain,
        previous: Option<&Self>,
    ) -> Arc<Self> {
        if let Some(previous) = previous {
            previous.shared.retired.cancel();
        }
        let shared = Arc::new(Shared {
            clock,
            drain,
            turns: Semaphore::new(TURNS),
            wake: Notify::new(),
            retired: CancellationToken::new(),
            ended: CancellationToken::new(),
            unasked: watch::Sender::new(0),
        });
        let secrets = Arc::new(assemble(sources, wanted, shared, previous));
        let (shared, origins) = (Arc::clone(&secrets.shared), Arc::clone(&secrets.origins));
        drop(tokio::spawn(run(shared, origins)));
        secrets
    }

    /// Ends its watches. Call it before other rules become active: the watches were permitted by the former ones.
    pub fn end(&self) {
        self.shared.ended.cancel();
    }

    /// A handle on one value, for the rest of the daemon. A reference that is not among the wanted ones reads as missing.
    pub fn live(&self, reference: &SecretRef) -> Live {
        let index = self.by_reference.get(reference);
        match index.and_then(|index| self.at(*index)) {
            Some((_, field)) => Live::new(
                Arc::clone(&field.reference),
                field.slot.subscribe(),
                Arc::clone(&field.link),
            ),
            None => Live::missing(
                reference.clone(),
                self.shared.clock.now().after(Duration::ZERO),
            ),
        }
    }

    /// The reference that an operator means by a name or by a reference.
    pub fn find(&self, text: &str) -> Option<Arc<SecretRef>> {
        let index = match self.by_name.get(text) {
            Some(index) => index,
            None => self.by_reference.get(&text.parse::<SecretRef>().ok()?)?,
        };
        self.at(*index)
            .map(|(_, field)| Arc::clone(&field.reference))
    }

    /// Waits at most `limit` until every reference has been fetched once, and returns whether it has. A failed fetch counts.
    pub async fn first_round(&self, limit: Duration) -> bool {
        let mut unasked = self.shared.unasked.subscribe();
        let all = unasked.wait_for(|left| *left == 0);
        tokio::time::timeout(limit, all)
            .await
            .is_ok_and(|all| all.is_ok())
    }

    /// Whether every value can be served now.
    pub fn is_ready(&self) -> bool {
        let now = self.shared.clock.now();
        let mut fields = self.origins.iter().flat_map(|origin| &origin.fields);
        fields.all(|field| field.slot.borrow().reading(now).is_ok())
    }

    /// The cached value that a peer may read. Never waits.
    ///
    /// # Errors
    /// [`Error::Unknown`] if the configuration has no such secret, [`Error::Missing`] if nothing may be served.
    pub fn read(&self, permit: &SecretPermit, now: Moment) -> Result<Reading, Error> {
        let (_, field) = self.permitted(permit)?;
        let reading = field.slot.borrow().reading(now);
        reading.map_err(Error::Missing)
    }

    /// Follows the value that a peer may read.
    ///
    /// # Errors
    /// [`Error::Unknown`] if the configuration has no such secret.
    pub fn watch(&self, permit: &SecretPermit) -> Result<Watcher, Error> {
        let (_, field) = self.permitted(permit)?;
        Ok(Watcher::new(
            Arc::clone(&self.shared),
            field.slot.subscribe(),
        ))
    }

    /// Fetches a secret now, even during a backoff, or joins the fetch that is under way, and returns whether its version
    /// changed. For operators: no request of a program leads here. The fetch continues if the caller stops waiting.
    ///
    /// # Errors
    /// [`Error::Unknown`] if the configuration does not refer to it; [`Error::Failed`]; [`Error::Stopping`].
    pub async fn refresh(&self, reference: &SecretRef, older: Older) -> Result<bool, Error> {
        let index = *self.by_reference.get(reference).ok_or(Error::Unknown)?;
        self.landed(index.field, self.ask(index, older)?).await
    }

    fn ask(&self, index: Index, older: Older) -> Result<Flight<Outcome>, Error> {
        if self.shared.is_stopping() {
            return Err(Error::Stopping);
        }
        let (origin, _) = self.at(index).ok_or(Error::Unknown)?;
        Ok(origin.ask(&self.shared, older == Older::Accept))
    }

    async fn landed(&self, field: usize, flight: Flight<Outcome>) -> Result<bool, Error> {
        let outcome = flight.outcome().await;
        if self.shared.is_stopping() {
            return Err(Error::Stopping);
        }
        let result = outcome.and_then(|fields| fields.get(field).copied());
        result
            .unwrap_or(Err(origin::Failure {
                kind: Kind::Unavailable,
                retry_in: Duration::from_secs(1),
            }))
            .map_err(|failure| Error::Failed {
                kind: failure.kind,
                retry_in: failure.retry_in,
            })
    }

    fn permitted(&self, permit: &SecretPermit) -> Result<(&Arc<Origin>, &Field), Error> {
        let index = self.by_name.get(permit.name()).ok_or(Error::Unknown)?;
        self.at(*index).ok_or(Error::Unknown)
    }

    fn at(&self, index: Index) -> Option<(&Arc<Origin>, &Field)> {
        let origin = self.origins.get(index.origin)?;
        Some((origin, origin.fields.get(index.field)?))
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        self.shared.retired.cancel();
        self.shared.ended.cancel();
    }
}

/// The schedule: one loop, no timer per secret.
async fn run(shared: Arc<Shared>, origins: Arc<[Arc<Origin>]>) {
    while !shared.is_stopping() {
        let now = shared.clock.now();
        let next: Option<Deadline> = origins
            .iter()
            .filter_map(|origin| origin.look(&shared, now))
            .reduce(Deadline::min);
        let sleep = async {
            match next {
                Some(next) => sleep_until(&*shared.clock, next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep => {}
            () = shared.wake.notified() => {}
            () = shared.stopping() => {}
        }
    }
}

#[cfg(test)]
mod tests;
