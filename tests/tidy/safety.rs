//! No panics, no stray `unsafe`, no stray plaintext.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Kind, Source};

/// Methods and macros that panic.
const METHODS: [&str; 4] = ["unwrap", "expect", "unwrap_err", "expect_err"];
const MACROS: [&str; 4] = ["panic", "unreachable", "todo", "unimplemented"];
/// Lints against panics, which production code must not disable.
const LINTS: [&str; 8] = [
    "unwrap_used",
    "expect_used",
    "panic",
    "unreachable",
    "todo",
    "unimplemented",
    "indexing_slicing",
    "string_slice",
];
/// The methods that expose the plaintext of a secret.
const EXPOSE: [&str; 2] = ["expose", "expose_secret"];

/// Every panic in production code, and every disabled lint against panics.
pub fn panics(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        for (index, token) in source
            .tokens
            .iter()
            .enumerate()
            .filter(|(_, token)| token.kind == Kind::Word)
        {
            let word = token.text.as_str();
            let called = follows(source, index, &["."]) && source.matches(index + 1, &["("]);
            let is_method =
                METHODS.contains(&word) && (called || follows(source, index, &[":", ":"]));
            let is_macro = MACROS.contains(&word) && source.matches(index + 1, &["!"]);
            let is_lint = LINTS.contains(&word) && follows(source, index, &["clippy", ":", ":"]);
            if is_method || is_macro {
                faults.push(format!("{}: `{word}` panics", source.at(token.line)));
            } else if is_lint {
                faults.push(format!(
                    "{}: `clippy::{word}` must stay enabled in production code",
                    source.at(token.line)
                ));
            }
        }
    }
    faults
}

/// The only crate with `unsafe`.
const KERNEL: &str = "crates/kernel/";

/// Every crate root outside the kernel crate that does not forbid `unsafe`. The compiler enforces it in each crate.
pub fn allowed_unsafe(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .filter(|source| {
            source.path.ends_with("src/lib.rs") || source.path.ends_with("src/main.rs")
        })
        .filter(|source| !source.path.starts_with(KERNEL))
        .filter(|source| !source.text.contains("#![forbid(unsafe_code)]"))
        .map(|source| format!("{}: add `#![forbid(unsafe_code)]`", source.path))
        .collect()
}

/// Files that expose plaintext without a row in the table of ARCHITECTURE.md, and rows of files that do not expose any.
pub fn unlisted_plaintext(sources: &[Source], listed: &[String]) -> Vec<String> {
    let mut exposing: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for source in sources {
        for (index, token) in source.tokens.iter().enumerate() {
            let taken = follows(source, index, &["."]) || follows(source, index, &[":", ":"]);
            if token.kind == Kind::Word && EXPOSE.contains(&token.text.as_str()) && taken {
                exposing.entry(&source.path).or_default().insert(token.line);
            }
        }
    }
    let mut faults = Vec::new();
    for (path, lines) in &exposing {
        if !listed.iter().any(|row| row == path) {
            faults.push(format!(
                "{path}: lines {lines:?} expose plaintext, but ARCHITECTURE.md, \"Where plaintext lives\", has no \
                 row for `{path}`: use the secret elsewhere, or add the row"
            ));
        }
    }
    for row in listed
        .iter()
        .filter(|row| !exposing.contains_key(row.as_str()))
    {
        faults.push(format!(
            "ARCHITECTURE.md, \"Where plaintext lives\": `{row}` exposes no secret; drop the row"
        ));
    }
    faults
}

fn follows(source: &Source, index: usize, pattern: &[&str]) -> bool {
    index
        .checked_sub(pattern.len())
        .is_some_and(|start| source.matches(start, pattern))
}
