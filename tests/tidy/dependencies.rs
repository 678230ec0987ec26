//! The crates that the workspace links on this machine with every feature, and their sources.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use super::source::root;

/// Crates that must not be linked, and the replacement or reason.
const BANNED: [(&str, &str); 7] = [
    ("ring", "aws-lc-rs is the cryptography"),
    ("openssl", "rustls is the TLS stack"),
    ("openssl-sys", "rustls is the TLS stack"),
    ("native-tls", "rustls is the TLS stack"),
    ("boring-sys", "rustls is the TLS stack"),
    (
        "rsa",
        "its private-key operations leak timing (RUSTSEC-2023-0071)",
    ),
    (
        "backoff",
        "unmaintained; waiting is the business of each component",
    ),
];

/// Crates that must be linked only once: a second version is a second TLS or HTTP stack.
const SINGLE: [&str; 12] = [
    "aws-lc-rs",
    "aws-lc-sys",
    "claviger-backend",
    "h2",
    "http",
    "hyper",
    "hyper-util",
    "reqwest",
    "rustls",
    "tokio",
    "tonic",
    "zeroize",
];

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The allowed dependencies between crates of the workspace, outside tests.
const DIRECTIONS: [(&str, &[&str]); 11] = [
    ("claviger-proto", &[]),
    ("claviger-backend", &[]),
    ("claviger-backend-conformance", &["claviger-backend"]),
    ("claviger-kernel", &[]),
    ("claviger-runtime", &[]),
    ("claviger-oauth-wire", &["claviger-backend"]),
    (
        "claviger-outbound",
        &["claviger-kernel", "claviger-runtime"],
    ),
    ("claviger-demo", &["claviger-backend"]),
    (
        "claviger-core",
        &[
            "claviger-backend",
            "claviger-kernel",
            "claviger-oauth-wire",
            "claviger-runtime",
        ],
    ),
    (
        "claviger-oauth",
        &[
            "claviger-backend",
            "claviger-core",
            "claviger-oauth-wire",
            "claviger-outbound",
            "claviger-runtime",
        ],
    ),
    (
        "claviger-server",
        &[
            "claviger-core",
            "claviger-kernel",
            "claviger-oauth-wire",
            "claviger-proto",
            "claviger-runtime",
        ],
    ),
];

/// Crates that neither the request path nor its tests may link.
const NETWORK: [&str; 4] = ["reqwest", "hickory-resolver", "hyper", "tonic"];

/// The crates that are linked, one `name vVERSION …` per line, without touching the network.
pub fn tree() -> String {
    let edges = "normal,build,dev";
    cargo(&[
        "tree",
        "--workspace",
        "--all-features",
        "--edges",
        edges,
        "--prefix",
        "none",
        "--locked",
        "--offline",
    ])
}

/// `cargo metadata` of the workspace's own crates.
pub fn members() -> Value {
    let text = cargo(&[
        "metadata",
        "--format-version=1",
        "--no-deps",
        "--locked",
        "--offline",
    ]);
    serde_json::from_str(&text).expect("cargo writes JSON")
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

/// Every banned crate and every crate linked in several versions in a tree.
pub fn faults(tree: &str) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in tree.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            versions.entry(name).or_default().insert(version);
        }
    }
    let mut faults = Vec::new();
    for (name, instead) in BANNED {
        if versions.contains_key(name) {
            faults.push(format!(
                "{name} is linked: {instead} (`cargo tree --workspace --all-features -i {name}` lists its dependents)"
            ));
        }
    }
    for name in SINGLE {
        match versions.get(name) {
            Some(found) if found.len() > 1 => {
                faults.push(format!(
                    "{name} is linked in {} versions: {found:?}",
                    found.len()
                ));
            }
            _ => {}
        }
    }
    faults
}

/// The crates that the tests of `package` link, one per line.
pub fn links_of(package: &str) -> String {
    cargo(&[
        "tree",
        "--package",
        package,
        "--edges",
        "normal,dev",
        "--prefix",
        "none",
        "--locked",
        "--offline",
    ])
}

/// Every network client in a tree.
pub fn network_clients(tree: &str) -> Vec<String> {
    tree.lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| NETWORK.contains(name) || name.starts_with("aws-sdk-"))
        .map(|name| format!("{name} is linked"))
        .collect()
}

/// Every package of a lock file that is neither ours nor from crates.io.
pub fn foreign_sources(lock: &str) -> Vec<String> {
    lock.lines()
        .filter_map(|line| line.strip_prefix("source = "))
        .filter(|source| source.trim_matches('"') != REGISTRY)
        .map(|source| format!("Cargo.lock: {source} is not crates.io"))
        .collect()
}

/// The crates that are linked with their licenses, one `LICENSE | name vVERSION …` per line.
pub fn licenses() -> String {
    let format = "{l} | {p}";
    cargo(&[
        "tree",
        "--workspace",
        "--all-features",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        format,
        "--locked",
        "--offline",
    ])
}

/// The licenses that `deny.toml` allows.
pub fn allowed_licenses(deny: &str) -> Vec<String> {
    let deny: toml::Table = toml::from_str(deny).expect("deny.toml is TOML");
    let allow = deny["licenses"]["allow"]
        .as_array()
        .expect("it lists licenses");
    allow
        .iter()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect()
}

/// Every crate of a tree whose license is not allowed.
pub fn foreign_licenses(tree: &str, allowed: &[String]) -> Vec<String> {
    let lines: BTreeSet<_> = tree
        .lines()
        .filter_map(|line| line.split_once(" | "))
        .collect();
    lines
        .iter()
        .filter(|(license, _)| !satisfied(license, allowed))
        .map(|(license, name)| format!("{name}: `{license}` is not allowed by deny.toml"))
        .collect()
}

/// Whether an SPDX expression can be satisfied. `/` is the old way of writing `OR`.
fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<_> = spaced.split_whitespace().collect();
    let mut at = 0;
    let met = any(&words, &mut at, allowed);
    met && at == words.len()
}

fn any(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = all(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all(words, at, allowed);
    }
    met
}

fn all(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at, allowed);
    }
    met
}

fn one(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let Some(word) = words.get(*at) else {
        return false;
    };
    *at += 1;
    if *word == "(" {
        let met = any(words, at, allowed);
        *at += 1;
        return met;
    }
    let mut name = (*word).to_owned();
    if words.get(*at) == Some(&"WITH") {
        name = format!(
            "{name} WITH {}",
            words.get(*at + 1).copied().unwrap_or_default()
        );
        *at += 2;
    }
    allowed.contains(&name)
}

/// Every dependency between crates of the workspace that goes the wrong way.
pub fn wrong_directions(metadata: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    for package in array(metadata, "packages")
        .iter()
        .filter(|package| text(package, "source").is_empty())
    {
        let name = text(package, "name");
        let listed = DIRECTIONS
            .iter()
            .find(|(own, _)| *own == name)
            .map(|(_, allowed)| *allowed);
        let allowed = match listed {
            Some(allowed) => allowed,
            None if name.starts_with("claviger-backend-") => &["claviger-backend"],
            None => continue,
        };
        for dependency in array(package, "dependencies") {
            let other = text(dependency, "name");
            if other.starts_with("claviger")
                && text(dependency, "kind") != "dev"
                && !allowed.contains(&other)
            {
                faults.push(format!(
                    "{name} depends on {other}: it may depend on {allowed:?} only"
                ));
            }
        }
    }
    faults
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}
