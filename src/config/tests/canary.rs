//! A secret in the wrong place must not be repeated: not in a message, not in a warning, not in a debug print.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::{COMPLETE, SAMPLE, parse};

const CANARY: &str = "Zx9QcanaryQ7";

/// Ways in which a secret may look.
const DISGUISES: [&str; 7] = [
    "Zx9QcanaryQ7",
    "local:Zx9QcanaryQ7",
    "Zx9QcanaryQ7:local#secret",
    "local:path#Zx9QcanaryQ7 ",
    "https://user:Zx9QcanaryQ7@auth.example.com",
    "/etc/../Zx9QcanaryQ7",
    "sha256/Zx9QcanaryQ7",
];

fn strings(value: &DeValue<'_>, span: Range<usize>, found: &mut Vec<Range<usize>>) {
    match value {
        DeValue::Table(table) => walk(table, found),
        DeValue::Array(array) => {
            for item in array {
                strings(item.get_ref(), item.span(), found);
            }
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => found.push(span),
    }
}

fn walk(table: &DeTable<'_>, found: &mut Vec<Range<usize>>) {
    for (_, value) in table {
        strings(value.get_ref(), value.span(), found);
    }
}

/// The problems of a text, in every form.
fn said(text: &str) -> String {
    match parse(text) {
        Ok(config) => {
            let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
            format!("{warnings:?} {:?} {config:?}", config.warnings)
        }
        Err(problems) => format!("{problems} {problems:?}"),
    }
}

#[test]
fn no_value_is_ever_repeated() {
    for sample in [COMPLETE, SAMPLE] {
        let mut places = Vec::new();
        walk(DeTable::parse(sample).unwrap().get_ref(), &mut places);
        assert!(places.len() > 10, "found {}", places.len());
        for place in places {
            for disguise in DISGUISES {
                for literal in [format!("{disguise:?}"), disguise.to_owned()] {
                    let mut text = sample.to_owned();
                    text.replace_range(place.clone(), &literal);
                    let said = said(&text);
                    assert!(!said.contains(CANARY), "{literal} at {place:?}: {said}");
                }
            }
        }
    }
}

#[test]
fn neither_is_an_unusual_key_or_a_broken_line() {
    for text in [
        format!("\"{CANARY}+/=\" = 1"),
        format!("[\"{CANARY} \"]"),
        format!("[clients.\"{CANARY}=\"]\nissuer = 1"),
        format!("secret = {CANARY}"),
        format!("secret = \"{CANARY}\\q\""),
        format!("secret = \"{CANARY}"),
        format!("secret = '''{CANARY}"),
        format!("secret: {CANARY}"),
        format!("{{ {CANARY} }}"),
    ] {
        let said = said(&text);
        assert!(!said.contains(CANARY), "{text}: {said}");
    }
}
