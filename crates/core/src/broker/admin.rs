//! What operators ask of the broker: explanations and refreshes.

use futures_util::future::join_all;

use crate::broker::Broker;
use crate::peer::Facts;
use crate::policy::{Action, Explanation, ScopeLimit, near_miss};
use crate::secrets::Older;
use claviger_oauth_wire::Scopes;

/// A decision with its reasons, and the scopes that would follow from it.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The decision.
    pub explanation: Explanation,
    /// The scopes that the deciding rule leaves; `None` if it leaves the definition's.
    pub scopes: Option<Scopes>,
    /// Set if the configuration does not have the thing at all: then no rule can help.
    pub unknown: Option<Unknown>,
}

/// A name that the configuration does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// One that it has, and that was probably meant.
    pub meant: Option<String>,
}

/// What became of one thing that was to be refreshed.
#[derive(Clone, Debug)]
pub struct Refreshed {
    /// Its name or reference.
    pub name: String,
    /// Whether something newer is held now, or the class of the failure.
    pub outcome: Result<bool, (&'static str, &'static str)>,
}

impl Broker {
    /// Decides as a request of that peer would be, and says why.
    pub fn explain(&self, facts: &Facts, action: Action, name: &str, scopes: &Scopes) -> Explained {
        let world = self.world();
        let explanation = world.policy.explain(facts, action, name, scopes);
        let permit = world.policy.rights(facts).permit(action, name, scopes).ok();
        let scopes = permit.and_then(|permit| match permit.limit() {
            _ if !permit.requested().is_empty() => Some(permit.requested().clone()),
            ScopeLimit::Only(limit) => Some(limit.clone()),
            ScopeLimit::Definition => None,
        });
        Explained {
            explanation,
            scopes,
            unknown: self.unknown(action, name),
        }
    }

    /// Whether a name is one that the configuration does not have.
    fn unknown(&self, action: Action, name: &str) -> Option<Unknown> {
        let world = self.world();
        let known: Vec<String> = match action {
            Action::Token | Action::Revoke => {
                let tokens = world.tokens.status().into_iter();
                tokens.map(|token| token.name.to_string()).collect()
            }
            Action::Secret => {
                let secrets = world.secrets.status().into_iter();
                let names = secrets.filter_map(|secret| secret.name);
                names.map(|name| name.to_string()).collect()
            }
        };
        if known.iter().any(|known| known == name) {
            return None;
        }
        let mut known = known.into_iter();
        Some(Unknown {
            meant: known.find(|known| near_miss(known, name).is_some()),
        })
    }

    /// Fetches secrets and renews tokens now: those named, or all that are in use.
    pub async fn refresh(&self, names: &[String]) -> Vec<Refreshed> {
        let world = self.world();
        let mut results = Vec::new();
        let secrets = world.secrets.status();
        let wanted = |name: &str| names.is_empty() || names.iter().any(|wish| wish == name);
        // Whoever names one secret means it; a version that went back is then taken.
        let older = if names.is_empty() {
            Older::Refuse
        } else {
            Older::Accept
        };
        let mut fetches = Vec::new();
        for secret in &secrets {
            let name = secret.reference.to_string();
            let by_name = secret.name.as_deref().is_some_and(wanted);
            if by_name || wanted(&name) {
                let fetch = world.secrets.refresh(&secret.reference, older);
                fetches.push(async {
                    let outcome = fetch.await;
                    let outcome = outcome.map_err(|error| (error.as_str(), error.remedy()));
                    Refreshed { name, outcome }
                });
            }
        }
        // Secrets first: a token that is renewed should use the newest credential. All at once, so that the fields of one
        // secret share a request.
        results.extend(join_all(fetches).await);
        for token in world.tokens.status() {
            // Nobody needs a token that nobody has asked for, and each one costs a request with the credential.
            let asked_for = token
                .entries
                .iter()
                .any(|entry| entry.upstream_requests > 0);
            if !wanted(&token.name) || (names.is_empty() && !asked_for) {
                continue;
            }
            for outcome in world.tokens.refresh(&token.name).await {
                let outcome = outcome.map_err(|error| (error.as_str(), error.remedy()));
                results.push(Refreshed {
                    name: token.name.to_string(),
                    outcome,
                });
            }
        }
        for name in names {
            if !results.iter().any(|result| result.name == *name) && !self.knows(name) {
                let remedy = "The configuration has no token or secret of that name.";
                results.push(Refreshed {
                    name: name.clone(),
                    outcome: Err(("unknown", remedy)),
                });
            }
        }
        results
    }

    fn knows(&self, name: &str) -> bool {
        let world = self.world();
        world
            .tokens
            .status()
            .iter()
            .any(|token| *token.name == *name)
            || world.secrets.status().iter().any(|secret| {
                secret.name.as_deref() == Some(name) || secret.reference.to_string() == name
            })
    }
}
