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

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use url::Url;

use crate::attempts::Attempts;
use crate::{ErrorKind, outcome};
use claviger_outbound::http::header::ACCEPT;
use claviger_outbound::http::{Answer, Request, Transport};
use claviger_runtime::clock::{Clock, Moment};

/// A document older than this is fetched again before it is used; if that fails, it is used all the same.
const LIFETIME: Duration = Duration::from_hours(24);

/// The first use of a document older than this starts a fetch in the background.
const RENEWED: Duration = Duration::from_hours(12);

/// The pause after a failed fetch while a cached document is in use.
const REST: Duration = Duration::from_mins(1);

/// Without a cached document the pause is this long after the first failure, and doubles with each further one up to [`REST`].
const FIRST_REST: Duration = Duration::from_secs(1);

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
    pub(crate) async fn read(&self, url: &Url, max_body: usize) -> Result<Answer, ErrorKind> {
        let mut attempts = Attempts::new(&*self.clock, RETRIES, self.timeout);
        loop {
            let limit = attempts.time_left().ok_or(ErrorKind::Timeout)?;
            let request = Request::get(url.clone(), max_body).with_text(ACCEPT, "application/json");
            let answer = self.transport.send(request, limit).await;
            let (kind, again) = match answer {
                Ok(answer) if answer.status == 200 => return Ok(answer),
                Ok(answer) => self.refused(&answer),
                Err(lost) => (outcome::lost(lost), outcome::may_resend(lost)),
            };
            if !again || !attempts.pause(kind.retry_after()).await {
                return Err(kind);
            }
        }
    }

    fn refused(&self, answer: &Answer) -> (ErrorKind, bool) {
        let mut kind = outcome::status(answer, self.clock.now().wall);
        if kind == ErrorKind::InvalidClient {
            // No client is involved yet.
            kind = ErrorKind::Refused { status: 401 };
        }
        (kind, outcome::is_transient(answer.status))
    }
}

/// What is asked for, and what it must say.
pub(crate) trait Document: Debug + Send + Sync + 'static {
    /// What is believed of it.
    type Checked: Debug + PartialEq + Send + Sync + 'static;

    /// Asks for it and checks it.
    fn ask(&self) -> impl Future<Output = Result<Self::Checked, ErrorKind>> + Send;

    /// Decides about one that says something else than the one in use, and reports it.
    fn changed(&self, old: &Self::Checked, new: &Self::Checked) -> Change;

    /// Reports that it could not be had. Returns whether what is held may serve on.
    fn failed(&self, kind: ErrorKind) -> bool;
}

/// What becomes of a document that says something else than the one in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is used from now on.
    Adopt,
    /// It waits for an operator.
    Hold,
}

/// What is known of a document.
#[derive(Debug)]
pub(crate) struct Known<T> {
    /// What is believed.
    pub(crate) checked: Arc<T>,
    /// When that was read.
    pub(crate) read: Moment,
    /// Whether it is older than it should be, or could not be read again the last time.
    pub(crate) stale: bool,
    /// What was read since, and waits for an operator.
    pub(crate) waiting: Option<Arc<T>>,
}

/// A document, kept. Cheap to clone; all clones are the same.
#[derive(Debug)]
pub(crate) struct Kept<D: Document>(Arc<Inner<D>>);

#[derive(Debug)]
struct Inner<D: Document> {
    document: D,
    clock: Arc<dyn Clock>,
    timeout: Duration,
    state: Mutex<State<D::Checked>>,
}

type Outcome<T> = Result<Arc<T>, ErrorKind>;
type Flight<T> = Shared<BoxFuture<'static, Outcome<T>>>;

#[derive(Debug)]
struct State<T> {
    /// What is believed, and when it was read.
    held: Option<(Arc<T>, Moment)>,
    /// What was read since and waits for an operator. Only beside what is held.
    waiting: Option<(Arc<T>, Moment)>,
    /// How asking failed the last time, if it has not succeeded since.
    failed: Option<Failed>,
    /// The one task that asks, if one does.
    flight: Option<Flight<T>>,
}

/// A failure, and the rest after it.
#[derive(Clone, Copy, Debug)]
struct Failed {
    kind: ErrorKind,
    since: Moment,
    rest: Duration,
}

impl Failed {
    /// A failure after `before`, while a document is held or not.
    fn new(kind: ErrorKind, since: Moment, before: Option<Self>, holding: bool) -> Self {
        let twice = before.map(|before| before.rest.saturating_mul(2));
        let rest = if holding { REST } else { FIRST_REST };
        let rest = twice.unwrap_or_default().max(rest).min(REST);
        let asked = kind.retry_after().unwrap_or_default();
        Self {
            kind,
            since,
            rest: rest.max(asked),
        }
    }

    fn is_over(self, now: Moment) -> bool {
        now.since(self.since) >= self.rest
    }

    /// The failure, told again to somebody who asks meanwhile.
    fn again(self, now: Moment) -> ErrorKind {
        let left = self.rest.saturating_sub(now.since(self.since));
        let mut kind = self.kind;
        if let ErrorKind::RateLimited { retry_after } | ErrorKind::Unavailable { retry_after, .. } =
            &mut kind
        {
            *retry_after = Some(left);
        }
        kind
    }
}

impl<D: Document> Kept<D> {
    /// Knows nothing yet. Whoever asks for `document` does so with `reader`.
    pub(crate) fn new(document: D, reader: &Reader) -> Self {
        Self(Arc::new(Inner {
            document,
            clock: Arc::clone(&reader.clock),
            timeout: reader.timeout,
            state: Mutex::new(State {
                held: None,
                waiting: None,
                failed: None,
                flight: None,
            }),
        }))
    }

    /// What to believe now; asks if need be, and waits at most `limit` for that.
    pub(crate) async fn current(&self, limit: Duration) -> Outcome<D::Checked> {
        let now = self.0.clock.now();
        let (flight, limit) = {
            let mut state = self.0.state();
            let resting = state.failed.filter(|failed| !failed.is_over(now));
            match (state.held.clone(), resting) {
                (Some((held, _)), Some(_)) => return Ok(held),
                (Some((held, read)), None) => {
                    let age = age(state.looked().unwrap_or(read), now);
                    if age < RENEWED {
                        return Ok(held);
                    }
                    let flight = self.flight(&mut state);
                    if age < LIFETIME {
                        return Ok(held);
                    }
                    (flight, limit.min(PATIENCE))
                }
                (None, Some(failed)) => return Err(failed.again(now)),
                (None, None) => (self.flight(&mut state), limit),
            }
        };
        let outcome = match tokio::time::timeout(limit, flight).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(ErrorKind::Timeout),
        };
        outcome.or_else(|kind| {
            let old = self.0.state().held.clone();
            old.map(|(held, _)| held).ok_or(kind)
        })
    }

    /// What is known; `None` if nothing could be read. Asks nobody.
    pub(crate) fn known(&self) -> Option<Known<D::Checked>> {
        let now = self.0.clock.now();
        let state = self.0.state();
        let (checked, read) = state.held.clone()?;
        let old = age(state.looked().unwrap_or(read), now) >= LIFETIME;
        Some(Known {
            checked,
            read,
            stale: old || state.failed.is_some(),
            waiting: state
                .waiting
                .as_ref()
                .map(|(waiting, _)| Arc::clone(waiting)),
        })
    }

    /// Asks now, however young the document is, and believes what it says, whatever waits; for an operator. Waits at most
    /// `limit`. Returns whether something else is believed than before.
    pub(crate) async fn refresh(&self, limit: Duration) -> Result<bool, ErrorKind> {
        let (before, flight) = {
            let mut state = self.0.state();
            let before = state.held.clone();
            (before, self.flight(&mut state))
        };
        match tokio::time::timeout(limit, flight).await {
            Ok(outcome) => drop(outcome?),
            Err(_elapsed) => return Err(ErrorKind::Timeout),
        }
        let mut state = self.0.state();
        if let Some(waiting) = state.waiting.take() {
            state.held = Some(waiting);
        }
        let believed = |held: &Option<(Arc<D::Checked>, Moment)>| {
            held.as_ref().map(|(checked, _)| Arc::clone(checked))
        };
        Ok(believed(&before) != believed(&state.held))
    }

    /// The task that asks, started if there is none.
    fn flight(&self, state: &mut State<D::Checked>) -> Flight<D::Checked> {
        // One that ended without noting it was cut off with its runtime.
        if state
            .flight
            .as_ref()
            .is_some_and(|one| one.peek().is_some())
        {
            state.flight = None;
        }
        state
            .flight
            .get_or_insert_with(|| {
                let inner = Arc::clone(&self.0);
                // A task of its own: no waiter's cancellation ends it.
                let task = tokio::spawn(async move { inner.renew().await });
                async move { task.await.unwrap_or(Err(ErrorKind::Metadata)) }
                    .boxed()
                    .shared()
            })
            .clone()
    }
}

impl<T> State<T> {
    /// When the document was last read, whatever became of it.
    fn looked(&self) -> Option<Moment> {
        let last = self.waiting.as_ref().or(self.held.as_ref());
        last.map(|(_, read)| *read)
    }
}

impl<D: Document> Inner<D> {
    fn state(&self) -> MutexGuard<'_, State<D::Checked>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, and notes the outcome.
    async fn renew(&self) -> Outcome<D::Checked> {
        let outcome = match tokio::time::timeout(self.timeout, self.document.ask()).await {
            Ok(outcome) => outcome.map(Arc::new),
            Err(_elapsed) => Err(ErrorKind::Timeout),
        };
        let now = self.clock.now();
        let mut state = self.state();
        state.flight = None;
        match outcome {
            Ok(checked) => {
                state.failed = None;
                Ok(self.note(&mut state, checked, now))
            }
            Err(kind) => {
                if !self.document.failed(kind) {
                    state.held = None;
                    state.waiting = None;
                }
                state.failed = Some(Failed::new(kind, now, state.failed, state.held.is_some()));
                Err(kind)
            }
        }
    }

    /// Notes what was read, and returns what is to be believed.
    fn note(
        &self,
        state: &mut State<D::Checked>,
        checked: Arc<D::Checked>,
        now: Moment,
    ) -> Arc<D::Checked> {
        if let Some((old, _)) = &state.held
            && *old != checked
        {
            // What waits already was reported when it was read first.
            let waits = matches!(&state.waiting, Some((waiting, _)) if *waiting == checked);
            if waits || self.document.changed(old, &checked) == Change::Hold {
                let old = Arc::clone(old);
                state.waiting = Some((checked, now));
                return old;
            }
        }
        state.held = Some((Arc::clone(&checked), now));
        state.waiting = None;
        checked
    }
}

/// The age on whichever clock says more, so that neither a suspend nor a step hides it.
fn age(since: Moment, now: Moment) -> Duration {
    let by_wall = now.wall.saturating_sub(since.wall);
    now.since(since).max(by_wall)
}
