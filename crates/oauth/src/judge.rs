//! From an answer to a token.
//!
//! Owns what an issuer's answer must be like: its shape, its scopes and its lifetime (RFC 6749 §5.1). More scopes than
//! requested are refused, fewer by policy; a lifetime is never longer than configured. Sends nothing.

use std::time::Duration;

use claviger_backend::Secret;

use crate::client::TokenClient;
use crate::failed::Failed;
use crate::{ErrorKind, Issued, ReducedScope, TokenFormat, Verdict, outcome};
use claviger_core::tokens::source::Ask;
use claviger_oauth_wire::response::{self, Leniency, Lifetime, TokenResponse};
use claviger_oauth_wire::token::Shape;
use claviger_oauth_wire::{Scopes, header};
use claviger_outbound::http::Answer;
use claviger_outbound::http::header::{CONTENT_TYPE, DATE};
use claviger_runtime::clock::Moment;
use claviger_runtime::telemetry::{EVENTS, Event};

/// Tokens shorter than this are reported.
const SHORT: usize = 20;

impl TokenClient {
    /// The token of an answer to `ask` that was sent at `sent`.
    ///
    /// # Errors
    /// If the answer is an error, is no OAuth answer, or has a token that the settings refuse.
    pub(super) fn judge(&self, answer: &Answer, ask: &Ask, sent: Moment) -> Result<Issued, Failed> {
        let scopes = &ask.scopes;
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
                again: outcome::is_transient(answer.status) && kind.verdict() != Verdict::Terminal,
                ..kind.into()
            }
        })?;
        self.check_shape(response.shape)?;
        let granted = self.granted(scopes, response.scopes.as_ref())?;
        let theirs = answer.header(&DATE).and_then(header::date);
        let lifetime = self.lifetime(&response, sent.wall.max(theirs.unwrap_or_default()));
        Ok(Issued {
            access_token: Secret::new(response.access_token.into_bytes()),
            binding: ask.binding,
            scopes: granted,
            sent,
            lifetime,
            expires: sent.after(lifetime),
            refresh_in: response.refresh_in.map(|hint| hint.min(lifetime)),
            credential: self.credential_state().number,
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
            // Counts only: an unrequested scope is the issuer's text.
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
}
