//! From the two syntaxes of a token answer to one draft.
//!
//! Owns the walk over a JSON object or a form: it keeps the fields that matter, skips the values of all others without
//! copying them (refresh and ID tokens may be among them), and refuses names that come twice. Values keep their type, because
//! what a string, a number or a flag means is for the next step. The token is looked for along steps, one in the usual case;
//! every object on the way may describe it, and the nearest description counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::failure::{ErrorCode, Flaw};
use crate::number::Number;
use crate::token::{self, AccessToken, Shape};

/// The longest text that is kept of a field that is not a token.
const LONGEST_TEXT: usize = 16 * 1024;

/// The absolute spellings of an expiry, the least ambiguous first.
const ABSOLUTE: [&str; 4] = ["expires_on", "expires_at", "expiresAt", "expires"];

/// The value of a field that is no secret. The order of the variants decides how a value is read.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Field {
    Bool(bool),
    Text(String),
    Number(Number),
    List(Vec<String>),
    /// What no field can be.
    Other(IgnoredAny),
}

impl Field {
    /// A text that is too long is not treated as absent: it may name scopes that were not requested, or an error.
    fn bounded(self) -> Self {
        let longest = match &self {
            Self::Text(text) => text.len(),
            Self::List(list) => list.iter().map(String::len).max().unwrap_or(0),
            Self::Bool(_) | Self::Number(_) | Self::Other(_) => 0,
        };
        if longest > LONGEST_TEXT {
            Self::Other(IgnoredAny)
        } else {
            self
        }
    }

    /// What the field `error` says. Some issuers send it empty with every success.
    fn error(self) -> Option<ErrorCode> {
        match self {
            Self::Bool(false) => None,
            Self::Text(text) if text.is_empty() => None,
            Self::Text(text) => Some(ErrorCode::from_text(&text)),
            Self::Bool(true) | Self::Number(_) | Self::List(_) | Self::Other(_) => {
                Some(ErrorCode::Other)
            }
        }
    }
}

/// An access token in its box, or why it cannot be one.
type Token = Result<(AccessToken, Shape), Flaw>;

fn boxed(text: &str) -> Token {
    let shape = token::inspect(text.as_bytes()).map_err(Flaw::Token)?;
    Ok((AccessToken::new(text.as_bytes()), shape))
}

/// The fields of an answer. A field that is absent or null is `None`.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) access_token: Option<Token>,
    pub(super) token_type: Option<Field>,
    pub(super) expires_in: Option<Field>,
    /// The first of the absolute spellings, under its name.
    pub(super) expires: Option<(&'static str, Field)>,
    pub(super) refresh_in: Option<Field>,
    pub(super) scope: Option<Field>,
    pub(super) error: Option<ErrorCode>,
    pub(super) description: Option<Field>,
    pub(super) ok: Option<Field>,
}

impl Draft {
    /// What these fields describe, which are all that [`matters`] of one object.
    fn new(access_token: Option<Token>, mut fields: BTreeMap<String, Field>) -> Self {
        Self {
            access_token,
            token_type: fields.remove("token_type"),
            expires_in: fields.remove("expires_in"),
            expires: ABSOLUTE
                .into_iter()
                .find_map(|name| Some((name, fields.remove(name)?))),
            refresh_in: fields.remove("refresh_in"),
            scope: fields.remove("scope"),
            error: fields.remove("error").and_then(Field::error),
            description: fields.remove("error_description"),
            ok: fields.remove("ok"),
        }
    }

    /// What an object says together with what the one around it says: the nearer counts, but a failure counts at any depth.
    fn within(self, outer: Self) -> Self {
        let timed = self.expires_in.is_some() || self.expires.is_some();
        Self {
            access_token: self.access_token,
            token_type: self.token_type.or(outer.token_type),
            expires_in: if timed {
                self.expires_in
            } else {
                outer.expires_in
            },
            expires: if timed { self.expires } else { outer.expires },
            refresh_in: self.refresh_in.or(outer.refresh_in),
            scope: self.scope.or(outer.scope),
            error: self.error.or(outer.error),
            description: self.description.or(outer.description),
            ok: if matches!(outer.ok, Some(Field::Bool(false))) {
                outer.ok
            } else {
                self.ok.or(outer.ok)
            },
        }
    }
}

/// Whether a field matters and is no secret.
fn matters(name: &str) -> bool {
    matches!(
        name,
        "token_type" | "expires_in" | "refresh_in" | "scope" | "ok" | "error" | "error_description"
    ) || ABSOLUTE.contains(&name)
}

/// Reads a form (RFC 6749 appendix B) with the token at `steps`. Every value is text.
pub(super) fn from_form(body: &[u8], steps: &[Box<str>]) -> Result<Draft, Flaw> {
    let place = match steps {
        [name] => Some(&**name),
        _ => None,
    };
    let mut token = None;
    let mut fields = BTreeMap::new();
    let mut names = BTreeSet::new();
    for (name, value) in form_urlencoded::parse(body) {
        let value = Zeroizing::new(value.into_owned());
        if !names.insert(name.clone()) {
            return Err(Flaw::Repeated);
        }
        if Some(&*name) == place {
            // An empty token counts as absent.
            token = (!value.is_empty()).then(|| boxed(&value));
        } else if matters(&name) {
            let field = match (&*name, &**value) {
                ("ok", "false") => Field::Bool(false),
                (_, text) => Field::Text(text.to_owned()).bounded(),
            };
            fields.insert(name.into_owned(), field);
        }
    }
    Ok(Draft::new(token, fields))
}

/// Reads a JSON object with the token at `steps`, of which there is one at least.
pub(super) fn from_json(body: &[u8], steps: &[Box<str>]) -> Result<Draft, Flaw> {
    let (step, further) = steps.split_first().ok_or(Flaw::NoToken)?;
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    // The parser's own error text may quote the body, so it is dropped here and below.
    let object = Object { step }
        .deserialize(&mut deserializer)
        .and_then(|object| deserializer.end().map(|()| object));
    let mut values = object.map_err(|_quotes_body| Flaw::Malformed)??;
    let inner = values
        .remove(&**step)
        .map(|value| along(value.get(), further))
        .transpose()?;
    let mut fields = BTreeMap::new();
    for (name, value) in values {
        let field = serde_json::from_str::<Option<Field>>(value.get());
        if let Some(field) = field.map_err(|_quotes_body| Flaw::Malformed)? {
            fields.insert(name, field.bounded());
        }
    }
    let outer = Draft::new(None, fields);
    Ok(match inner {
        Some(inner) => inner.within(outer),
        None => outer,
    })
}

/// Reads the value of a step, with the token at `steps` from there: none at the token itself. A value that is neither an
/// object nor an array leads nowhere.
fn along(value: &str, steps: &[Box<str>]) -> Result<Draft, Flaw> {
    let Some((step, further)) = steps.split_first() else {
        return Ok(Draft::new(token(value)?, BTreeMap::new()));
    };
    match value.as_bytes().first() {
        Some(b'{') => from_json(value.as_bytes(), steps),
        Some(b'[') => {
            let items: Vec<&RawValue> =
                serde_json::from_str(value).map_err(|_quotes_body| Flaw::Malformed)?;
            // RFC 6901 §4: digits without a zero in front.
            let index = step.parse::<usize>().ok();
            let index = index.filter(|index| index.to_string() == **step);
            let item = index.and_then(|index| items.get(index));
            item.map_or_else(|| Ok(Draft::default()), |item| along(item.get(), further))
        }
        _ => Ok(Draft::default()),
    }
}

/// Reads an access token into its box. `None` if it is null or empty.
fn token(value: &str) -> Result<Option<Token>, Flaw> {
    match value.as_bytes().first() {
        Some(b'"') => {
            let text: String =
                serde_json::from_str(value).map_err(|_quotes_body| Flaw::Malformed)?;
            let text = Zeroizing::new(text);
            Ok((!text.is_empty()).then(|| boxed(&text)))
        }
        Some(b'n') => Ok(None),
        _ => Ok(Some(Err(Flaw::Field("access_token")))),
    }
}

/// Reads an object: the values that matter and the one at `step`, still as they are written.
struct Object<'a> {
    step: &'a str,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = Result<BTreeMap<String, &'de RawValue>, Flaw>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Result<BTreeMap<String, &'de RawValue>, Flaw>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = BTreeMap::new();
        let mut names = BTreeSet::new();
        let mut repeated = false;
        while let Some(name) = map.next_key::<String>()? {
            repeated |= !names.insert(name.clone());
            if name == self.step || matters(&name) {
                values.insert(name, map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(if repeated {
            Err(Flaw::Repeated)
        } else {
            Ok(values)
        })
    }
}
