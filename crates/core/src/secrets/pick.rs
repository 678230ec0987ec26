//! From a stored value to the value that a reference means.
//!
//! Owns the reading of fields: a secret may be a text, bytes, or a JSON object of which a reference names one field. Pure and
//! total. One of the few places that see plaintext; it copies the field into a box of its own, and the rest is zeroed with the
//! value it was part of. Never says anything about a value but its shape.

use std::borrow::Cow;
use std::collections::BTreeMap;

use claviger_backend::{FieldName, Kind, MAX_VALUE_BYTES, Secret};
use serde_json::value::RawValue;

/// The field that a value without fields may be called by, so that one reference fits both ways of storing it.
pub(super) const WHOLE: &str = "value";

/// The part of a value that a reference means.
#[derive(Debug)]
pub(super) struct Picked {
    /// The part.
    pub(super) value: Secret,
    /// Whether a newline at its end was cut off, which the operator should know.
    pub(super) trimmed: bool,
}

/// The part of `value` that a reference with `field` means; without one, the whole.
///
/// # Errors
/// `NotFound` if the value is an object that lacks the field, `InvalidResponse` if it has no fields or is empty.
pub fn pick_one(value: &Secret, field: Option<&FieldName>) -> Result<Secret, Kind> {
    let picked = pick(value, &[field]).pop();
    picked
        .unwrap_or(Err(Kind::InvalidResponse))
        .map(|picked| picked.value)
}

/// Picks `fields` out of `value`, in their order; `None` is the whole value.
///
/// # Errors
/// Each field on its own: `NotFound` if the object lacks it, `InvalidResponse` if the value is no JSON object, is empty,
/// or is larger than a value can be.
pub(super) fn pick(value: &Secret, fields: &[Option<&FieldName>]) -> Vec<Result<Picked, Kind>> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a field has to be read out of the value it is part of"
    )]
    let bytes = value.expose();
    if bytes.len() > MAX_VALUE_BYTES {
        return fields.iter().map(|_| Err(Kind::InvalidResponse)).collect();
    }
    let object = if fields.iter().any(Option::is_some) {
        serde_json::from_slice::<BTreeMap<Cow<'_, str>, &RawValue>>(bytes).ok()
    } else {
        None
    };
    fields
        .iter()
        .map(|field| match (field, &object) {
            (None, _) => whole(bytes),
            (Some(field), Some(object)) => object
                .get(field.as_str())
                .ok_or(Kind::NotFound)
                .and_then(|raw| of_json(raw)),
            (Some(field), None) if field.as_str() == WHOLE => whole(bytes),
            (Some(_), None) => Err(Kind::InvalidResponse),
        })
        .collect()
}

/// Bytes as they are; a text without the newline that editors and shells put at its end.
fn whole(bytes: &[u8]) -> Result<Picked, Kind> {
    if is_text(bytes) {
        return trim(bytes);
    }
    Ok(Picked {
        value: Secret::new(bytes.to_vec()),
        trimmed: false,
    })
}

/// A field's value: a string's contents, anything else as it is written.
fn of_json(raw: &RawValue) -> Result<Picked, Kind> {
    let text = raw.get();
    if text == "null" {
        return Err(Kind::NotFound);
    }
    if !text.starts_with('"') {
        return trim(text.as_bytes());
    }
    match serde_json::from_str::<String>(text) {
        Ok(string) => {
            // Boxed before it is trimmed, so that this copy is wiped as well.
            let string = Secret::from_text(string);
            #[expect(
                clippy::disallowed_methods,
                reason = "the newline at the end of a field has to be seen to be cut off"
            )]
            trim(string.expose())
        }
        // The parser's error text may quote the value.
        Err(_quotes_input) => Err(Kind::InvalidResponse),
    }
}

/// Whether the bytes look typed: a random key that happens to end in a newline must keep it.
fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| {
        text.chars()
            .all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'))
    })
}

/// Cuts off one newline at the end. An empty rest is refused: it is a mistake, not a secret.
fn trim(bytes: &[u8]) -> Result<Picked, Kind> {
    let shorter = bytes
        .strip_suffix(b"\r\n")
        .or_else(|| bytes.strip_suffix(b"\n"));
    let rest = shorter.unwrap_or(bytes);
    if rest.is_empty() {
        return Err(Kind::InvalidResponse);
    }
    Ok(Picked {
        value: Secret::new(rest.to_vec()),
        trimmed: shorter.is_some(),
    })
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests look inside")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(value: &[u8], field: Option<&str>) -> Result<(Vec<u8>, bool), Kind> {
        let field = field.map(|field| field.parse::<FieldName>().unwrap());
        pick(&Secret::new(value.to_vec()), &[field.as_ref()])
            .remove(0)
            .map(|picked| (picked.value.expose().to_vec(), picked.trimmed))
    }

    #[test]
    fn every_shape_of_value_is_read_as_its_owner_meant_it() {
        let object = br#"{"id":"abc","port":5432,"rate":1.10,"big":123456789012345678901234567890,"on":true,
            "line":"x\n","crlf":"x\r\n","two":"x\n\n","esc":"a\u00e4\"b","none":null,"jwk":{"kty":"OKP", "b":[1]},"":"e"}"#;
        for (value, field, expected) in [
            (&object[..], Some("id"), Ok((&b"abc"[..], false))),
            (object, Some("port"), Ok((b"5432", false))),
            (object, Some("rate"), Ok((b"1.10", false))),
            (
                object,
                Some("big"),
                Ok((b"123456789012345678901234567890", false)),
            ),
            (object, Some("on"), Ok((b"true", false))),
            (object, Some("line"), Ok((b"x", true))),
            (object, Some("crlf"), Ok((b"x", true))),
            (object, Some("two"), Ok((b"x\n", true))),
            (object, Some("esc"), Ok(("aä\"b".as_bytes(), false))),
            (
                object,
                Some("jwk"),
                Ok((br#"{"kty":"OKP", "b":[1]}"#, false)),
            ),
            (object, Some("none"), Err(Kind::NotFound)),
            (object, Some("absent"), Err(Kind::NotFound)),
            (object, Some("value"), Err(Kind::NotFound)),
            (b"hunter2\n", None, Ok((b"hunter2", true))),
            (b"hunter2\r\n", Some("value"), Ok((b"hunter2", true))),
            (b"hunter2", Some("value"), Ok((b"hunter2", false))),
            (b"hunter2", Some("password"), Err(Kind::InvalidResponse)),
            (b"[1]", Some("a"), Err(Kind::InvalidResponse)),
            (b"{\"a\":1} trailing", Some("a"), Err(Kind::InvalidResponse)),
            (b"\x00\xffkey\n", None, Ok((b"\x00\xffkey\n", false))),
            (b"\x01\n", Some("value"), Ok((b"\x01\n", false))),
            (b"", None, Err(Kind::InvalidResponse)),
            (b"\n", None, Err(Kind::InvalidResponse)),
            (b"\r\n", Some("value"), Err(Kind::InvalidResponse)),
            (br#"{"id":""}"#, Some("id"), Err(Kind::InvalidResponse)),
            (br#"{"id":"\n"}"#, Some("id"), Err(Kind::InvalidResponse)),
            (b" ", None, Ok((b" ", false))),
        ] {
            let expected = expected.map(|(bytes, trimmed)| (bytes.to_vec(), trimmed));
            assert_eq!(one(value, field), expected, "{field:?}");
        }
    }

    #[test]
    fn several_fields_of_one_value_fail_one_by_one() {
        let (id, gone) = ("id".parse().unwrap(), "gone".parse().unwrap());
        let value = Secret::from_text(r#"{"id":"a"}"#.to_owned());
        let picked = pick(&value, &[Some(&gone), Some(&id), None]);
        assert_eq!(picked[0].as_ref().unwrap_err(), &Kind::NotFound);
        assert_eq!(picked[1].as_ref().unwrap().value.expose(), b"a");
        assert_eq!(picked[2].as_ref().unwrap().value.expose(), br#"{"id":"a"}"#);
    }

    #[test]
    fn a_value_beyond_the_limit_is_refused() {
        let full = vec![b'a'; MAX_VALUE_BYTES];
        assert!(one(&full, None).is_ok());
        let over = vec![b'a'; MAX_VALUE_BYTES + 1];
        assert_eq!(one(&over, None), Err(Kind::InvalidResponse));
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_value_or_a_kind(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok((picked, trimmed)) = one(&bytes, None) {
                prop_assert!(bytes.starts_with(&picked));
                prop_assert_eq!(trimmed, picked.len() < bytes.len());
            }
            drop(one(&bytes, Some("a")));
        }

        #[test]
        fn any_text_survives_being_a_field(text in ".{0,60}") {
            let object = serde_json::json!({ "a": text }).to_string();
            if matches!(text.as_str(), "" | "\n" | "\r\n") {
                prop_assert!(one(object.as_bytes(), Some("a")).is_err());
                return Ok(());
            }
            let (picked, trimmed) = one(object.as_bytes(), Some("a")).unwrap();
            let mut restored = picked;
            if trimmed {
                let end = if text.ends_with("\r\n") { &b"\r\n"[..] } else { b"\n" };
                restored.extend_from_slice(end);
            }
            prop_assert_eq!(restored, text.into_bytes());
        }
    }
}
