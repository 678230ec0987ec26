//! Requests about tokens.
//!
//! Owns what each of them does with its permit, and what is charged: starting a request to the issuer spends the peer's budget,
//! joining one that is under way and answers from the cache are free.

use std::sync::Arc;

use claviger_oauth_wire::Scopes;
use claviger_runtime::clock::Moment;

use crate::audit::{Operation, Released};
use crate::broker::ask::{Ask, Permitted, Subject};
use crate::broker::follow::{Begun, Following};
use crate::broker::session::View;
use crate::broker::{Broker, Error, Rejection, Session, World};
use crate::policy::{RevokePermit, TokenPermit};
use crate::tokens::{self, Answer, Report, Revoked, Want};

/// A request for a token.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// The token's name.
    pub name: String,
    /// The scopes; empty for all that the rule allows.
    pub scopes: Scopes,
    /// How long it must live at least, whether it must be new, and how long the caller waits.
    pub want: Want,
}

impl Broker {
    /// Gives a peer a token.
    ///
    /// # Errors
    /// If policy denies it, the peer is over its budget or not the process that connected, or there is no token in time.
    pub async fn token(
        &self,
        session: &Session,
        request: &TokenRequest,
    ) -> Result<Released<Answer>, Error> {
        let mut ask = GetToken {
            broker: self,
            session,
            request,
            want: request.want,
            called: None,
        };
        self.release(session, &mut ask).await
    }

    /// Follows a token: yields the current one, then each newer one.
    ///
    /// # Errors
    /// If policy denies it, or the peer is over its budget and the token would have to be requested.
    pub async fn watch_token(
        self: &Arc<Self>,
        session: &Arc<Session>,
        name: &str,
        scopes: &Scopes,
    ) -> Result<Following<tokens::Watch>, Error> {
        let mut ask = WatchToken {
            session,
            name,
            scopes,
        };
        let begun = self.release(session, &mut ask).await?;
        Ok(Following::new(self, session, name, begun.into_inner()))
    }

    /// Takes note that a resource server rejected a token. Drops it if a newer one could help.
    ///
    /// # Errors
    /// If policy denies it: only a peer that may have a token may report it.
    pub async fn report_rejected(
        &self,
        session: &Session,
        rejection: &Rejection,
    ) -> Result<Released<Report>, Error> {
        self.release(session, &mut ReportRejected(rejection)).await
    }

    /// Drops a token and has the issuer revoke it.
    ///
    /// # Errors
    /// If policy denies it, or the peer is over its budget or not the process that connected.
    pub async fn revoke_token(
        &self,
        session: &Session,
        name: &str,
        scopes: &Scopes,
    ) -> Result<Released<Revoked>, Error> {
        let mut ask = RevokeToken {
            broker: self,
            session,
            name,
            scopes,
        };
        self.release(session, &mut ask).await
    }
}

fn token_permit(view: &View, name: &str, scopes: &Scopes) -> Result<Permitted<TokenPermit>, Error> {
    let permit = view.rights.token(name, scopes)?;
    Ok(Permitted {
        rule: Some(permit.reach().rule()),
        permit,
    })
}

struct GetToken<'a> {
    broker: &'a Broker,
    session: &'a Session,
    request: &'a TokenRequest,
    /// What the request still needs.
    want: Want,
    /// When the request first had to wait.
    called: Option<Moment>,
}

impl Ask for GetToken<'_> {
    type Permit = TokenPermit;
    type Answer = Answer;

    fn subject(&self) -> Subject<'_> {
        Subject {
            operation: Operation::GetToken,
            name: &self.request.name,
        }
    }

    fn permit(&self, view: &View) -> Result<Permitted<TokenPermit>, Error> {
        token_permit(view, &self.request.name, &self.request.scopes)
    }

    async fn act(&mut self, world: &Arc<World>, permit: &TokenPermit) -> Result<Answer, Error> {
        let any_will_do = self.want.min_remaining.is_zero() && !self.want.force_refresh;
        if any_will_do && let Some(answer) = world.tokens.cached(permit) {
            return Ok(answer);
        }
        let clock = &self.broker.clock;
        let called = *self.called.get_or_insert_with(|| clock.now());
        let outcome = world
            .tokens
            .get(permit, &self.want, &|now| self.session.spend(now))
            .await;
        // If another world has to answer, it gets the remaining time, and a token that was renewed meanwhile is enough.
        let waited = clock.now().since(called);
        self.want.deadline = self.request.want.deadline.saturating_sub(waited);
        self.want.force_refresh &= outcome.is_err();
        Ok(outcome?)
    }

    fn generation(answer: &Answer) -> Option<u64> {
        Some(answer.token.generation())
    }
}

struct WatchToken<'a> {
    session: &'a Session,
    name: &'a str,
    scopes: &'a Scopes,
}

impl Ask for WatchToken<'_> {
    type Permit = TokenPermit;
    type Answer = Begun<tokens::Watch>;

    fn subject(&self) -> Subject<'_> {
        Subject {
            operation: Operation::WatchToken,
            name: self.name,
        }
    }

    fn permit(&self, view: &View) -> Result<Permitted<TokenPermit>, Error> {
        token_permit(view, self.name, self.scopes)
    }

    async fn act(
        &mut self,
        world: &Arc<World>,
        permit: &TokenPermit,
    ) -> Result<Begun<tokens::Watch>, Error> {
        Ok(Begun {
            watch: world.tokens.watch(permit, &|now| self.session.spend(now))?,
            world: world.generation,
            rule: permit.reach().rule(),
        })
    }
}

struct ReportRejected<'a>(&'a Rejection);

impl Ask for ReportRejected<'_> {
    type Permit = TokenPermit;
    type Answer = Report;

    fn subject(&self) -> Subject<'_> {
        Subject {
            operation: Operation::ReportRejected,
            name: &self.0.name,
        }
    }

    fn permit(&self, view: &View) -> Result<Permitted<TokenPermit>, Error> {
        token_permit(view, &self.0.name, &self.0.scopes)
    }

    async fn act(&mut self, world: &Arc<World>, permit: &TokenPermit) -> Result<Report, Error> {
        if !self.0.blames_the_token() {
            return Ok(Report::NotTheToken);
        }
        Ok(world.tokens.report(permit, &self.0.fingerprint))
    }
}

struct RevokeToken<'a> {
    broker: &'a Broker,
    session: &'a Session,
    name: &'a str,
    scopes: &'a Scopes,
}

impl Ask for RevokeToken<'_> {
    type Permit = RevokePermit;
    type Answer = Revoked;

    fn subject(&self) -> Subject<'_> {
        Subject {
            operation: Operation::RevokeToken,
            name: self.name,
        }
    }

    fn permit(&self, view: &View) -> Result<Permitted<RevokePermit>, Error> {
        let permit = view.rights.revocation(self.name, self.scopes)?;
        Ok(Permitted {
            rule: Some(permit.reach().rule()),
            permit,
        })
    }

    async fn act(&mut self, world: &Arc<World>, permit: &RevokePermit) -> Result<Revoked, Error> {
        self.session
            .spend(self.broker.clock.now())
            .map_err(|retry_in| Error::Limited { retry_in })?;
        Ok(world.tokens.revoke(permit).await)
    }
}
