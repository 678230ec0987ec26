//! Faults of the text before it has a meaning.
//!
//! Owns the translation of the parser's errors. Their own words quote the file, which may hold a misplaced secret, so only
//! the position and a kind from a closed list get through.

use toml::de::Error;

use crate::config::report::{Place, Report};

const DUPLICATE: &str = "duplicate key";

/// The parser's descriptions that are worth telling apart, and what is said for them.
const KINDS: [(&str, &str); 9] = [
    (DUPLICATE, "the key is given twice"),
    (
        "string values must be quoted",
        "a text must stand in quotes",
    ),
    (
        "invalid basic string",
        "a string is not closed, or has a character that needs an escape",
    ),
    ("missing opening quote", "a string is not opened"),
    ("key with no value", "a key without `= value`"),
    ("missing value", "a value is missing"),
    ("unclosed array", "a `[` is not closed"),
    ("unclosed inline table", "a `{` is not closed"),
    ("unclosed table", "the name of a table is not closed by `]`"),
];

/// Notes `errors`, and tells whether the rest of the file can still be understood.
pub(super) fn note(report: &Report, errors: &[Error]) -> bool {
    for error in errors {
        let kind = KINDS
            .iter()
            .find(|(description, _)| error.message().starts_with(description))
            .map_or("not valid TOML", |(_, kind)| *kind);
        let (line, column) = match error.span() {
            Some(span) => {
                let (line, column) = report.position(&span);
                (Some(line), format!("column {column}: "))
            }
            None => (None, String::new()),
        };
        let place = Place {
            path: String::new(),
            line,
        };
        report.problem(&place, format!("{column}{kind}"));
    }
    errors
        .iter()
        .all(|error| error.message().starts_with(DUPLICATE))
}
