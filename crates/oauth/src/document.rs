//! Metadata documents of issuers and resources: how they are fetched, and how long they are cached.
//!
//! Owns [`Reader`], one GET with its retries, and [`Kept`], a cached document that was checked. A document is used for a day;
//! the first use after half a day starts a fetch in the background. While a fetch fails, the cached document stays in use,
//! unless the failure shows that it no longer holds. One fetch is under way at a time, and after a failure there is a pause
//! before the next one: otherwise every token with its own schedule would start one. No lock is held during a fetch:
//! waiters share the outcome of one task. [`Document`] decides what a document must say, and whether a changed one waits for
//! an operator, who adopts it by [`Kept::refresh`].

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use url::Url;

use crate::attempts::Attempts;
use crate::failed::Failed;
use crate::{ErrorKind, outcome};
use claviger_outbound::http::header::ACCEPT;
use claviger_outbound::http::{Answer, Request, Transport};
use claviger_runtime::clock::{Backoff, Clock, Jitter, Moment, Roll};
use claviger_runtime::flight::Flight;

/// A document older than this is fetched again before it is used; if that fails, it is used all the same.
const LIFETIME: Duration = Duration::from_hours(24);

/// The first use of a document older than this starts a fetch in the background.
const RENEWED: Duration = Duration::from_hours(12);

/// The pauses after failed fetches while there is no cached document. With one, the pause is the longest of them.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    most: Duration::from_mins(1),
    jitter: Jitter::NONE,
};

/// How long a caller waits for a fetch when there is an old document to fall back on.
const PATIENCE: Duration = Duration::from_secs(2);

/// The most retries of one fetch.
const RETRIES: u32 = 2;

/// Reads documents. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) clock: Arc<dyn Clock>,
    /// For everything that one renewal takes.
    pub(crate) timeout: Duration,
}

impl Reader {
    /// The document at `url`, of at most `max_body` bytes.
    pub(crate) async fn read(&self, url: &Url, max_body: usize) -> Result<Answer, Failed> {
        let mut attempts = Attempts::new(&*self.clock, RETRIES, self.timeout);
        loop {
            let limit = attempts.time_left().ok_or(ErrorKind::Timeout)?;
            let request = Request::get(url.clone(), max_body).with_text(ACCEPT, "application/json");
            let answer = self.transport.send(request, limit).await;
            let failed = match answer {
                Ok(answer) if answer.status == 200 && is_html(&answer) => {
                    return Err(ErrorKind::HtmlPage.into());
                }
                Ok(answer) if answer.status == 200 => return Ok(answer),
                Ok(answer) => self.refused(&answer),
                Err(lost) => lost.into(),
            };
            if !failed.again || !attempts.pause(failed.kind.retry_after()).await {
                return Err(failed);
            }
        }
    }

    fn refused(&self, answer: &Answer) -> Failed {
        let mut kind = outcome::status(answer, self.clock.now().wall);
        if kind == ErrorKind::InvalidClient {
            // No client is involved yet.
            kind = ErrorKind::Refused { status: 401 };
        }
        Failed {
            again: outcome::is_transient(answer.status),
            ..kind.into()
        }
    }
}

fn is_html(answer: &Answer) -> bool {
    answer.body.0.trim_ascii_start().starts_with(b"<")
}

/// A kind of document: how it is fetched and what it must say.
pub(crate) trait Document: Debug + Send + Sync + 'static {
    /// The part that is used, checked.
    type Checked: Debug + PartialEq + Send + Sync + 'static;

    /// Fetches and checks it.
    fn fetch(&self) -> impl Future<Output = Result<Self::Checked, Failed>> + Send;

    /// Decides about a document that differs from the one in use, and reports it.
    fn changed(&self, old: &Self::Checked, new: &Self::Checked) -> Change;

    /// Reports a failed fetch. Returns whether the cached document stays in use.
    fn failed(&self, failed: &Failed) -> bool;
}

/// What happens to a document that differs from the one in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is used from now on.
    Adopt,
    /// It waits for an operator.
    Hold,
}

/// The state of a document, for status and probes.
#[derive(Debug)]
pub(crate) struct Known<T> {
    /// The document in use.
    pub(crate) checked: Arc<T>,
    /// When it was read.
    pub(crate) read: Moment,
    /// Whether it is older than a day, or the last fetch failed.
    pub(crate) stale: bool,
    /// A newer document that waits for an operator.
    pub(crate) waiting: Option<Arc<T>>,
}

/// A cached document. Cheap to clone; all clones are the same.
#[derive(Debug)]
pub(crate) struct Kept<D: Document>(Arc<Inner<D>>);

#[derive(Debug)]
struct Inner<D: Document> {
    document: D,
    clock: Arc<dyn Clock>,
    timeout: Duration,
    state: Mutex<State<D::Checked>>,
}

type Outcome<T> = Result<Arc<T>, Failed>;

#[derive(Debug)]
struct State<T> {
    /// The document in use.
    current: Option<Reading<T>>,
    /// A newer one that waits for an operator. Only beside a current one.
    waiting: Option<Reading<T>>,
    /// The last failure, if no fetch has succeeded since.
    failed: Option<FailedFetch>,
    /// The fetch under way.
    flight: Option<Flight<Outcome<T>>>,
}

/// A document and when it was read.
#[derive(Debug)]
struct Reading<T> {
    checked: Arc<T>,
    read: Moment,
}

impl<T> Reading<T> {
    /// The age on whichever clock says more, so that neither a suspend nor a step hides it.
    fn age(&self, now: Moment) -> Duration {
        let by_wall = now.wall.saturating_sub(self.read.wall);
        now.since(self.read).max(by_wall)
    }
}

/// A failed fetch and the pause after it.
#[derive(Clone, Debug)]
struct FailedFetch {
    failed: Failed,
    since: Moment,
    /// Failures in a row.
    count: u32,
    pause: Duration,
}

impl FailedFetch {
    /// A failure after `count` others in a row, with a cached document or without one.
    fn new(failed: Failed, since: Moment, count: u32, cached: bool) -> Self {
        let count = count.saturating_add(1);
        let pause = if cached {
            BACKOFF.most
        } else {
            BACKOFF.pause(count, Roll::LEAST)
        };
        Self {
            pause: pause.max(failed.kind.retry_after().unwrap_or_default()),
            failed,
            since,
            count,
        }
    }

    fn is_over(&self, now: Moment) -> bool {
        now.since(self.since) >= self.pause
    }

    /// The failure for a caller during the pause: with the time that is left of it.
    fn again(&self, now: Moment) -> Failed {
        let left = self.pause.saturating_sub(now.since(self.since));
        let mut failed = self.failed.clone();
        if let ErrorKind::RateLimited { retry_after } | ErrorKind::Unavailable { retry_after, .. } =
            &mut failed.kind
        {
            *retry_after = Some(left);
        }
        failed
    }
}

impl<D: Document> Kept<D> {
    /// An empty cache of `document`, which fetches with `reader`.
    pub(crate) fn new(document: D, reader: &Reader) -> Self {
        Self(Arc::new(Inner {
            document,
            clock: Arc::clone(&reader.clock),
            timeout: reader.timeout,
            state: Mutex::new(State {
                current: None,
                waiting: None,
                failed: None,
                flight: None,
            }),
        }))
    }

    /// The document to use. Fetches it if it is missing or too old, and waits at most `limit` for that.
    ///
    /// # Errors
    /// Why there is no document, cached or fetched.
    pub(crate) async fn current(&self, limit: Duration) -> Outcome<D::Checked> {
        let now = self.0.clock.now();
        let (flight, limit) = {
            let mut state = self.0.state();
            let pausing = state.failed.as_ref().filter(|failed| !failed.is_over(now));
            match (state.in_use(), pausing) {
                (Some(current), Some(_)) => return Ok(current),
                (Some(current), None) => {
                    let age = state.age(now);
                    if age < RENEWED {
                        return Ok(current);
                    }
                    let flight = self.join(&mut state);
                    if age < LIFETIME {
                        return Ok(current);
                    }
                    (flight, limit.min(PATIENCE))
                }
                (None, Some(failed)) => return Err(failed.again(now)),
                (None, None) => (self.join(&mut state), limit),
            }
        };
        let fetched = outcome_of(flight, limit).await;
        fetched.or_else(|failed| self.0.state().in_use().ok_or(failed))
    }

    /// The document and its state; `None` if it was never read. Never fetches.
    pub(crate) fn known(&self) -> Option<Known<D::Checked>> {
        let now = self.0.clock.now();
        let state = self.0.state();
        let current = state.current.as_ref()?;
        Some(Known {
            checked: Arc::clone(&current.checked),
            read: current.read,
            stale: state.age(now) >= LIFETIME || state.failed.is_some(),
            waiting: state
                .waiting
                .as_ref()
                .map(|waiting| Arc::clone(&waiting.checked)),
        })
    }

    /// Fetches the document now, however young the cached one is, and adopts it even if it would wait for an operator: the
    /// caller is one. Waits at most `limit`. Returns whether another document is in use than before.
    ///
    /// # Errors
    /// Why the fetch failed.
    pub(crate) async fn refresh(&self, limit: Duration) -> Result<bool, Failed> {
        let (before, flight) = {
            let mut state = self.0.state();
            (state.in_use(), self.join(&mut state))
        };
        drop(outcome_of(flight, limit).await?);
        let mut state = self.0.state();
        if let Some(waiting) = state.waiting.take() {
            state.current = Some(waiting);
        }
        Ok(before != state.in_use())
    }

    /// Joins the fetch under way, or starts one.
    fn join(&self, state: &mut State<D::Checked>) -> Flight<Outcome<D::Checked>> {
        if let Some(flight) = &state.flight
            && flight.is_under_way()
        {
            return flight.clone();
        }
        let (landing, flight) = Flight::begin();
        state.flight = Some(flight.clone());
        let inner = Arc::clone(&self.0);
        // A task of its own, so that no caller's cancellation ends it.
        drop(tokio::spawn(async move {
            landing.land(inner.renew().await);
        }));
        flight
    }
}

/// The outcome of a fetch within `limit`.
async fn outcome_of<T>(flight: Flight<Outcome<T>>, limit: Duration) -> Outcome<T> {
    match tokio::time::timeout(limit, flight.outcome()).await {
        Ok(outcome) => outcome.unwrap_or_else(|| Err(ErrorKind::Metadata.into())),
        Err(_elapsed) => Err(ErrorKind::Timeout.into()),
    }
}

impl<T> State<T> {
    fn in_use(&self) -> Option<Arc<T>> {
        self.current
            .as_ref()
            .map(|current| Arc::clone(&current.checked))
    }

    /// The time since the document was last read, whether it is in use or waits. Nothing if it was never read.
    fn age(&self, now: Moment) -> Duration {
        self.waiting
            .as_ref()
            .or(self.current.as_ref())
            .map_or(Duration::ZERO, |last| last.age(now))
    }
}

impl<D: Document> Inner<D> {
    fn state(&self) -> MutexGuard<'_, State<D::Checked>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches, and notes the outcome.
    async fn renew(&self) -> Outcome<D::Checked> {
        let outcome = match tokio::time::timeout(self.timeout, self.document.fetch()).await {
            Ok(outcome) => outcome.map(Arc::new),
            Err(_elapsed) => Err(ErrorKind::Timeout.into()),
        };
        let now = self.clock.now();
        let mut state = self.state();
        state.flight = None;
        match outcome {
            Ok(checked) => {
                state.failed = None;
                Ok(self.note(&mut state, checked, now))
            }
            Err(failed) => {
                if !self.document.failed(&failed) {
                    state.current = None;
                    state.waiting = None;
                }
                let cached = state.current.is_some();
                let count = state.failed.as_ref().map_or(0, |before| before.count);
                state.failed = Some(FailedFetch::new(failed.clone(), now, count, cached));
                Err(failed)
            }
        }
    }

    /// Notes a document, and returns the one to use.
    fn note(
        &self,
        state: &mut State<D::Checked>,
        checked: Arc<D::Checked>,
        read: Moment,
    ) -> Arc<D::Checked> {
        if let Some(current) = &state.current
            && current.checked != checked
        {
            // A document that waits already was reported when it was first read.
            let waits = matches!(&state.waiting, Some(waiting) if waiting.checked == checked);
            if waits || self.document.changed(&current.checked, &checked) == Change::Hold {
                let current = Arc::clone(&current.checked);
                state.waiting = Some(Reading { checked, read });
                return current;
            }
        }
        state.current = Some(Reading {
            checked: Arc::clone(&checked),
            read,
        });
        state.waiting = None;
        checked
    }
}
