//! One field of a value that is a JSON object.
//!
//! Owns the reading and setting of a field. Every other field keeps its bytes and its place: a number is not rounded and
//! nothing is sorted, because a program must read back what another one stored. Parsers' texts quote their input
//! and are dropped.

use std::fmt;

use claviger_backend::{FieldName, Secret};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::secrets::pick::WHOLE;

/// Why a field cannot be read or set. Never repeats what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectFault {
    /// The value has no fields.
    #[error("the value is no JSON object, so it has no fields")]
    NotObject,
    /// There is no such field.
    #[error("the value has no such field")]
    NoField,
    /// A field's text is not text.
    #[error("a field holds text, and this is not UTF-8")]
    NotText,
}

/// The members of an object, in their order, each value as it is written.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Vec<(String, &RawValue)> = Vec::new();
                while let Some((name, value)) = map.next_entry()? {
                    // Readers differ about which of two counts (RFC 8259 §4).
                    if members.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom("a name occurs twice"));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

/// The value of one field: the text if it is a string, else its JSON.
///
/// # Errors
/// [`ObjectFault::NotObject`] or [`ObjectFault::NoField`].
pub fn field(value: &Secret, field: &FieldName) -> Result<Secret, ObjectFault> {
    let members = parse(value)?;
    let found = members.0.iter().find(|(name, _)| name == field.as_str());
    let (_, raw) = found.ok_or(ObjectFault::NoField)?;
    let text = match serde_json::from_str::<String>(raw.get()) {
        Ok(text) => text,
        Err(_no_string) => raw.get().to_owned(),
    };
    Ok(Secret::from_text(text))
}

/// The same object with one field set to `text`. Without a former value, an object with that field alone.
///
/// # Errors
/// [`ObjectFault::NotObject`] or [`ObjectFault::NotText`].
pub fn with_field(
    former: Option<&Secret>,
    field: &FieldName,
    text: &Secret,
) -> Result<Secret, ObjectFault> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the text becomes part of the value"
    )]
    let text = std::str::from_utf8(text.expose()).map_err(|_bytes| ObjectFault::NotText)?;
    let set = Zeroizing::new(quoted(text)?);
    let members = match former {
        Some(value) => parse(value)?.0,
        None => Vec::new(),
    };
    let mut written = members
        .iter()
        .map(|(name, raw)| {
            let is_field = name == field.as_str();
            (
                name.as_str(),
                if is_field { set.as_str() } else { raw.get() },
            )
        })
        .collect::<Vec<_>>();
    if !written.iter().any(|(name, _)| *name == field.as_str()) {
        written.push((field.as_str(), set.as_str()));
    }
    // Sized up front: a buffer that grows leaves parts of the secret behind. A name at most sixfolds when it is quoted.
    let size = |(name, raw): &(&str, &str)| name.len().saturating_mul(6).saturating_add(raw.len());
    let capacity = written
        .iter()
        .map(|member| size(member).saturating_add(8))
        .sum::<usize>();
    let mut object = Zeroizing::new(String::with_capacity(capacity.saturating_add(8)));
    object.push('{');
    for (number, (name, raw)) in written.iter().enumerate() {
        if number > 0 {
            object.push(',');
        }
        object.push_str(&quoted(name)?);
        object.push(':');
        object.push_str(raw);
    }
    object.push('}');
    Ok(Secret::from_text(std::mem::take(&mut *object)))
}

/// The value in which the part that a reference with `field` means is `text`, and everything else as it was: what
/// [`pick_one`](super::pick_one) reads, set.
///
/// # Errors
/// As [`with_field`].
pub fn with_part(
    former: Option<&Secret>,
    field: Option<&FieldName>,
    text: &Secret,
) -> Result<Secret, ObjectFault> {
    let whole = || {
        #[expect(clippy::disallowed_methods, reason = "the text is the whole value")]
        Ok(Secret::new(text.expose().to_vec()))
    };
    let Some(field) = field else { return whole() };
    match with_field(former, field, text) {
        // A value without fields may be called by this one.
        Err(ObjectFault::NotObject) if field.as_str() == WHOLE => whole(),
        other => other,
    }
}

fn parse(value: &Secret) -> Result<Members<'_>, ObjectFault> {
    #[expect(clippy::disallowed_methods, reason = "the object is taken apart")]
    serde_json::from_slice(value.expose()).map_err(|_quotes_input| ObjectFault::NotObject)
}

fn quoted(text: &str) -> Result<String, ObjectFault> {
    serde_json::to_string(text).map_err(|_a_string_has_json| ObjectFault::NotText)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests look inside")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(former: Option<&str>, name: &str, text: &str) -> Result<String, ObjectFault> {
        let former = former.map(|former| Secret::from_text(former.to_owned()));
        let text = Secret::from_text(text.to_owned());
        with_field(former.as_ref(), &name.parse().unwrap(), &text)
            .map(|value| String::from_utf8(value.expose().to_vec()).unwrap())
    }

    #[test]
    fn one_field_changes_and_the_others_keep_every_byte() {
        for (former, expected) in [
            (None, r#"{"b":"new"}"#),
            (Some("{}"), r#"{"b":"new"}"#),
            (Some(r#"{"b":"old"}"#), r#"{"b":"new"}"#),
            (
                Some(r#"{"z":1.50, "b": {"x":1}, "a":12345678901234567890.10}"#),
                r#"{"z":1.50,"b":"new","a":12345678901234567890.10}"#,
            ),
            (
                Some(r#"{"k":"A\n","l":[1, null ,true]}"#),
                r#"{"k":"A\n","l":[1, null ,true],"b":"new"}"#,
            ),
        ] {
            assert_eq!(set(former, "b", "new").unwrap(), expected);
        }
        for former in ["", "plain", "[1]", "null", "{\"a\":1", r#"{"a":1,"a":2}"#] {
            assert!(
                matches!(set(Some(former), "b", "x"), Err(ObjectFault::NotObject)),
                "{former}"
            );
        }
    }

    #[test]
    fn a_field_is_its_text_or_its_json() {
        let value = Secret::from_text(r#"{"s":"a\nb\u00fc","n":1.50,"o":{"k":"v"}}"#.into());
        let get = |name: &str| {
            field(&value, &name.parse().unwrap())
                .map(|value| String::from_utf8(value.expose().to_vec()).unwrap())
        };
        assert_eq!(get("s").unwrap(), "a\nbü");
        assert_eq!(get("n").unwrap(), "1.50");
        assert_eq!(get("o").unwrap(), r#"{"k":"v"}"#);
        assert!(matches!(get("x"), Err(ObjectFault::NoField)));
    }

    #[test]
    fn the_part_that_is_set_is_the_part_that_is_picked() {
        let id = "client_id".parse::<FieldName>().unwrap();
        let value = WHOLE.parse::<FieldName>().unwrap();
        for (former, field, expected) in [
            (None, None, Ok("new")),
            (Some("old"), None, Ok("new")),
            (None, Some(&id), Ok(r#"{"client_id":"new"}"#)),
            (Some("old"), Some(&id), Err(ObjectFault::NotObject)),
            (None, Some(&value), Ok(r#"{"value":"new"}"#)),
            (Some("old"), Some(&value), Ok("new")),
            (
                Some("{\"a\":1}"),
                Some(&value),
                Ok(r#"{"a":1,"value":"new"}"#),
            ),
        ] {
            let former = former.map(|former| Secret::from_text(former.to_owned()));
            let text = Secret::from_text("new".to_owned());
            let set = with_part(former.as_ref(), field, &text);
            let shown = set
                .as_ref()
                .map(|set| str::from_utf8(set.expose()).unwrap());
            assert_eq!(shown.map_err(|fault| *fault), expected);
            if let Ok(set) = &set {
                let picked = crate::secrets::pick_one(set, field).unwrap();
                assert_eq!(picked.expose(), b"new");
            }
        }
    }

    proptest! {
        #[test]
        fn a_field_reads_back_as_it_was_set_and_nothing_panics(former in ".{0,60}", name in "[a-z\"/]{1,9}", text in any::<String>()) {
            let object = set(Some(&former), &name, &text).or_else(|_| set(None, &name, &text)).unwrap();
            let object = set(Some(&object), "other", "x").unwrap();
            let read = field(&Secret::from_text(object), &name.parse().unwrap()).unwrap();
            prop_assert_eq!(read.expose(), text.as_bytes());
        }
    }
}
