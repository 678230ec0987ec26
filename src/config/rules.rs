//! The sections `[[allow]]`: rules.
//!
//! Owns the check that a rule selects peers and allows something. `policy` evaluates rules.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::names::Declared;
use crate::config::reader::Section;
use crate::config::{Context, accounts, tokens};
use claviger_core::peer::is_overflow;
use claviger_core::policy::{Rule, ScopeLimit, Selector};
use claviger_oauth::TokenSettings;
use claviger_oauth_wire::Scopes;

/// The longest name of a systemd unit.
const LONGEST_UNIT: usize = 255;
const LONGEST_CONTAINER: usize = 128;

/// The length to which tools abbreviate container ids.
const SHORT_CONTAINER: usize = 12;

/// The kinds of units that have processes.
const UNIT_SUFFIXES: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];

/// Reads every `[[allow]]`.
pub(super) fn read(
    context: &Context<'_>,
    root: &Section<'_>,
    defined: &[TokenSettings],
) -> Vec<Rule> {
    root.tables("allow", |section| rule(context, section, defined))
}

fn rule(context: &Context<'_>, section: &Section<'_>, defined: &[TokenSettings]) -> Rule {
    let selector = Selector {
        user: user(context, section),
        group: accounts::group(context, section, "group"),
        unit: unit(section),
        container: container(section),
        executable: executable(section),
    };
    warn_of_no_match(section, &selector);
    section.unsupported(&["pod", "sha256", "keys"]);
    let primary = ["user", "group", "unit", "container"];
    if !primary.iter().any(|key| section.has(key)) {
        let message = if section.has("exe") {
            "an executable only narrows a rule: a process can connect, leave the connection to its child and \
             execute the allowed program; add unit, container, user or group"
        } else {
            "a rule must select peers: add unit, container, user or group"
        };
        context.report.problem(&section.place, message);
    }
    let tokens = subjects(context, section, "tokens", &context.tokens);
    let secrets = subjects(context, section, "secrets", &context.secrets);
    if !section.has("tokens") && !section.has("secrets") && !section.has("keys") {
        let message = "a rule must allow something: add tokens or secrets";
        context.report.problem(&section.place, message);
    }
    let scopes = limit(context, section, &tokens, defined);
    Rule {
        selector,
        tokens,
        scopes,
        secrets,
    }
}

/// Warns of selectors that are valid and match no process, or only those of the daemon's user.
fn warn_of_no_match(section: &Section<'_>, selector: &Selector) {
    let of_session = |unit: &String| {
        let scope = unit.strip_suffix(".scope");
        unit.starts_with("user@") || scope.is_some_and(|stem| stem.starts_with("session-"))
    };
    if selector.unit.as_ref().is_some_and(of_session) {
        let message = "never matches: what runs in a user's session or user manager belongs to no unit of the system; \
             select it by user";
        section.report.warning(&section.place_at("unit"), message);
    }
    let own = rustix::process::geteuid().as_raw();
    if selector.executable.is_some() && selector.user != Some(own) {
        let message = "the kernel shows the daemon, which has no capabilities, only the executables of its own user; \
             the rule matches no process of another one";
        section.report.warning(&section.place_at("exe"), message);
    }
}

fn subjects(
    context: &Context<'_>,
    section: &Section<'_>,
    key: &'static str,
    declared: &Declared<'_>,
) -> Vec<Arc<str>> {
    let Some(texts) = section.texts(key) else {
        return Vec::new();
    };
    if texts.is_empty() {
        let message =
            "an empty list allows nothing; name what the rule allows, or leave the key out";
        context.report.problem(&section.place_at(key), message);
    }
    texts
        .iter()
        .filter_map(|found| declared.resolve(context.report, found))
        .collect()
}

fn limit(
    context: &Context<'_>,
    section: &Section<'_>,
    tokens: &[Arc<str>],
    defined: &[TokenSettings],
) -> ScopeLimit {
    let Some(scopes) = tokens::scopes(context, section) else {
        return ScopeLimit::Definition;
    };
    let place = section.place_at("scopes");
    if scopes.is_empty() {
        let message = "an empty list allows no scope; leave the key out to allow those of the token's definition";
        context.report.problem(&place, message);
    } else if !section.has("tokens") {
        let message = "scopes limit tokens, and this rule names none";
        context.report.problem(&place, message);
    }
    let definitions: Vec<_> = tokens
        .iter()
        .filter_map(|token| defined.iter().find(|settings| settings.name == *token))
        .collect();
    warn_beyond_definition(section, &scopes, &definitions);
    ScopeLimit::Only(scopes)
}

/// A rule cannot grant a scope that the token's definition does not have.
fn warn_beyond_definition(section: &Section<'_>, scopes: &Scopes, definitions: &[&TokenSettings]) {
    for definition in definitions {
        if !definition.scopes.is_empty() && !definition.scopes.covers(scopes) {
            let token = &definition.name;
            let message = format!("allows scopes that the token \"{token}\" does not have");
            section.report.warning(&section.place_at("scopes"), message);
        }
    }
}

fn user(context: &Context<'_>, section: &Section<'_>) -> Option<u32> {
    let user = accounts::user(context, section, "user")?;
    if is_overflow(user) {
        let message = "claviger refuses every process of this user, because the kernel reports it for processes of \
             users that it cannot name; give the program a user of its own";
        context.report.problem(&section.place_at("user"), message);
    }
    Some(user)
}

fn unit(section: &Section<'_>) -> Option<String> {
    let found = section.text("unit")?;
    let stem = UNIT_SUFFIXES
        .iter()
        .find_map(|suffix| found.value.strip_suffix(suffix));
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let message = match stem {
        None => "expected the whole name of a unit that has processes, such as billing.service",
        Some(stem) if stem.is_empty() || stem.ends_with('@') => {
            "a template has no processes; name its instance, such as billing@1.service"
        }
        Some(_) if found.value.len() > LONGEST_UNIT || !found.value.bytes().all(allowed) => {
            "not a unit's name; names are compared whole, there are no patterns"
        }
        Some(_) => return Some(found.value.to_owned()),
    };
    section.report.problem(&found.place, message);
    None
}

fn container(section: &Section<'_>) -> Option<String> {
    let found = section.text("container")?;
    let id = found.value;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let hexadecimal = id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let message = if id.is_empty() || id.len() > LONGEST_CONTAINER || !id.bytes().all(allowed) {
        "expected a container's id; ids are compared whole, there are no patterns"
    } else if id.len() == SHORT_CONTAINER && hexadecimal {
        "expected the whole id of the container, not its first 12 characters"
    } else {
        return Some(id.to_owned());
    };
    section.report.problem(&found.place, message);
    None
}

fn executable(section: &Section<'_>) -> Option<PathBuf> {
    section.path("exe").map(|found| found.value)
}
