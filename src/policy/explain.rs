//! Why policy decides as it does, for operators.

use crate::oauth::wire::Scopes;
use crate::peer::Facts;
use crate::policy::{Action, Denial, Policy};

/// A decision with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The rule that allows it, counted from 1, or the denial that a request would get.
    pub decision: Result<u32, Denial>,
    /// How each rule compares, in order.
    pub rules: Vec<RuleVerdict>,
}

/// How one rule compares with a peer and its wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleVerdict {
    /// Whether its selectors match the peer.
    pub selects_peer: bool,
    /// Whether it allows the wish.
    pub allows: bool,
    /// What is missing, or what matched.
    pub detail: String,
}

impl Policy {
    /// Decides as [`Rights::permit`](crate::policy::Rights::permit) would, and says why.
    #[must_use]
    pub fn explain(
        &self,
        facts: &Facts,
        action: Action,
        name: &str,
        scopes: &Scopes,
    ) -> Explanation {
        let decision = self
            .rights(facts)
            .permit(action, name, scopes)
            .map(|permit| permit.rule());
        Explanation {
            decision,
            rules: Vec::new(),
        }
    }
}
