//! Caps: how many connections and open requests there may be at once.
//!
//! Owns the bounds on both, in all and per uid, and the slots within them. A slot is released
//! when it is dropped, in any order and on any thread. Counting requests besides connections is what bounds memory: one
//! connection is cheap, but each of its requests may hold headers, half a message and an answer that the peer does not read.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use crate::metrics::Metrics;
use crate::settings::Limits;

/// How many connections operators may have.
pub(crate) const OPERATORS: usize = 64;

/// How many connections and open requests there are, and may be.
#[derive(Debug)]
pub(crate) struct Caps {
    limits: Limits,
    /// The daemon's own uid, which the bounds over all uids do not apply to: the daemon checks its own health over the broker
    /// socket, and if other users could make that fail, the service manager would restart it.
    exempt: u32,
    connections: Mutex<Connections>,
    requests: AtomicUsize,
}

#[derive(Debug, Default)]
struct Connections {
    all: usize,
    by_uid: HashMap<u32, OfUid>,
}

#[derive(Debug, Default)]
struct OfUid {
    connections: usize,
    requests: Arc<AtomicUsize>,
}

/// A slot among the connections. Released when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    metrics: Arc<Metrics>,
    requests: Arc<Requests>,
}

/// The open requests of one connection, counted with those of its uid and with all.
#[derive(Debug)]
pub(crate) struct Requests {
    caps: Arc<Caps>,
    uid: u32,
    of_uid: Arc<AtomicUsize>,
}

/// An open request: from its head to the end of its answer. Over when dropped.
#[derive(Debug)]
pub(crate) struct OpenRequest(Arc<Requests>);

impl Caps {
    pub(crate) fn for_programs(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            exempt: rustix::process::geteuid().as_raw(),
            connections: Mutex::default(),
            requests: AtomicUsize::new(0),
        }
    }

    pub(crate) fn for_operators(limits: &Limits) -> Self {
        Self::for_programs(&Limits {
            connections: OPERATORS,
            connections_per_uid: OPERATORS,
            ..limits.clone()
        })
    }

    /// Takes a slot for a connection of `uid`, if there is one.
    pub(crate) fn take(self: &Arc<Self>, uid: u32, metrics: &Arc<Metrics>) -> Option<Slot> {
        let mut held = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let full = held.all >= self.limits.connections && uid != self.exempt;
        let of_uid = held.by_uid.get(&uid).map_or(0, |of| of.connections);
        if full || of_uid >= self.limits.connections_per_uid {
            return None;
        }
        held.all = held.all.saturating_add(1);
        let of_uid = held.by_uid.entry(uid).or_default();
        of_uid.connections = of_uid.connections.saturating_add(1);
        metrics.count_opened();
        Some(Slot {
            metrics: Arc::clone(metrics),
            requests: Arc::new(Requests {
                caps: Arc::clone(self),
                uid,
                of_uid: Arc::clone(&of_uid.requests),
            }),
        })
    }
}

impl Slot {
    /// The open requests of this connection.
    pub(crate) fn requests(&self) -> Arc<Requests> {
        Arc::clone(&self.requests)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Requests { caps, uid, .. } = &*self.requests;
        let mut held = caps
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        held.all = held.all.saturating_sub(1);
        if let Some(of_uid) = held.by_uid.get_mut(uid) {
            of_uid.connections = of_uid.connections.saturating_sub(1);
            if of_uid.connections == 0 {
                held.by_uid.remove(uid);
            }
        }
        self.metrics.count_closed();
    }
}

impl Requests {
    /// Opens a request, if its uid and all together have not too many open.
    pub(crate) fn open(self: &Arc<Self>) -> Option<OpenRequest> {
        let caps = &*self.caps;
        let most = if self.uid == caps.exempt {
            usize::MAX
        } else {
            caps.limits.open_requests
        };
        if !one_more(&self.of_uid, caps.limits.open_requests_per_uid) {
            return None;
        }
        if !one_more(&caps.requests, most) {
            self.of_uid.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(OpenRequest(Arc::clone(self)))
    }
}

/// Counts one more, unless there are `most`.
fn one_more(count: &AtomicUsize, most: usize) -> bool {
    count
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
            (open < most).then(|| open.saturating_add(1))
        })
        .is_ok()
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let Requests { caps, of_uid, .. } = &*self.0;
        of_uid.fetch_sub(1, Ordering::Relaxed);
        caps.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer's body. Its request is open until it is written or given up.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    body: Body,
    _request: Option<OpenRequest>,
}

impl AnswerBody {
    /// The body of the answer to a request.
    pub(crate) fn of(request: OpenRequest, body: Body) -> Self {
        Self {
            body,
            _request: Some(request),
        }
    }

    /// The body of the answer to a request that was not opened.
    pub(crate) fn uncounted(body: Body) -> Self {
        Self {
            body,
            _request: None,
        }
    }
}

impl hyper::body::Body for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        connections: 3,
        connections_per_uid: 2,
        open_requests: 4,
        open_requests_per_uid: 3,
        ..Limits::DEFAULT
    };

    fn caps() -> Arc<Caps> {
        Arc::new(Caps {
            exempt: 7,
            ..Caps::for_programs(&LIMITS)
        })
    }

    #[test]
    fn connections_are_limited_in_all_and_per_uid_and_come_back() {
        let (caps, metrics) = (caps(), Arc::new(Metrics::default()));
        let first = caps.take(1, &metrics).unwrap();
        let _second = caps.take(1, &metrics).unwrap();
        assert!(caps.take(1, &metrics).is_none(), "two per uid");
        let _third = caps.take(2, &metrics).unwrap();
        assert!(caps.take(3, &metrics).is_none(), "three in all");
        assert!(
            caps.take(7, &metrics).is_some(),
            "but for the daemon itself"
        );
        drop(first);
        assert!(caps.take(3, &metrics).is_some());
        assert_eq!(metrics.open(), 2);
    }

    #[test]
    fn open_requests_are_limited_in_all_and_per_uid_and_end() {
        let (caps, metrics) = (caps(), Arc::new(Metrics::default()));
        let connect = |uid| caps.take(uid, &metrics).unwrap();
        let (first, second, other) = (connect(1), connect(1), connect(2));
        let mut open: Vec<_> = [&first, &first, &second]
            .into_iter()
            .map(|slot| slot.requests().open().unwrap())
            .collect();
        assert!(second.requests().open().is_none(), "three per uid");
        open.push(other.requests().open().unwrap());
        assert!(other.requests().open().is_none(), "four in all");
        let own = connect(7);
        assert!(own.requests().open().is_some(), "but for the daemon itself");
        open.clear();
        assert!(second.requests().open().is_some() && other.requests().open().is_some());
        assert_eq!(caps.requests.load(Ordering::Relaxed), 0);
    }
}
