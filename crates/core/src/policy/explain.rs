//! Why policy decides as it does, for operators.
//!
//! Owns the sentences of `claviger explain`: per rule, which selector does not match, which name or scope is missing, and
//! whether something nearly fits. Decides nothing: the decision is that of `Rights`.
//! The sentences show rules, so they are for the admin socket and never for the peer that was refused.

use std::path::Path;

use crate::peer::Facts;
use crate::policy::{Action, Denial, Mismatch, Policy, Reach, Rule, ScopeLimit, Selector};
use claviger_oauth_wire::Scopes;

/// Names at most this many edits apart are shown as likely typing mistakes, unless they are so short that any two are.
const CLOSE: usize = 2;

/// A decision with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What a request would be allowed, or the denial that it would get.
    pub decision: Result<Allowed, Denial>,
    /// How each rule compares, in order.
    pub rules: Vec<RuleVerdict>,
}

/// What a request would be allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The rule that allows it, counted from 1.
    pub rule: u32,
    /// The scopes that the rule leaves of a token; `None` for those of its definition, and for a secret.
    pub scopes: Option<Scopes>,
}

impl Allowed {
    fn of(reach: &Reach) -> Self {
        Self {
            rule: reach.rule(),
            scopes: match reach.limit() {
                _ if !reach.requested().is_empty() => Some(reach.requested().clone()),
                ScopeLimit::Only(limit) => Some(limit.clone()),
                ScopeLimit::Definition => None,
            },
        }
    }
}

/// How one rule compares with a peer and its request. The first rule that selects the peer and allows the request decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleVerdict {
    /// Whether its selectors match the peer.
    pub selects_peer: bool,
    /// Whether it allows the request to the peers that it selects.
    pub allows: bool,
    /// What is missing, or what matched.
    pub detail: String,
}

impl Policy {
    /// Decides as a request of that peer would be decided, and says why.
    #[must_use]
    pub fn explain(
        &self,
        facts: &Facts,
        action: Action,
        name: &str,
        scopes: &Scopes,
    ) -> Explanation {
        let rights = self.rights(facts);
        let decision = match action {
            Action::Token => rights
                .token(name, scopes)
                .map(|permit| Allowed::of(permit.reach())),
            Action::Revoke => rights
                .revocation(name, scopes)
                .map(|permit| Allowed::of(permit.reach())),
            Action::Secret => rights.secret(name).map(|permit| Allowed {
                rule: permit.rule(),
                scopes: None,
            }),
        };
        let request = Request {
            action,
            name,
            scopes,
        };
        Explanation {
            decision,
            rules: self
                .rules()
                .iter()
                .map(|rule| request.verdict(rule, facts))
                .collect(),
        }
    }
}

/// What the request asks for.
struct Request<'a> {
    action: Action,
    name: &'a str,
    scopes: &'a Scopes,
}

impl Request<'_> {
    fn verdict(&self, rule: &Rule, facts: &Facts) -> RuleVerdict {
        let selector = &rule.selector;
        let others: Vec<String> = selector
            .mismatches(facts)
            .map(|mismatch| describe(selector, facts, mismatch))
            .collect();
        let missing = self.missing(rule);
        let detail = match (others.is_empty(), &missing) {
            (true, None) => format!(
                "selects the peer by {} and allows {}",
                selectors(selector),
                self.allowed(rule)
            ),
            (true, Some(missing)) => {
                format!("selects the peer by {}, but {missing}", selectors(selector))
            }
            (false, None) => format!(
                "would allow {}, but {}",
                self.allowed(rule),
                others.join("; ")
            ),
            (false, Some(missing)) => format!("{}; besides, {missing}", others.join("; ")),
        };
        RuleVerdict {
            selects_peer: others.is_empty(),
            allows: missing.is_none(),
            detail,
        }
    }

    /// What the rule lacks to allow the request.
    fn missing(&self, rule: &Rule) -> Option<String> {
        let names = rule.names(self.action);
        if !names.iter().any(|name| **name == *self.name) {
            return Some(self.missing_name(rule));
        }
        match rule.limit(self.action) {
            ScopeLimit::Only(limit) if !limit.covers(self.scopes) => {
                let lacking: Vec<&str> = self
                    .scopes
                    .iter()
                    .filter(|scope| !limit.contains(scope))
                    .collect();
                Some(format!(
                    "it does not allow the scopes \"{}\" of {} {:?}",
                    lacking.join(" "),
                    self.action.subject(),
                    self.name
                ))
            }
            ScopeLimit::Only(_) | ScopeLimit::Definition => None,
        }
    }

    fn missing_name(&self, rule: &Rule) -> String {
        let subject = self.action.subject();
        let near = rule
            .names(self.action)
            .iter()
            .find_map(|name| Some((name, near_miss(name, self.name)?)))
            .map(|(name, why)| format!(" (it names {name:?}: {why})"));
        let other = match self.action {
            Action::Token | Action::Revoke => Action::Secret,
            Action::Secret => Action::Token,
        };
        let namesake = rule
            .names(other)
            .iter()
            .any(|name| **name == *self.name)
            .then(|| format!(" (it names a {} of that name)", other.subject()));
        format!(
            "it names no {subject} {:?}{}{}",
            self.name,
            near.unwrap_or_default(),
            namesake.unwrap_or_default()
        )
    }

    fn allowed(&self, rule: &Rule) -> String {
        let action = match self.action {
            Action::Token | Action::Secret => "",
            Action::Revoke => "revoking ",
        };
        let limit = match (self.action, rule.limit(self.action)) {
            (Action::Secret, _) => String::new(),
            (_, ScopeLimit::Definition) => " with every scope of its definition".to_owned(),
            (_, ScopeLimit::Only(limit)) => format!(" with the scopes \"{limit}\""),
        };
        format!("{action}{} {:?}{limit}", self.action.subject(), self.name)
    }
}

/// The selectors of a rule, as words.
fn selectors(selector: &Selector) -> String {
    let Selector {
        user,
        group,
        unit,
        container,
        executable,
    } = selector;
    let words = [
        user.map(|user| format!("user {user}")),
        group.map(|group| format!("group {group}")),
        unit.as_ref().map(|unit| format!("unit {unit:?}")),
        container.as_ref().map(|id| format!("container {id:?}")),
        executable
            .as_ref()
            .map(|path| format!("executable {:?}", path.to_string_lossy())),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// One mismatch, with both sides and a hint.
fn describe(selector: &Selector, facts: &Facts, mismatch: Mismatch) -> String {
    let cgroup = facts.cgroup.as_ref();
    let place = |kind: &str, wanted: Option<&String>, actual: Option<&String>| {
        let wanted = wanted.map_or("", String::as_str);
        match (cgroup, actual) {
            (None, _) => format!(
                "the rule is for {kind} {wanted:?}, and the kernel cannot tell where the peer runs"
            ),
            (Some(_), None) => {
                format!("the rule is for {kind} {wanted:?}, and the peer runs in no {kind}")
            }
            (Some(_), Some(actual)) => format!(
                "the rule is for {kind} {wanted:?}, and the peer runs in {actual:?}{}",
                near_miss(wanted, actual).map_or(String::new(), |why| format!(" ({why})"))
            ),
        }
    };
    match mismatch {
        Mismatch::NothingPrimary => {
            "it names no user, group, unit or container, and an executable alone selects no peer"
                .to_owned()
        }
        Mismatch::User => format!(
            "the rule is for user {}, and the peer runs as {}",
            selector.user.unwrap_or_default(),
            facts.uid
        ),
        Mismatch::Group => format!(
            "the rule is for group {}, which the peer is not in",
            selector.group.unwrap_or_default()
        ),
        Mismatch::Unit => place(
            "unit",
            selector.unit.as_ref(),
            cgroup.and_then(|cgroup| cgroup.unit.as_ref()),
        ),
        Mismatch::Container => place(
            "container",
            selector.container.as_ref(),
            cgroup.and_then(|cgroup| cgroup.container.as_ref()),
        ),
        Mismatch::InsideContainer => format!("{mismatch}: name its container or unit"),
        Mismatch::Executable => {
            describe_executable(selector.executable.as_deref(), facts.executable.as_deref())
        }
    }
}

fn describe_executable(wanted: Option<&Path>, actual: Option<&Path>) -> String {
    let wanted = wanted.map(Path::to_string_lossy).unwrap_or_default();
    match actual.map(Path::to_string_lossy) {
        Some(actual) => {
            format!("the rule is for executable {wanted:?}, and the peer runs {actual:?}")
        }
        None => {
            format!("the rule is for executable {wanted:?}, and that of the peer could not be read")
        }
    }
}

/// What makes `actual` look like `wanted` although it is another name.
pub(crate) fn near_miss(wanted: &str, actual: &str) -> Option<&'static str> {
    if wanted.eq_ignore_ascii_case(actual) {
        return Some("the case differs");
    }
    if wanted.trim() == actual.trim() {
        return Some("white space differs");
    }
    let suffix = |short: &str, long: &str| long.strip_suffix(".service") == Some(short);
    if suffix(wanted, actual) || suffix(actual, wanted) {
        return Some("`.service` is part of a unit's name");
    }
    let shorter = wanted.len().min(actual.len());
    if shorter > 0 && (actual.starts_with(wanted) || wanted.starts_with(actual)) {
        return Some("names are compared whole, not by their beginning");
    }
    let comparable = shorter > 2 * CLOSE && wanted.len().abs_diff(actual.len()) <= CLOSE;
    (comparable && strsim::levenshtein(wanted, actual) <= CLOSE).then_some("a typing mistake?")
}
