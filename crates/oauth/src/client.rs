//! One client that obtains one kind of token from its issuer.
//!
//! Owns the token request from what is asked for to the answer: the breaker and the limit, the attempts, and which version of
//! the credential each of them uses. A refused credential is read from its backend again; if it has changed, the new one is
//! tried, else the one before it. Caches no token; `tokens` does, and decides when to ask. Dropping a future gives up the
//! request and nothing else. Next: `grant`, `proof`, `judge`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;

use crate::attempts::Attempts;
use crate::credential::{Credential, Generation};
use crate::failed::Failed;
use crate::issuer::Issuer;
use crate::limiter::Limiter;
use crate::request::FormRequest;
use crate::resource::Resource;
use crate::said::said;
use crate::{Error, ErrorKind, Issued, TokenSettings, Verdict, grant, outcome};
use claviger_core::secrets::Pace;
use claviger_core::tokens::source::{Ask, CredentialState, Urgency};
use claviger_oauth_wire::Scopes;
use claviger_runtime::clock::{Deadline, Moment};
use claviger_runtime::telemetry::{EVENTS, Event};

/// The most retries of one request.
const RETRIES: u32 = 2;

/// The pause after a 429 without `Retry-After`.
const LIMITED: Duration = Duration::from_secs(1);

/// An issuer may take this long to learn of a changed credential. Until then a refusal may heal.
const SETTLING: Duration = Duration::from_mins(1);

/// The pause between two reads of a refused credential that callers cause.
const REREAD: Duration = Duration::from_secs(10);

/// Obtains one kind of token.
#[derive(Debug)]
pub struct TokenClient {
    pub(super) issuer: Arc<Issuer>,
    pub(super) credential: Arc<Credential>,
    pub(super) token: TokenSettings,
    limiter: Arc<Limiter>,
    /// The resources that must name the issuer before a token for them is asked for.
    verified: Vec<Arc<Resource>>,
    seen: Mutex<Seen>,
    /// Whether it was logged that the issuer does not advertise the method.
    logged_method: AtomicBool,
    /// Whether it was logged that a resource does not advertise a scope.
    logged_scopes: AtomicBool,
}

/// What was last seen of the credential.
#[derive(Debug, Default)]
struct Seen {
    /// The number of the newest one; 0 before the first.
    number: u64,
    /// When that replaced another one, if it did.
    changed: Option<Moment>,
    /// While the issuer refuses it: when it may be read again on behalf of callers.
    reread_at: Option<Deadline>,
}

impl TokenClient {
    /// A client of `issuer`, which must be the issuer of the token's client, for the tokens that `token` describes.
    #[must_use]
    pub fn new(issuer: Arc<Issuer>, token: TokenSettings, credential: Credential) -> Self {
        let verified = if token.verify_resource {
            token.resources.as_slice()
        } else {
            &[]
        };
        Self {
            verified: verified
                .iter()
                .map(|resource| issuer.resource(resource))
                .collect(),
            limiter: issuer.limiter(&token.client.name),
            issuer,
            credential: Arc::new(credential),
            token,
            seen: Mutex::default(),
            logged_method: AtomicBool::new(false),
            logged_scopes: AtomicBool::new(false),
        }
    }

    /// The token's settings.
    #[must_use]
    pub fn settings(&self) -> &TokenSettings {
        &self.token
    }

    /// The state of the client's credential. While the issuer refuses it, also has it read from its backend again, in the
    /// background and at most once in 10 s: it may have been replaced there.
    pub(super) fn credential_state(&self) -> CredentialState {
        let now = self.issuer.clock.now();
        let current = self.credential.number(now);
        let mut seen = self.seen();
        if let Some(number) = current
            && number != seen.number
        {
            seen.changed = (seen.number != 0).then_some(now);
            seen.number = number;
            seen.reread_at = None;
        }
        if seen.reread_at.is_some_and(|at| at.passed(now)) {
            seen.reread_at = Some(now.after(REREAD));
            let credential = Arc::clone(&self.credential);
            drop(tokio::spawn(async move {
                credential.reread(Pace::Limited).await
            }));
        }
        CredentialState {
            number: seen.number,
            is_available: current.is_some(),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests a token. Ends within the issuer's time limit. May send several requests.
    pub(super) async fn request(&self, ask: &Ask, urgency: Urgency) -> Result<Issued, Error> {
        let limit = self.issuer.settings().outbound.timeout;
        let retries = if self.token.grant.may_be_repeated() {
            RETRIES
        } else {
            0
        };
        let attempts = Attempts::new(&*self.issuer.clock, retries, limit);
        // A resource's answer says nothing about the issuer's health.
        if let Err(failed) = self.verify(&ask.scopes, limit).await {
            return Err(self.error(&failed));
        }
        if urgency == Urgency::Ordered {
            self.reread(&attempts, Pace::Unlimited).await;
        }
        let outcome = self.attempts(ask, urgency, attempts).await;
        match &outcome {
            Ok(_) => self.issuer.note_outcome(Ok(())),
            Err(failed) if failed.rejected.is_none() => self.issuer.note_outcome(Err(failed)),
            Err(_) => {}
        }
        match outcome {
            Ok(issued) => {
                tracing::debug!(
                    token = %self.token.name,
                    issuer = %self.issuer.name(),
                    bytes = issued.access_token.len(),
                    "token obtained, expires in {} s",
                    issued.lifetime.as_secs()
                );
                self.seen().reread_at = None;
                Ok(issued)
            }
            Err(failed) => Err(self.error(&failed)),
        }
    }

    fn error(&self, failed: &Failed) -> Error {
        let credential = self.credential_state().number;
        let verdict = match failed.rejected {
            Some(wait) => Verdict::Transient {
                retry_after: Some(wait),
            },
            None if is_refusal(failed.kind) => self.note_refusal(),
            None => failed.kind.verdict(),
        };
        let error = Error {
            kind: failed.kind,
            issuer: Arc::clone(self.issuer.name()),
            verdict,
            credential,
            detail: failed.detail.clone(),
        };
        if failed.kind == ErrorKind::PinMismatch {
            tracing::warn!(
                target: EVENTS,
                event_type = Event::CertificatePinMismatch.name(),
                issuer = %self.issuer.name(),
                "the issuer's certificate has none of the pinned keys"
            );
        }
        tracing::debug!(token = %self.token.name, %error, "no token");
        error
    }

    /// Notes that the issuer refuses the newest credential, and returns whether waiting may help.
    fn note_refusal(&self) -> Verdict {
        let now = self.issuer.clock.now();
        let mut seen = self.seen();
        seen.reread_at = Some(now.after(REREAD));
        let settling = seen
            .changed
            .is_some_and(|changed| now.since(changed) < SETTLING);
        if settling {
            Verdict::Transient { retry_after: None }
        } else {
            Verdict::Terminal
        }
    }

    /// Checks that every resource names the issuer, if the configuration requires it.
    async fn verify(&self, scopes: &Scopes, limit: Duration) -> Result<(), Failed> {
        let vouched =
            try_join_all(self.verified.iter().map(|resource| resource.vouched(limit))).await?;
        for vouched in vouched {
            let unknown = vouched.scopes.as_ref().is_some_and(|known| {
                !scopes
                    .iter()
                    .all(|scope| known.iter().any(|one| one == scope))
            });
            if unknown && !self.logged_scopes.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    token = %self.token.name,
                    resource = %vouched.resource,
                    asked = %scopes,
                    "the resource does not advertise every requested scope"
                );
            }
        }
        Ok(())
    }

    /// The attempts of one request: again after a failure that may be a passing one, and with another version of the
    /// credential after a refusal.
    async fn attempts(
        &self,
        ask: &Ask,
        urgency: Urgency,
        mut attempts: Attempts<'_>,
    ) -> Result<Issued, Failed> {
        let clock = &*self.issuer.clock;
        let limit = attempts.time_left().ok_or(ErrorKind::Timeout)?;
        let (url, methods) = self.issuer.token_endpoint(limit).await?;
        self.compare_method(methods.as_deref());
        let admission = self.issuer.admit(urgency)?;
        let mut generation = Generation::Current;
        let mut refused = None;
        let mut earlier = None;
        let outcome = loop {
            // A request that cannot be sent must not count against the limit.
            let request = FormRequest::new(url.clone(), grant::form(&self.token, ask)?);
            self.credential.values(generation, clock.now())?;
            if let Err(limited) = self.take(urgency) {
                // An earlier failure says more than that it cannot be retried.
                match refused.or(earlier) {
                    Some(failed) => break Err(failed),
                    None => return Err(limited.into()),
                }
            }
            let limit = attempts.time_left().ok_or(ErrorKind::Timeout)?;
            let attempt = self.attempt(request, ask, generation, limit);
            let failed = match tokio::time::timeout(limit, attempt).await {
                Ok(Ok(issued)) => break Ok(issued),
                Ok(Err(failed)) => failed,
                Err(_elapsed) => ErrorKind::Timeout.into(),
            };
            let mut asked = failed.kind.retry_after();
            if let Some(wait) = outcome::asked_for_quiet(failed.kind) {
                self.limiter.keep_quiet(clock.now(), wait);
            }
            if is_refusal(failed.kind) {
                if let Some(first) = refused {
                    break Err(first);
                }
                let Some(other) = self.other_credential(&attempts).await else {
                    break Err(failed);
                };
                generation = other;
                refused = Some(failed);
                continue;
            }
            if matches!(failed.kind, ErrorKind::RateLimited { .. }) {
                asked = asked.or(Some(LIMITED));
            }
            if !failed.again || !attempts.pause(asked).await {
                break Err(failed);
            }
            earlier = Some(failed);
        };
        admission.settle(outcome.as_ref().err().map(|failed| failed.kind));
        if outcome.is_ok() && generation == Generation::Previous {
            tracing::warn!(
                target: EVENTS,
                event_type = Event::PreviousCredentialUsed.name(),
                client = %self.token.client.name,
                issuer = %self.issuer.name(),
                "the issuer refuses the client's current credential and accepts the one before it"
            );
        }
        outcome
    }

    /// The version of the credential to try after the issuer refused the current one: the current one again if its backend
    /// has another by now, else the one before it, if that is still cached.
    async fn other_credential(&self, attempts: &Attempts<'_>) -> Option<Generation> {
        if self.reread(attempts, Pace::Limited).await {
            return Some(Generation::Current);
        }
        self.credential
            .has_previous(self.issuer.clock.now())
            .then_some(Generation::Previous)
    }

    /// Reads the credential from its backend again, within the time of the request. Returns whether it has changed.
    async fn reread(&self, attempts: &Attempts<'_>, pace: Pace) -> bool {
        let Some(limit) = attempts.time_left() else {
            return false;
        };
        let reread = self.credential.reread(pace);
        let changed = tokio::time::timeout(limit, reread).await.unwrap_or(false);
        if changed {
            self.credential_state();
        }
        changed
    }

    /// One request. `limit` is enforced by the caller as well; here it reaches the transport.
    async fn attempt(
        &self,
        mut request: FormRequest,
        ask: &Ask,
        generation: Generation,
        limit: Duration,
    ) -> Result<Issued, Failed> {
        // The semaphore is never closed.
        let slot = self.issuer.slots.acquire().await;
        let _slot = slot.map_err(|_closed| ErrorKind::Timeout)?;
        let sent = self.issuer.clock.now();
        let values = self
            .credential
            .prove(&mut request, generation, sent)
            .await?;
        let answer = self
            .issuer
            .transport()
            .send(request.into_request(), limit)
            .await?;
        self.issuer.note_date(&answer, sent);
        self.judge(&answer, ask, sent).map_err(|mut failed| {
            failed.detail.said = said(&answer, &values.sent());
            failed
        })
    }

    /// Takes one request from the client's limit.
    ///
    /// # Errors
    /// `RateLimited` if none is left.
    fn take(&self, urgency: Urgency) -> Result<(), ErrorKind> {
        let now = self.issuer.clock.now();
        self.limiter.take(urgency, now).map_err(|wait| {
            tracing::warn!(
                token = %self.token.name,
                issuer = %self.issuer.name(),
                reason = "Rate limit exceeded for OAuth token requests. Please wait before retrying.",
                "Rate limit exceeded"
            );
            ErrorKind::RateLimited {
                retry_after: Some(wait),
            }
        })
    }

    /// The configuration wins over metadata; a difference is logged once.
    fn compare_method(&self, advertised: Option<&[&str]>) {
        let method = self.credential.method();
        let differs = advertised.is_some_and(|methods| !methods.contains(&method));
        if differs && !self.logged_method.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                token = %self.token.name,
                issuer = %self.issuer.name(),
                method,
                "the issuer does not advertise the client's authentication method"
            );
        }
    }
}

/// Whether the issuer refuses the credential. Some say so with the code for a missing grant (Keycloak).
fn is_refusal(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidClient | ErrorKind::ClientRefused | ErrorKind::UnauthorizedClient
    )
}
