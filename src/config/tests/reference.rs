//! docs/configuration.md, compared with what the readers know: every key, default and bound.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{COMPLETE, parse};
use crate::config::Problem;

const REFERENCE: &str = include_str!("../../../docs/configuration.md");

/// The least that a configuration with one of everything has.
const LEAST: &str = r#"
[backends.NAME]
type = "file"
directory = "/var/lib/c/secrets"
key_file = "/etc/c/key"
[issuers.NAME]
issuer = "https://auth.example.com"
[clients.NAME]
issuer = "n"
id = "n:oauth#id"
auth.method = "client_secret_basic"
auth.secret = "n:oauth#secret"
[tokens.NAME]
client = "n"
grant = "client_credentials"
resource = "https://api.example.com"
[secrets.NAME]
reference = "n:password"
"#;

/// Sections whose keys stand in tables with a name.
const NAMED: [&str; 5] = ["backends", "issuers", "clients", "tokens", "secrets"];

/// The rows of the reference: the key, and its description.
fn rows() -> BTreeMap<&'static str, &'static str> {
    REFERENCE
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split_once("` |"))
        .filter(|(key, _)| !key.contains([':', '-', '"', '/', '`']))
        .filter(|(key, _)| !key.starts_with(char::is_numeric))
        .collect()
}

/// A key with the names of definitions left open.
fn general(key: &str) -> String {
    let mut parts: Vec<&str> = key.split('.').collect();
    if let [section, name, ..] = parts.as_mut_slice()
        && NAMED.contains(section)
    {
        *name = "NAME";
    }
    parts.join(".").replace("[1]", "").replace("[2]", "")
}

/// A key like no other.
const FOREIGN: &str = "zzzzzzzz";

/// The only problem of a text.
fn problem(text: &str) -> Problem {
    let problems = parse(text).unwrap_err();
    let [problem] = problems.list() else {
        panic!("{problems}\n{text}")
    };
    problem.clone()
}

/// Every key that the readers take: what they say of each table of the complete file when it has a key that they do not know.
fn taken() -> BTreeSet<String> {
    let lines: Vec<&str> = COMPLETE.lines().collect();
    let tables = (0..lines.len()).filter(|line| lines[*line].contains(['[', '{'].as_slice()));
    let mut texts = vec![format!("{FOREIGN} = 1\n{COMPLETE}")];
    for table in tables {
        let line = lines[table];
        let with = if line.starts_with('[') {
            format!("{line}\n{FOREIGN} = 1")
        } else if line.contains('{') {
            line.replace("{ ", &format!("{{ {FOREIGN} = 1, "))
        } else {
            continue;
        };
        let mut changed = lines.clone();
        changed[table] = &with;
        texts.push(changed.join("\n"));
    }
    let mut keys = BTreeSet::new();
    for text in texts {
        let problem = problem(&text);
        let table = problem.path.strip_suffix(FOREIGN).unwrap();
        let known = problem
            .message
            .strip_prefix("unknown key; this table takes: ");
        let known = known.unwrap_or_else(|| panic!("{problem}"));
        keys.extend(
            known
                .split(", ")
                .map(|key| general(&format!("{table}{key}"))),
        );
    }
    keys
}

/// The bounds of every number and duration of the complete file: what the readers say of values beyond them.
fn bounds() -> BTreeMap<String, String> {
    let mut bounds = BTreeMap::new();
    for (number, line) in COMPLETE.lines().enumerate() {
        let Some((key, value)) = line.split_once(" = ") else {
            continue;
        };
        let digit = |text: &str| text.starts_with(|letter: char| letter.is_ascii_digit());
        let beyond = if digit(value) {
            "-1"
        } else if value.strip_prefix('"').is_some_and(digit) {
            "\"99999999d\""
        } else {
            continue;
        };
        let mut lines: Vec<&str> = COMPLETE.lines().collect();
        let beyond = format!("{key} = {beyond}");
        lines[number] = &beyond;
        let problems = parse(&lines.join("\n")).unwrap_err();
        let said = problems.list().iter().find_map(|problem| {
            let between = problem.message.strip_prefix("must be between ")?;
            Some((general(&problem.path), between.replace(" and ", " to ")))
        });
        bounds.extend(said);
    }
    bounds
}

#[test]
fn the_reference_has_every_key_and_no_other() {
    let documented: BTreeSet<String> = rows().into_keys().map(str::to_owned).collect();
    let tables = ["server", "server.limits", "log", "refresh", "peer", "allow"];
    let undocumented = tables.into_iter().chain(NAMED).map(str::to_owned).collect();
    let keys: BTreeSet<String> = taken().difference(&undocumented).cloned().collect();
    assert_eq!(keys, documented);
}

#[test]
fn the_reference_has_every_bound() {
    let rows = rows();
    let bounds = bounds();
    assert!(bounds.len() > 20, "{bounds:?}");
    for (key, bound) in bounds {
        let mut row = rows[key.as_str()];
        // "As `refresh.interval`."
        if let Some(other) = row.split("As `").nth(1) {
            row = rows[other.split('`').next().unwrap()];
        }
        // The upper one is another key.
        let bound = match key.as_str() {
            "server.limits.connections_per_uid" => "1 to `connections`",
            "server.limits.open_requests_per_uid" => "1 to `open_requests`",
            _ => bound.as_str(),
        };
        let words = [
            format!(" {bound}."),
            format!(" {bound} |"),
            format!(" {bound},"),
        ];
        assert!(
            words.iter().any(|word| row.contains(word)),
            "{key} is {bound}, and the reference says: {row}"
        );
    }
}

#[test]
fn a_default_of_the_reference_changes_nothing() {
    let least = LEAST.replace("NAME", "n");
    let without = essence(&least);
    let mut compared = 0;
    for (key, row) in rows() {
        let default = row.split('|').next().unwrap().trim();
        let literal = default
            .strip_prefix('`')
            .and_then(|text| text.strip_suffix('`'));
        let Some(literal) = literal.filter(|literal| !literal.contains('`')) else {
            continue;
        };
        // A path that depends on another key.
        if key == "server.admin_socket" || literal.contains("refresh.") {
            continue;
        }
        let text = match key.split_once(".NAME.") {
            Some((section, key)) => {
                let header = format!("[{section}.n]\n");
                least.replace(&header, &format!("{header}{key} = {literal}\n"))
            }
            None => format!("{key} = {literal}\n{least}"),
        };
        assert_ne!(text, least, "{key}");
        assert_eq!(essence(&text), without, "{key} = {literal}");
        compared += 1;
    }
    assert!(compared > 25, "{compared}");
    let other = format!("server.limits.streams = 65\n{least}");
    assert_ne!(essence(&other), without, "control");
}

/// Every value of a configuration.
fn essence(text: &str) -> String {
    let config = parse(text).unwrap_or_else(|problems| panic!("{problems}: {text}"));
    assert_eq!(config.origin, Path::new("claviger.toml"));
    format!(
        "{:?}",
        (
            (
                config.mode,
                config.require_backend_at_start,
                config.drain_grace
            ),
            (config.log, config.server, config.budget),
            (config.peer, config.refresh),
            (config.backends, config.issuers, config.clients),
            (config.tokens, config.secrets, config.rules),
        )
    )
}
