//! From the two syntaxes of a token answer to one draft.
//!
//! Owns the walk over a JSON object or a form. Picks the fields that matter, skips the values of all others without copying
//! them (refresh and ID tokens may be among them), and refuses names that come twice. Values keep their type, because what
//! a string, a number or a flag means is for the next step. The token is looked for along steps, one in the usual case; every
//! object on the way may say something about it, and the nearest one is believed.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroize as _;

use super::failure::{ErrorCode, Flaw};
use crate::number::Number;
use crate::token::{self, AccessToken, Shape};

/// The longest text that is kept of a field that is not a token.
const LONGEST_TEXT: usize = 16 * 1024;

/// The value of a field that is no secret.
#[derive(Debug, Default)]
pub(super) enum Field {
    /// Not there, or null.
    #[default]
    Absent,
    Bool(bool),
    Number(Number),
    Text(String),
    /// An array of strings.
    List(Vec<String>),
    /// What no field can be.
    Other,
}

/// What the field `error` says.
#[derive(Debug, Default)]
pub(super) enum Refusal {
    #[default]
    None,
    Code(ErrorCode),
}

/// An access token in its box, or why it cannot be one.
type Token = Result<(AccessToken, Shape), Flaw>;

/// The fields of an answer.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) access_token: Option<Token>,
    pub(super) token_type: Field,
    pub(super) expires_in: Field,
    /// The first of the absolute spellings, under its name.
    pub(super) expires: Option<(&'static str, Field)>,
    pub(super) refresh_in: Field,
    pub(super) scope: Field,
    pub(super) error: Refusal,
    pub(super) ok: Field,
}

/// The absolute spellings of an expiry, the least ambiguous first.
const ABSOLUTE: [&str; 4] = ["expires_on", "expires_at", "expiresAt", "expires"];

impl Draft {
    fn set(&mut self, name: &str, field: Field) {
        match name {
            "token_type" => self.token_type = field,
            "expires_in" => self.expires_in = field,
            "refresh_in" => self.refresh_in = field,
            "scope" => self.scope = field,
            "ok" => self.ok = field,
            "error" => {
                self.error = match field {
                    // Some issuers send the field empty with every success.
                    Field::Absent | Field::Bool(false) => Refusal::None,
                    Field::Text(text) if text.is_empty() => Refusal::None,
                    Field::Text(text) => Refusal::Code(ErrorCode::from_text(&text)),
                    Field::Bool(true) | Field::Number(_) | Field::List(_) | Field::Other => {
                        Refusal::Code(ErrorCode::Other)
                    }
                }
            }
            _ => {
                let rank = |name: &str| ABSOLUTE.iter().position(|known| *known == name);
                let held = self.expires.as_ref().and_then(|(name, _)| rank(name));
                let better = |rank: &usize| held.is_none_or(|held| *rank < held);
                let absent = matches!(field, Field::Absent);
                if let Some(rank) = rank(name).filter(better).filter(|_| !absent)
                    && let Some(known) = ABSOLUTE.get(rank)
                {
                    self.expires = Some((known, field));
                }
            }
        }
    }
}

impl Draft {
    /// What an object says with what the one around it says: the nearer counts, but a failure is one wherever it is said.
    fn within(self, outer: &mut Self) {
        let nearer = |near: Field, far: &mut Field| {
            if !matches!(near, Field::Absent) {
                *far = near;
            }
        };
        outer.access_token = self.access_token;
        nearer(self.token_type, &mut outer.token_type);
        nearer(self.refresh_in, &mut outer.refresh_in);
        nearer(self.scope, &mut outer.scope);
        if !matches!(self.expires_in, Field::Absent) || self.expires.is_some() {
            outer.expires_in = self.expires_in;
            outer.expires = self.expires;
        }
        if matches!(self.error, Refusal::Code(_)) {
            outer.error = self.error;
        }
        if !matches!(outer.ok, Field::Bool(false)) {
            nearer(self.ok, &mut outer.ok);
        }
    }
}

/// Whether a field matters and is no secret.
fn matters(name: &str) -> bool {
    matches!(
        name,
        "token_type" | "expires_in" | "refresh_in" | "scope" | "ok" | "error"
    ) || ABSOLUTE.contains(&name)
}

fn boxed(text: &[u8]) -> Token {
    let shape = token::inspect(text).map_err(Flaw::Token)?;
    Ok((AccessToken::new(text), shape))
}

/// Reads a form (RFC 6749 appendix B) with the token at `steps`. Every value is text.
pub(super) fn from_form(body: &[u8], steps: &[Box<str>]) -> Result<Draft, Flaw> {
    let token = match steps {
        [name] => Some(&**name),
        _ => None,
    };
    let mut draft = Draft::default();
    let mut names = BTreeSet::new();
    for (name, value) in form_urlencoded::parse(body) {
        if !names.insert(name.clone()) {
            return Err(Flaw::Repeated);
        }
        let mut value = value.into_owned();
        if Some(&*name) == token {
            // An empty token is none at all.
            draft.access_token = (!value.is_empty()).then(|| boxed(value.as_bytes()));
        } else if matters(&name) {
            let field = match (&*name, value.as_str()) {
                ("ok", "false") => Field::Bool(false),
                // Not as if it were absent: it may name scopes that nobody asked for, or an error.
                _ if value.len() > LONGEST_TEXT => Field::Other,
                _ => Field::Text(std::mem::take(&mut value)),
            };
            draft.set(&name, field);
        }
        value.zeroize();
    }
    Ok(draft)
}

/// Reads a JSON object with the token at `steps`.
pub(super) fn from_json(body: &[u8], steps: &[Box<str>]) -> Result<Draft, Flaw> {
    let mut repeated = false;
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let object = Object {
        steps,
        repeated: &mut repeated,
    };
    // The parser's own error text may quote the body, so it is dropped here.
    let draft = deserializer
        .deserialize_map(object)
        .and_then(|draft| deserializer.end().map(|()| draft));
    match draft {
        Ok(draft) => Ok(draft),
        Err(_quotes_input) if repeated => Err(Flaw::Repeated),
        Err(_quotes_input) => Err(Flaw::Malformed),
    }
}

/// Reads an object on the way to the token.
struct Object<'a> {
    /// From here on.
    steps: &'a [Box<str>],
    repeated: &'a mut bool,
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Draft;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Draft, A::Error> {
        let mut draft = Draft::default();
        // Kept apart until the end, so that the order of the fields means nothing.
        let mut inner = None;
        let mut names = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let on_the_way = self.steps.split_first();
            let on_the_way = on_the_way.filter(|(step, _)| ***step == *name);
            if let Some((_, further)) = on_the_way {
                let seed = Way {
                    steps: further,
                    repeated: &mut *self.repeated,
                };
                inner = Some(map.next_value_seed(seed)?);
            } else if matters(&name) {
                draft.set(&name, map.next_value_seed(FieldSeed)?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            if !names.insert(name) {
                *self.repeated = true;
                return Err(serde::de::Error::custom("repeated"));
            }
        }
        if let Some(inner) = inner {
            inner.within(&mut draft);
        }
        Ok(draft)
    }
}

/// Reads the value of a step: the token itself, or what leads further.
struct Way<'a> {
    /// From here on; none at the token.
    steps: &'a [Box<str>],
    repeated: &'a mut bool,
}

impl<'de> DeserializeSeed<'de> for Way<'_> {
    type Value = Draft;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Draft, D::Error> {
        if self.steps.is_empty() {
            return Ok(Draft {
                access_token: TokenSeed.deserialize(deserializer)?,
                ..Draft::default()
            });
        }
        deserializer.deserialize_any(self)
    }
}

/// Whatever is neither an object nor an array leads nowhere.
impl<'de> Visitor<'de> for Way<'_> {
    type Value = Draft;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Draft, A::Error> {
        let object = Object {
            steps: self.steps,
            repeated: self.repeated,
        };
        object.visit_map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Draft, A::Error> {
        // RFC 6901 §4: digits without a zero in front.
        let index = self.steps.split_first().and_then(|(step, further)| {
            let index: usize = step.parse().ok()?;
            (index.to_string() == **step).then_some((index, further))
        });
        let mut draft = Draft::default();
        if let Some((index, further)) = index {
            for _before in 0..index {
                if seq.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(draft);
                }
            }
            let way = Way {
                steps: further,
                repeated: self.repeated,
            };
            draft = seq.next_element_seed(way)?.unwrap_or_default();
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(draft)
    }

    fn visit_str<E>(self, _text: &str) -> Result<Draft, E> {
        Ok(Draft::default())
    }

    fn visit_unit<E>(self) -> Result<Draft, E> {
        Ok(Draft::default())
    }

    fn visit_bool<E>(self, _value: bool) -> Result<Draft, E> {
        Ok(Draft::default())
    }

    fn visit_u64<E>(self, _value: u64) -> Result<Draft, E> {
        Ok(Draft::default())
    }

    fn visit_i64<E>(self, _value: i64) -> Result<Draft, E> {
        Ok(Draft::default())
    }

    fn visit_f64<E>(self, _value: f64) -> Result<Draft, E> {
        Ok(Draft::default())
    }
}

/// What an access token is that is there and no string.
const NOT_TEXT: Option<Token> = Some(Err(Flaw::Field("access_token")));

/// Reads an access token into its box. `None` if it is null or empty.
struct TokenSeed;

impl<'de> DeserializeSeed<'de> for TokenSeed {
    type Value = Option<Token>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TokenSeed {
    type Value = Option<Token>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok((!text.is_empty()).then(|| boxed(text.as_bytes())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _value: bool) -> Result<Self::Value, E> {
        Ok(NOT_TEXT)
    }

    fn visit_u64<E>(self, _value: u64) -> Result<Self::Value, E> {
        Ok(NOT_TEXT)
    }

    fn visit_i64<E>(self, _value: i64) -> Result<Self::Value, E> {
        Ok(NOT_TEXT)
    }

    fn visit_f64<E>(self, _value: f64) -> Result<Self::Value, E> {
        Ok(NOT_TEXT)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        IgnoredAny.visit_map(map)?;
        Ok(NOT_TEXT)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        IgnoredAny.visit_seq(seq)?;
        Ok(NOT_TEXT)
    }
}

/// Reads a field that is no secret, of whatever type it is.
struct FieldSeed;

impl<'de> DeserializeSeed<'de> for FieldSeed {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FieldSeed {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Field, E> {
        Ok(match text.len() {
            0..=LONGEST_TEXT => Field::Text(text.to_owned()),
            _ => Field::Other,
        })
    }

    fn visit_unit<E>(self) -> Result<Field, E> {
        Ok(Field::Absent)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Field, E> {
        Ok(Field::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Field, E> {
        Ok(Field::Number(Number::Whole(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Field, E> {
        let number = u64::try_from(value).map_or(Number::Negative, Number::Whole);
        Ok(Field::Number(number))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Field, E> {
        Ok(Field::Number(Number::from_float(value)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Field, A::Error> {
        IgnoredAny.visit_map(map)?;
        Ok(Field::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Field, A::Error> {
        let mut list = Vec::new();
        let mut strings = true;
        while let Some(item) = seq.next_element_seed(FieldSeed)? {
            match item {
                Field::Text(text) if strings => list.push(text),
                Field::Absent
                | Field::Bool(_)
                | Field::Number(_)
                | Field::Text(_)
                | Field::List(_)
                | Field::Other => strings = false,
            }
        }
        Ok(if strings {
            Field::List(list)
        } else {
            Field::Other
        })
    }
}
