//! What operators ask of the broker: explanations and refreshes.
//!
//! Owns the answers that need what is in force. They take the same path as programs' requests, so each is recorded. What the
//! daemon itself knows or does (`Operator` in `server`) goes through [`Broker::operate`]. Decides nothing: an explanation
//! repeats the decision of `policy`.

use std::future::Future;
use std::sync::Arc;

use futures_util::future::join_all;

use crate::audit::{Operation, Released};
use crate::broker::ask::{Ask, Permitted, Subject};
use crate::broker::session::View;
use crate::broker::{Broker, Error, Session, World};
use crate::peer::Facts;
use crate::policy::{Action, Explanation, near_miss};
use crate::secrets::{self, Older};
use crate::tokens;
use claviger_oauth_wire::Scopes;
use claviger_runtime::reason::{Detail, Reason, Reasoned};

/// A request that a peer could make, to be explained.
#[derive(Clone, Debug)]
pub struct Question {
    /// The peer.
    pub facts: Facts,
    /// What it would ask for.
    pub action: Action,
    /// The name of the token or secret.
    pub name: String,
    /// The scopes; empty for all that the rule allows.
    pub scopes: Scopes,
}

/// A decision with its reasons.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The decision.
    pub explanation: Explanation,
    /// Set if the configuration does not have the thing at all: then no rule can help.
    pub unknown: Option<Unknown>,
}

/// A name that the configuration does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// One that it has, and that was probably meant.
    pub meant: Option<String>,
}

/// The outcome of the refresh of one thing.
#[derive(Clone, Debug)]
pub struct Refreshed {
    /// Its name or reference.
    pub name: String,
    /// Whether it has another version or token now.
    pub outcome: Result<bool, NotRefreshed>,
}

/// Why something was not refreshed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotRefreshed {
    /// The configuration has no token or secret of that name.
    #[error("unknown name")]
    Unknown,
    /// The secret could not be fetched.
    #[error("the secret was not fetched")]
    Secret(#[source] secrets::Error),
    /// The token could not be renewed.
    #[error("the token was not renewed")]
    Token(#[source] tokens::Error),
}

impl Reasoned for NotRefreshed {
    fn reason(&self) -> Reason {
        match self {
            Self::Unknown => Reason::Unknown,
            Self::Secret(error) => error.reason(),
            Self::Token(error) => error.reason(),
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Unknown => "The configuration has no token or secret of that name.",
            Self::Secret(_) | Self::Token(_) => self.reason().remedy(),
        }
    }

    fn detail(&self) -> Detail {
        match self {
            Self::Unknown => Detail::default(),
            Self::Secret(error) => error.detail(),
            Self::Token(error) => error.detail(),
        }
    }
}

impl Broker {
    /// Answers an operator by what `act` makes of the world in force. `name` is what the request is about, for the record.
    /// The admin socket admits operators alone, so no rule is needed.
    ///
    /// # Errors
    /// If the peer is not the process that connected.
    pub async fn operate<F, R>(
        &self,
        session: &Session,
        operation: Operation,
        name: &str,
        act: F,
    ) -> Result<Released<R::Output>, Error>
    where
        F: FnMut(Arc<World>) -> R + Send,
        R: Future<Output: Send> + Send,
    {
        let subject = Subject { operation, name };
        self.release(session, &mut Operate { subject, act }).await
    }

    /// Decides as a request of that peer would be decided, and says why.
    ///
    /// # Errors
    /// As [`Broker::operate`].
    pub async fn explain(
        &self,
        session: &Session,
        question: &Question,
    ) -> Result<Released<Explained>, Error> {
        let Question {
            facts,
            action,
            name,
            scopes,
        } = question;
        self.operate(session, Operation::Explain, name, |world| async move {
            Explained {
                explanation: world.policy.explain(facts, *action, name, scopes),
                unknown: unknown(&world, *action, name),
            }
        })
        .await
    }

    /// Fetches secrets and renews tokens now: those named, or all that are in use.
    ///
    /// # Errors
    /// As [`Broker::operate`].
    pub async fn refresh(
        &self,
        session: &Session,
        names: &[String],
    ) -> Result<Released<Vec<Refreshed>>, Error> {
        let recorded = names.join(" ");
        self.operate(session, Operation::Refresh, &recorded, |world| async move {
            // Secrets first: a token that is renewed should use the newest credential.
            let mut results = refresh_secrets(&world, names).await;
            results.extend(refresh_tokens(&world, names).await);
            for name in names {
                if !results.iter().any(|result| result.name == *name) && !knows(&world, name) {
                    results.push(Refreshed {
                        name: name.clone(),
                        outcome: Err(NotRefreshed::Unknown),
                    });
                }
            }
            results
        })
        .await
    }
}

/// A request of an operator.
struct Operate<'a, F> {
    subject: Subject<'a>,
    act: F,
}

impl<F, R> Ask for Operate<'_, F>
where
    F: FnMut(Arc<World>) -> R + Send,
    R: Future<Output: Send> + Send,
{
    type Permit = ();
    type Answer = R::Output;

    fn subject(&self) -> Subject<'_> {
        self.subject
    }

    fn permit(&self, _view: &View) -> Result<Permitted<()>, Error> {
        Ok(Permitted {
            permit: (),
            rule: None,
        })
    }

    async fn act(&mut self, world: &Arc<World>, _permit: &()) -> Result<R::Output, Error> {
        Ok((self.act)(Arc::clone(world)).await)
    }
}

/// Whether a name is one that the configuration does not have.
fn unknown(world: &World, action: Action, name: &str) -> Option<Unknown> {
    let known: Vec<Arc<str>> = match action {
        Action::Token | Action::Revoke => world
            .tokens
            .status()
            .into_iter()
            .map(|token| token.name)
            .collect(),
        Action::Secret => world
            .secrets
            .status()
            .into_iter()
            .filter_map(|secret| secret.name)
            .collect(),
    };
    if known.iter().any(|known| **known == *name) {
        return None;
    }
    Some(Unknown {
        meant: known
            .iter()
            .find(|known| near_miss(known, name).is_some())
            .map(ToString::to_string),
    })
}

fn wanted(names: &[String], name: &str) -> bool {
    names.is_empty() || names.iter().any(|wanted| wanted == name)
}

/// Fetches all wanted secrets at once, so that the fields of one secret share a request.
async fn refresh_secrets(world: &World, names: &[String]) -> Vec<Refreshed> {
    // An operator who names a secret means that one: an older version is then accepted.
    let older = if names.is_empty() {
        Older::Refuse
    } else {
        Older::Accept
    };
    let fetches = world
        .secrets
        .status()
        .into_iter()
        .filter(|secret| {
            let by_name = secret.name.as_deref();
            by_name.is_some_and(|name| wanted(names, name))
                || wanted(names, &secret.reference.to_string())
        })
        .map(|secret| async move {
            let outcome = world.secrets.refresh(&secret.reference, older).await;
            Refreshed {
                name: secret.reference.to_string(),
                outcome: outcome.map_err(NotRefreshed::Secret),
            }
        });
    join_all(fetches).await
}

/// Renews the wanted tokens; without names, those that were requested before, because each costs a request with the
/// credential.
async fn refresh_tokens(world: &World, names: &[String]) -> Vec<Refreshed> {
    let mut results = Vec::new();
    for token in world.tokens.status() {
        let in_use = token
            .entries
            .iter()
            .any(|entry| entry.upstream_requests > 0);
        if !wanted(names, &token.name) || (names.is_empty() && !in_use) {
            continue;
        }
        for outcome in world.tokens.refresh(&token.name).await {
            results.push(Refreshed {
                name: token.name.to_string(),
                outcome: outcome.map_err(NotRefreshed::Token),
            });
        }
    }
    results
}

fn knows(world: &World, name: &str) -> bool {
    let tokens = world.tokens.status();
    tokens.iter().any(|token| *token.name == *name) || world.secrets.find(name).is_some()
}
