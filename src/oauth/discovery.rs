//! Where an issuer's endpoints are, by its own word.
//!
//! Owns the metadata of one issuer: asked for at both well-known places, believed only if it names exactly the configured
//! issuer and acceptable endpoints, kept for a day. Half a day old it is renewed behind the scenes by whoever uses it; an
//! issuer that cannot be asked keeps its old endpoints. However many ask, one request is under way. No lock is held while
//! it is: waiters share the outcome of one task.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use url::Url;

use crate::clock::{Clock, Moment};
use crate::oauth::ErrorKind;
use crate::oauth::attempts::Attempts;
use crate::oauth::endpoint::EndpointRules;
use crate::oauth::http::{Answer, Transport};
use crate::oauth::outcome::{self, EVENTS};
use crate::oauth::wire::metadata::{self, Metadata};

/// Metadata older than this is not used before the issuer was asked again.
const LIFETIME: Duration = Duration::from_hours(24);

/// Metadata older than this is renewed when it is used.
const RENEWED: Duration = Duration::from_hours(12);

/// After a failure, the issuer is not asked again for this long while old metadata serves.
const REST: Duration = Duration::from_mins(1);

/// How often one document is asked for again.
const RETRIES: u32 = 2;

/// What an issuer says about itself, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Discovered {
    /// Where tokens are.
    pub(crate) token: Url,
    /// Where tokens are revoked.
    pub(crate) revocation: Option<Url>,
    /// How clients may prove themselves, if it says.
    pub(crate) auth_methods: Option<Vec<String>>,
}

/// The metadata of one issuer. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Discovery(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: Arc<str>,
    /// The issuer exactly as configured.
    issuer: String,
    rules: EndpointRules,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    timeout: Duration,
    state: Mutex<State>,
}

type Outcome = Result<Arc<Discovered>, ErrorKind>;

#[derive(Debug, Default)]
struct State {
    held: Option<(Arc<Discovered>, Moment)>,
    /// When asking failed the last time, if it has not succeeded since.
    failed: Option<Moment>,
    /// The one task that asks, if one does.
    flight: Option<Shared<BoxFuture<'static, Outcome>>>,
}

impl Discovery {
    /// Knows nothing yet. `timeout` is for everything that one renewal takes.
    pub(crate) fn new(
        (name, issuer): (Arc<str>, String),
        rules: EndpointRules,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
        timeout: Duration,
    ) -> Self {
        Self(Arc::new(Inner {
            name,
            issuer,
            rules,
            transport,
            clock,
            timeout,
            state: Mutex::default(),
        }))
    }

    /// The metadata to use now; asks the issuer if need be, and waits at most `limit` for that.
    pub(crate) async fn discovered(&self, limit: Duration) -> Outcome {
        let now = self.0.clock.now();
        let (held, flight) = {
            let mut state = self.0.state();
            let resting = state.failed.is_some_and(|failed| now.since(failed) < REST);
            match state.held.clone() {
                Some((held, _)) if resting => return Ok(held),
                Some((held, since)) => {
                    let age = age(since, now);
                    if age < RENEWED {
                        return Ok(held);
                    }
                    let flight = self.flight(&mut state);
                    if age < LIFETIME {
                        return Ok(held);
                    }
                    (Some(held), flight)
                }
                None => (None, self.flight(&mut state)),
            }
        };
        let outcome = match tokio::time::timeout(limit, flight).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(ErrorKind::Timeout),
        };
        match (outcome, held) {
            (Ok(discovered), _) => Ok(discovered),
            (Err(_kind), Some(stale)) => Ok(stale),
            (Err(kind), None) => Err(kind),
        }
    }

    /// When the metadata in use was read; `None` if there is none.
    pub(crate) fn since(&self) -> Option<Moment> {
        self.0.state().held.as_ref().map(|(_, since)| *since)
    }

    /// The task that asks, started if there is none.
    fn flight(&self, state: &mut State) -> Shared<BoxFuture<'static, Outcome>> {
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

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, and notes the outcome.
    async fn renew(&self) -> Outcome {
        let limit = self.timeout;
        let outcome = match tokio::time::timeout(limit, self.ask()).await {
            Ok(outcome) => outcome.map(Arc::new),
            Err(_elapsed) => Err(ErrorKind::Timeout),
        };
        let now = self.clock.now();
        let mut state = self.state();
        state.flight = None;
        match &outcome {
            Ok(discovered) => {
                if let Some((old, _)) = &state.held
                    && old != discovered
                {
                    tracing::warn!(
                        target: EVENTS,
                        event_type = "issuer_metadata_changed",
                        issuer = %self.name,
                        token_endpoint = old.token != discovered.token,
                        revocation_endpoint = old.revocation != discovered.revocation,
                        auth_methods = old.auth_methods != discovered.auth_methods,
                        "the issuer's metadata has changed"
                    );
                }
                state.held = Some((Arc::clone(discovered), now));
                state.failed = None;
            }
            Err(kind) => {
                state.failed = Some(now);
                tracing::warn!(issuer = %self.name, reason = kind.as_str(), "no metadata");
            }
        }
        outcome
    }

    /// Asks at both places in turn. A document that names another issuer ends it: somebody answers here who should not.
    async fn ask(&self) -> Result<Discovered, ErrorKind> {
        let [first, second] = metadata::well_known(&self.issuer);
        let kind = match self.ask_at(&first).await {
            Ok(metadata) => return self.check(&metadata),
            Err(kind) if is_about_the_host(kind) => return Err(kind),
            Err(kind) => kind,
        };
        let second = match self.ask_at(&second).await {
            Ok(metadata) => return self.check(&metadata),
            Err(kind) => kind,
        };
        // Of two failures the one that may heal says more. That both documents are missing is a matter of configuration.
        Err(match (kind, second) {
            (ErrorKind::Refused { .. }, ErrorKind::Refused { .. }) => ErrorKind::Metadata,
            (first, ErrorKind::Refused { .. }) => first,
            (_, second) => second,
        })
    }

    async fn ask_at(&self, url: &str) -> Result<Metadata, ErrorKind> {
        let url = self
            .rules
            .configured(url)
            .map_err(|_flaw| ErrorKind::Metadata)?;
        let mut attempts = Attempts::new(&*self.clock, RETRIES, self.timeout);
        loop {
            let limit = attempts.time_left().ok_or(ErrorKind::Timeout)?;
            let answer = self.transport.get(&url, metadata::MAX_BODY, limit).await;
            let (kind, again) = match answer {
                Ok(answer) if answer.status == 200 => return self.read(&answer),
                Ok(answer) => self.refused(&answer),
                Err(lost) => (outcome::lost(lost), outcome::may_resend(lost)),
            };
            if !again || !attempts.pause(kind.retry_after()).await {
                return Err(kind);
            }
        }
    }

    fn read(&self, answer: &Answer) -> Result<Metadata, ErrorKind> {
        metadata::parse(&answer.body.0).map_err(|flaw| {
            tracing::debug!(issuer = %self.name, bytes = answer.body.0.len(), %flaw, "metadata");
            ErrorKind::Metadata
        })
    }

    fn refused(&self, answer: &Answer) -> (ErrorKind, bool) {
        let mut kind = outcome::status(answer, self.clock.now().wall);
        if kind == ErrorKind::InvalidClient {
            // No client is involved yet.
            kind = ErrorKind::Refused { status: 401 };
        }
        (kind, outcome::is_transient(answer.status))
    }

    fn check(&self, metadata: &Metadata) -> Result<Discovered, ErrorKind> {
        if !metadata::same_issuer(&self.issuer, &metadata.issuer) {
            tracing::warn!(issuer = %self.name, "the metadata names another issuer");
            return Err(ErrorKind::Metadata);
        }
        let acceptable = |what: &'static str, text: &str| {
            self.rules.discovered(text).map_err(|flaw| {
                tracing::warn!(issuer = %self.name, endpoint = what, %flaw, "endpoint refused");
                ErrorKind::Metadata
            })
        };
        let token = metadata.token_endpoint.as_deref();
        let revocation = metadata.revocation_endpoint.as_deref();
        Ok(Discovered {
            token: acceptable("token", token.ok_or(ErrorKind::Metadata)?)?,
            revocation: revocation
                .map(|text| acceptable("revocation", text))
                .transpose()?,
            auth_methods: metadata.token_endpoint_auth_methods_supported.clone(),
        })
    }
}

/// The age on whichever clock says more, so that neither a suspend nor a step hides it.
fn age(since: Moment, now: Moment) -> Duration {
    let by_wall = now.wall.saturating_sub(since.wall);
    now.since(since).max(by_wall)
}

/// Failures that another path on the same host would meet as well.
fn is_about_the_host(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Timeout
            | ErrorKind::Unreachable
            | ErrorKind::AddressRefused
            | ErrorKind::Untrusted
            | ErrorKind::PinMismatch
            | ErrorKind::RateLimited { .. }
    )
}
