//! One client that asks its issuer for one kind of token.
//!
//! Owns the token request from the wish to the checked token: the limit, the attempts, the proof, and what the answer must be
//! like. One form of request per configuration, and nothing is probed: a refusal is one request. Keeps no token; `tokens`
//! does, and decides when to ask. Dropping a future gives up the request and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use claviger_backend::Secret;
use futures_util::future::try_join_all;
use url::Url;

use crate::attempts::Attempts;
use crate::credential::Credential;
use crate::issuer::Issuer;
use crate::limiter::{Limiter, Need};
use crate::outcome;
use crate::resource::Resource;
use crate::{
    Error, ErrorKind, Grant, Issued, ReducedScope, TokenFormat, TokenSettings, Verdict, audience,
};
use claviger_oauth_wire::request::Form;
use claviger_oauth_wire::response::{self, Leniency, Lifetime, TokenResponse};
use claviger_oauth_wire::token::Shape;
use claviger_oauth_wire::{Scopes, header};
use claviger_outbound::http::Answer;
use claviger_outbound::http::header::{CONTENT_TYPE, DATE};
use claviger_runtime::clock::Moment;
use claviger_runtime::telemetry::{EVENTS, Event};

/// How often one request is sent again.
const RETRIES: u32 = 2;

/// Tokens shorter than this are reported.
const SHORT: usize = 20;

/// Without a word of the issuer, 429 is believed to mean at least this.
const LIMITED: Duration = Duration::from_secs(1);

/// Asks for one kind of token.
#[derive(Debug)]
pub struct TokenClient {
    pub(super) issuer: Arc<Issuer>,
    pub(super) credential: Credential,
    token: TokenSettings,
    limiter: Arc<Limiter>,
    /// Those that must name the issuer before a token for them is asked for.
    verified: Vec<Arc<Resource>>,
    /// The credential's number when it was held the last time.
    last_version: AtomicU64,
    /// Whether it was said already that the issuer does not advertise the method.
    told_method: AtomicBool,
    /// Whether it was said already that a resource does not know a scope.
    told_scopes: AtomicBool,
}

/// Why one attempt failed.
struct Failed {
    kind: ErrorKind,
    body_bytes: Option<usize>,
    /// Whether another attempt is worth it.
    again: bool,
}

impl From<ErrorKind> for Failed {
    fn from(kind: ErrorKind) -> Self {
        Self {
            kind,
            body_bytes: None,
            again: false,
        }
    }
}

impl TokenClient {
    /// Asks `issuer`, which is the issuer of the token's client, for the tokens that `token` describes.
    #[must_use]
    pub fn new(issuer: Arc<Issuer>, token: TokenSettings, credential: Credential) -> Self {
        let verified = token.resources.iter().filter(|_| token.verify_resource);
        Self {
            verified: verified.map(|resource| issuer.resource(resource)).collect(),
            limiter: issuer.limiter(&token.client.name),
            issuer,
            credential,
            token,
            last_version: AtomicU64::new(0),
            told_method: AtomicBool::new(false),
            told_scopes: AtomicBool::new(false),
        }
    }

    /// What it asks for.
    #[must_use]
    pub fn settings(&self) -> &TokenSettings {
        &self.token
    }

    /// A number that changes when another version of the client's credential is held, and only then. The client of the next
    /// configuration gives the same number for the same versions. While none is held it is the last one, or 0.
    #[must_use]
    pub fn credential(&self) -> u64 {
        match self.credential.version(self.issuer.clock.now()) {
            Some(version) => {
                self.last_version.store(version, Ordering::Relaxed);
                version
            }
            None => self.last_version.load(Ordering::Relaxed),
        }
    }

    /// Whether the client's credential is held.
    #[must_use]
    pub fn has_credential(&self) -> bool {
        self.credential.version(self.issuer.clock.now()).is_some()
    }

    /// Asks the issuer for a token with `scopes`; none means the issuer's default.
    ///
    /// Ends within the issuer's time limit, whatever happens. May send up to three requests if the issuer is in trouble.
    ///
    /// # Errors
    /// An [`Error`] whose kind says whether and when trying again may help.
    pub async fn obtain(&self, scopes: &Scopes) -> Result<Issued, Error> {
        self.ask(scopes, Need::Now).await
    }

    /// The same for somebody who has a good token and wishes for a newer one. Leaves half of the client's limit to tokens
    /// that are needed, so that nobody keeps others from theirs by wishing.
    ///
    /// # Errors
    /// As [`Self::obtain`].
    pub async fn obtain_early(&self, scopes: &Scopes) -> Result<Issued, Error> {
        self.ask(scopes, Need::Early).await
    }

    async fn ask(&self, scopes: &Scopes, need: Need) -> Result<Issued, Error> {
        let limit = self.issuer.settings().outbound.timeout;
        let attempts = Attempts::new(&*self.issuer.clock, RETRIES, limit);
        // Nothing that a resource does says anything about the issuer's health.
        if let Err(kind) = self.verify(scopes, limit).await {
            return Err(self.error(&kind.into()));
        }
        let outcome = self.attempts(scopes, need, attempts).await;
        self.issuer
            .note_outcome(outcome.as_ref().map(|_| ()).map_err(|failed| failed.kind));
        match outcome {
            Ok(issued) => {
                tracing::debug!(
                    token = %self.token.name,
                    issuer = %self.issuer.name(),
                    bytes = issued.access_token.len(),
                    "token obtained, expires in {} s",
                    issued.lifetime.as_secs()
                );
                Ok(issued)
            }
            Err(failed) => Err(self.error(&failed)),
        }
    }

    fn error(&self, failed: &Failed) -> Error {
        let error = Error {
            kind: failed.kind,
            issuer: Arc::clone(self.issuer.name()),
            body_bytes: failed.body_bytes,
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

    /// Makes sure that every resource names the issuer, if the configuration wants that.
    async fn verify(&self, scopes: &Scopes, limit: Duration) -> Result<(), ErrorKind> {
        let resources = self.verified.iter();
        let vouched = try_join_all(resources.map(|resource| resource.vouched(limit))).await?;
        for vouched in vouched {
            let unknown = vouched.scopes.as_ref().is_some_and(|known| {
                !scopes
                    .iter()
                    .all(|scope| known.iter().any(|one| one == scope))
            });
            if unknown && !self.told_scopes.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    token = %self.token.name,
                    resource = %vouched.resource,
                    asked = %scopes,
                    "the resource does not advertise every scope that is asked for"
                );
            }
        }
        Ok(())
    }

    async fn attempts(
        &self,
        scopes: &Scopes,
        need: Need,
        mut attempts: Attempts<'_>,
    ) -> Result<Issued, Failed> {
        let clock = &*self.issuer.clock;
        let limit = attempts.time_left().ok_or(ErrorKind::Timeout)?;
        let (url, methods) = self.issuer.token_endpoint(limit).await?;
        self.compare_method(methods.as_deref());
        let mut earlier = None;
        loop {
            // What cannot be sent is no request, and must not count as one.
            let form = match self.token.grant {
                Grant::ClientCredentials => audience::client_credentials(&self.token, scopes)?,
            };
            self.credential.check(clock.now())?;
            if let Err(wait) = self.limiter.take(need, clock.now()) {
                tracing::warn!(
                    token = %self.token.name,
                    issuer = %self.issuer.name(),
                    reason = "Rate limit exceeded for OAuth token requests. Please wait before retrying.",
                    "Rate limit exceeded"
                );
                // What went wrong before says more than that it cannot be tried again.
                let limited = ErrorKind::RateLimited {
                    retry_after: Some(wait),
                };
                return Err(earlier.unwrap_or_else(|| limited.into()));
            }
            let limit = attempts.time_left().ok_or(ErrorKind::Timeout)?;
            let attempt = self.attempt(&url, form, scopes, limit);
            let failed = match tokio::time::timeout(limit, attempt).await {
                Ok(Ok(issued)) => return Ok(issued),
                Ok(Err(failed)) => failed,
                Err(_elapsed) => ErrorKind::Timeout.into(),
            };
            let mut asked = failed.kind.retry_after();
            if let Some(wait) = outcome::asked_for_quiet(failed.kind) {
                self.limiter.keep_quiet(clock.now(), wait);
            }
            if matches!(failed.kind, ErrorKind::RateLimited { .. }) {
                asked = asked.or(Some(LIMITED));
            }
            if !failed.again || !attempts.pause(asked).await {
                return Err(failed);
            }
            earlier = Some(failed);
        }
    }

    /// One request. `limit` is enforced by the caller as well; here it reaches the transport.
    async fn attempt(
        &self,
        url: &Url,
        form: Form,
        scopes: &Scopes,
        limit: Duration,
    ) -> Result<Issued, Failed> {
        // The semaphore is never closed; if it were, there would be nobody to ask.
        let slot = self.issuer.slots.acquire().await;
        let _slot = slot.map_err(|_closed| ErrorKind::Unreachable)?;
        let sent = self.issuer.clock.now();
        let proved = self.credential.prove(form, sent)?;
        let request = proved.request(url.clone());
        let answer = self.issuer.transport.send(request, limit).await;
        let answer = answer.map_err(|lost| Failed {
            kind: outcome::lost(lost),
            body_bytes: None,
            again: outcome::may_resend(lost),
        })?;
        self.issuer.note_date(&answer, sent);
        self.judge(&answer, scopes, sent)
    }

    /// From an answer to a token, or not.
    fn judge(&self, answer: &Answer, scopes: &Scopes, sent: Moment) -> Result<Issued, Failed> {
        let leniency = Leniency {
            missing_token_type_is_bearer: self.issuer.settings().missing_token_type_is_bearer,
            commas_separate_scopes: !scopes.iter().any(|scope| scope.contains(',')),
        };
        let content_type = answer.header(&CONTENT_TYPE);
        let pointer = self.token.token_pointer.as_ref();
        let body = &answer.body.0;
        let parsed = response::parse_at(answer.status, content_type, body, leniency, pointer);
        let response = parsed.map_err(|failure| {
            tracing::debug!(token = %self.token.name, %failure, "the issuer's answer is no token");
            let now = self.issuer.clock.now();
            let kind = outcome::failure(failure, answer, now.wall);
            Failed {
                kind,
                body_bytes: Some(failure.body_bytes),
                again: outcome::is_transient(answer.status) && kind.verdict() != Verdict::Terminal,
            }
        })?;
        self.check_shape(response.shape)?;
        let granted = self.granted(scopes, response.scopes.as_ref())?;
        let theirs = answer.header(&DATE).and_then(header::date);
        let lifetime = self.lifetime(&response, sent.wall.max(theirs.unwrap_or_default()));
        Ok(Issued {
            access_token: Secret::new(response.access_token.into_bytes()),
            token_type: "Bearer",
            scopes: granted,
            sent,
            lifetime,
            expires: sent.after(lifetime),
            refresh_in: response.refresh_in.map(|hint| hint.min(lifetime)),
        })
    }

    fn check_shape(&self, shape: Shape) -> Result<(), ErrorKind> {
        let fits = match self.token.format {
            TokenFormat::Auto | TokenFormat::Opaque => true,
            TokenFormat::Jwt => shape.parts == 3,
            TokenFormat::Jwe => shape.parts == 5,
        };
        let too_short = self.token.min_length.is_some_and(|min| shape.bytes < min);
        if !fits || too_short {
            return Err(ErrorKind::UnusableToken);
        }
        if self.token.min_length.is_none() && shape.bytes < SHORT {
            tracing::warn!(
                target: EVENTS,
                event_type = Event::SuspiciousActivity.name(),
                token = %self.token.name,
                issuer = %self.issuer.name(),
                bytes = shape.bytes,
                "the issuer gave a very short token"
            );
        }
        Ok(())
    }

    /// The scopes that the token has. More than was asked for is refused; less, by policy.
    fn granted(&self, asked: &Scopes, granted: Option<&Scopes>) -> Result<Scopes, ErrorKind> {
        let Some(granted) = granted else {
            return Ok(asked.clone());
        };
        if asked.is_empty() {
            // The issuer's default was asked for, and this is it.
            return Ok(granted.clone());
        }
        if !asked.covers(granted) {
            // Counts only: a scope that nobody asked for is a word of the issuer.
            tracing::warn!(
                target: EVENTS,
                event_type = Event::ScopeEscalationAttempt.name(),
                token = %self.token.name,
                issuer = %self.issuer.name(),
                asked = %asked,
                granted = granted.iter().len(),
                unasked = granted.iter().filter(|scope| !asked.contains(scope)).count(),
                "the issuer granted more than was asked for"
            );
            return Err(ErrorKind::ScopeEscalation);
        }
        if !granted.covers(asked) {
            tracing::warn!(
                target: EVENTS,
                event_type = Event::ScopeReduced.name(),
                token = %self.token.name,
                issuer = %self.issuer.name(),
                asked = %asked,
                granted = %granted,
                "the issuer granted less than was asked for"
            );
            if self.token.reduced_scope == ReducedScope::Refuse {
                return Err(ErrorKind::ScopeReduced);
            }
        }
        Ok(granted.clone())
    }

    /// How long the token lives from when it was asked for: as the issuer says, as the token says, as the issuer said the
    /// last time, as configured; and never longer than configured. A time of expiry is counted from `wall`, the later of what
    /// this node's clock says and the issuer's: a node whose clock is behind must not keep a token that is dead.
    fn lifetime(&self, response: &TokenResponse, wall: Duration) -> Duration {
        let from = |expiry: Duration| expiry.saturating_sub(wall);
        let reported = match (response.lifetime, response.shape.expiry) {
            (Some(Lifetime::For(lifetime)), _) => Some(lifetime),
            (Some(Lifetime::Until(expiry)), _) => Some(from(expiry)),
            (None, Some(expiry)) => Some(from(Duration::from_secs(expiry))),
            (None, None) => None,
        };
        let lifetime = match reported {
            Some(lifetime) if lifetime.is_zero() => {
                tracing::warn!(
                    target: EVENTS,
                    event_type = Event::TokenNotCacheable.name(),
                    token = %self.token.name,
                    issuer = %self.issuer.name(),
                    "the issuer gave a token without lifetime"
                );
                lifetime
            }
            reported => self
                .issuer
                .lifetime(&self.token.name, reported)
                .unwrap_or(self.token.default_lifetime),
        };
        lifetime.min(self.token.max_lifetime)
    }

    /// The configuration wins over metadata; that they differ is said once.
    fn compare_method(&self, advertised: Option<&[&str]>) {
        let method = self.credential.method();
        let differs = advertised.is_some_and(|methods| !methods.contains(&method));
        if differs && !self.told_method.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                token = %self.token.name,
                issuer = %self.issuer.name(),
                method,
                "the issuer does not advertise the client's authentication method"
            );
        }
    }
}
