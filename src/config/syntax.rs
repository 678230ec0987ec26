//! Syntax errors.
//!
//! Owns the translation of the parser's errors. Their texts quote the file, which may hold a misplaced secret, so only the
//! position and a fault from a closed list are reported. The parser distinguishes its errors only by their texts, which a
//! patch release may change; so a fault with an unknown text is classified by what precedes it in its line.

use std::ops::Range;

use toml::de::Error;

use crate::config::report::{Place, Report};

/// What can be wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Duplicate,
    Unquoted,
    OpenString,
    LoneKey,
    NoValue,
    Array,
    InlineTable,
    Header,
    Value,
    Unknown,
}

impl Fault {
    fn as_str(self) -> &'static str {
        match self {
            Self::Duplicate => "the key is given twice",
            Self::Unquoted => "a text needs quotes",
            Self::OpenString => "a string is not closed, or has a character that needs an escape",
            Self::LoneKey => "a key without `= value`",
            Self::NoValue => "a value is missing",
            Self::Array => "an array lacks a `,` or the `]` at its end",
            Self::InlineTable => "an inline table lacks a `,` or the `}` at its end",
            Self::Header => "the name of a table is not closed by `]`",
            Self::Value => "not a value; a text needs quotes",
            Self::Unknown => "not valid TOML",
        }
    }
}

/// How the parser's descriptions begin. If one is unknown, the place decides.
const DESCRIPTIONS: [(&str, Fault); 12] = [
    ("duplicate key", Fault::Duplicate),
    ("invalid basic string", Fault::OpenString),
    ("invalid literal string", Fault::OpenString),
    ("missing opening quote", Fault::Unquoted),
    ("key with no value", Fault::LoneKey),
    ("missing value", Fault::NoValue),
    ("missing comma between array elements", Fault::Array),
    ("unclosed array table", Fault::Header),
    ("unclosed array", Fault::Array),
    ("missing comma between key-value pairs", Fault::InlineTable),
    ("unclosed inline table", Fault::InlineTable),
    ("unclosed table", Fault::Header),
];

/// Reports `errors` of `text`, and returns whether the rest of the file can still be read.
pub(super) fn note(report: &Report, text: &str, errors: &[Error]) -> bool {
    let mut readable = true;
    for error in errors {
        let span = error.span();
        let fault = by_description(error.message())
            .or_else(|| by_place(text, span.as_ref()?))
            .unwrap_or(Fault::Unknown);
        readable &= fault == Fault::Duplicate;
        let position = span.map(|span| report.position(&span));
        let place = Place {
            path: String::new(),
            line: position.map(|(line, _)| line),
        };
        let column = position.map_or_else(String::new, |(_, column)| format!("column {column}: "));
        report.problem(&place, format!("{column}{}", fault.as_str()));
    }
    readable
}

fn by_description(description: &str) -> Option<Fault> {
    DESCRIPTIONS
        .iter()
        .find(|(beginning, _)| description.starts_with(beginning))
        .map(|(_, fault)| *fault)
}

/// The fault at `span`, by what surrounds it in its line. `None` if the span is not within the text.
fn by_place(text: &str, span: &Range<usize>) -> Option<Fault> {
    let before = text.get(..span.start)?;
    let before = before.rsplit('\n').next().unwrap_or(before).trim_start();
    let (at, after) = (text.get(span.clone())?, text.get(span.end..)?);
    let rest = text.get(span.start..)?.lines().next().unwrap_or_default();
    if is_whole_key(before, at, after) {
        return Some(Fault::Duplicate);
    }
    let Some((_, value)) = before.split_once('=') else {
        return Some(if before.starts_with('[') {
            Fault::Header
        } else {
            Fault::LoneKey
        });
    };
    let value = value.trim_start();
    let quotes = value.matches(['"', '\'']).count();
    Some(if !quotes.is_multiple_of(2) {
        Fault::OpenString
    } else if value.starts_with('[') {
        Fault::Array
    } else if value.starts_with('{') {
        Fault::InlineTable
    } else if value.is_empty() && rest.trim().is_empty() {
        Fault::NoValue
    } else if value.is_empty() && rest.starts_with(char::is_alphabetic) {
        Fault::Unquoted
    } else {
        Fault::Value
    })
}

/// Whether `at` is a valid key in the place of a key: then it can only be a duplicate.
fn is_whole_key(before: &str, at: &str, after: &str) -> bool {
    let is_key = |byte: u8| byte.is_ascii_alphanumeric() || b"_-\"'".contains(&byte);
    let in_header = before.starts_with('[') && !before.contains(['=', ',']);
    let follows = match before.trim_end().chars().next_back() {
        None | Some('.' | '{' | ',') => true,
        Some('[') => in_header,
        Some(_) => false,
    };
    let precedes = match after.trim_start_matches(' ').chars().next() {
        Some('=' | '.') => true,
        Some(']') => in_header,
        Some(_) | None => false,
    };
    !at.is_empty() && at.bytes().all(is_key) && follows && precedes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use toml::de::DeTable;

    use super::*;

    /// Texts with one fault each, the fault, and the fault if the parser's text is unknown.
    const FAULTS: [(&str, Fault, Fault); 22] = [
        ("m = 1\nm = 2", Fault::Duplicate, Fault::Duplicate),
        ("[a]\n[a]", Fault::Duplicate, Fault::Duplicate),
        ("[a.b]\n[a.b]", Fault::Duplicate, Fault::Duplicate),
        ("a = { b = 1, b = 2 }", Fault::Duplicate, Fault::Duplicate),
        ("a.b = 1\na.b.c = 2", Fault::Duplicate, Fault::Duplicate),
        ("m = production", Fault::Unquoted, Fault::Unquoted),
        ("m = production\"", Fault::Unquoted, Fault::Unquoted),
        ("m = a b", Fault::Unquoted, Fault::Unquoted),
        ("m = \"production", Fault::OpenString, Fault::OpenString),
        (
            "m = 'production\nn = 1",
            Fault::OpenString,
            Fault::OpenString,
        ),
        ("m = \"\\q\"", Fault::OpenString, Fault::OpenString),
        ("m = \"\"\"x", Fault::OpenString, Fault::OpenString),
        ("m", Fault::LoneKey, Fault::LoneKey),
        ("export A=1", Fault::LoneKey, Fault::LoneKey),
        ("m =", Fault::NoValue, Fault::NoValue),
        ("m =\nn = 1", Fault::NoValue, Fault::NoValue),
        ("m = [1, 2", Fault::Array, Fault::Array),
        ("m = [read]", Fault::Array, Fault::Array),
        ("m = { n = 1", Fault::InlineTable, Fault::InlineTable),
        ("[server", Fault::Header, Fault::Header),
        ("[[allow]\nn = 1", Fault::Header, Fault::Header),
        ("m = 01", Fault::Value, Fault::Value),
    ];

    #[test]
    fn faults_are_told_apart_whatever_words_the_parser_has_for_them() {
        for (text, fault, by_its_place) in FAULTS {
            let (_, errors) = DeTable::parse_recoverable(text);
            let error = errors.first().unwrap_or_else(|| panic!("{text:?}"));
            let span = error.span().unwrap();
            let place = by_place(text, &span);
            assert_eq!(
                by_description(error.message()).or(place),
                Some(fault),
                "{text:?}"
            );
            assert_eq!(place, Some(by_its_place), "{text:?}");
        }
        let texts: BTreeSet<_> = FAULTS.iter().map(|row| row.2.as_str()).collect();
        assert!(texts.len() >= 8, "{texts:?}");
    }

    #[test]
    fn a_value_that_looks_like_a_key_is_no_key_given_twice() {
        for text in ["scopes = [read]", "a = [x, y]", "a = { b = c }", "a = x.y"] {
            let (_, errors) = DeTable::parse_recoverable(text);
            let span = errors[0].span().unwrap();
            assert_ne!(by_place(text, &span), Some(Fault::Duplicate), "{text}");
        }
    }
}
