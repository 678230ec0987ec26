//! The one parser of token answers (RFC 6749 §5).
//!
//! Owns what an issuer may answer and how claviger reads it: JSON or a form, distinguished by content and media type; an
//! error first, whatever the status says; lifetimes in every spelling seen in the field. Total: any bytes give a
//! [`TokenResponse`] or a [`Failure`], and neither has any of the bytes in its text. The access token goes from the body
//! into its box in one step; the body belongs to the caller, who wipes it.
//!
//! Next: `fields`, where the two syntaxes become the same draft, and `failure`, the closed lists of what can be wrong.

mod failure;
mod fields;
#[cfg(test)]
mod tests;

use std::time::Duration;

use zeroize::Zeroizing;

pub use self::failure::{ErrorCode, Failure, Flaw};
use self::fields::{Draft, Field};
use crate::number::{Number, rfc3339};
use crate::token::{AccessToken, Shape};
use crate::trimmed;
use crate::{InvalidScope, Pointer, Scopes};

/// The largest token answer that is read.
pub const MAX_BODY: usize = 64 * 1024;

/// Where RFC 6749 §5.1 puts the token.
const ACCESS_TOKEN: &str = "access_token";

/// Values of `token_type` that name no type.
const WHOSE: [&str; 2] = ["bot", "user"];

/// Smaller numbers are no point in time after 2001 but a lifetime, which is how some issuers mean `expires`.
const FIRST_EPOCH: u64 = 1_000_000_000;

/// Larger numbers are milliseconds: as seconds they would be after the year 5000.
const FIRST_MILLISECONDS: u64 = 100_000_000_000;

/// What is accepted beyond the letter of RFC 6749.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leniency {
    /// An answer without `token_type` is a Bearer token.
    pub missing_token_type_is_bearer: bool,
    /// A scope without spaces but with commas is a list. Off where a requested scope has a comma itself.
    pub commas_separate_scopes: bool,
}

/// A Bearer token as the issuer described it.
#[derive(Debug)]
pub struct TokenResponse {
    /// The token.
    pub access_token: AccessToken,
    /// The token seen from outside.
    pub shape: Shape,
    /// How long it lives, if the answer says.
    pub lifetime: Option<Lifetime>,
    /// When the issuer wants it renewed, if it says; Entra's `refresh_in`.
    pub refresh_in: Option<Duration>,
    /// The granted scopes; `None` if they are the requested ones (RFC 6749 §5.1).
    pub scopes: Option<Scopes>,
}

/// How long a token lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// For so long from when the request was sent. Zero for what must not be kept.
    For(Duration),
    /// Until this time since the Unix epoch, on the issuer's clock.
    Until(Duration),
}

/// Parses the answer of a token endpoint.
///
/// # Errors
/// A [`Failure`] with the issuer's error code, or with the flaw of the answer.
pub fn parse(
    status: u16,
    content_type: Option<&str>,
    body: &[u8],
    leniency: Leniency,
) -> Result<TokenResponse, Failure> {
    parse_at(status, content_type, body, leniency, None)
}

/// Parses the answer of a token endpoint that puts the access token where `pointer` leads, as Slack does with the one of a
/// user. A token at the usual place is then another one, and skipped. The fields beside the token describe it; fields that
/// are absent there are taken from the object around. A form has no depth: there only pointers of one step lead anywhere.
///
/// # Errors
/// A [`Failure`] with the issuer's error code, or with the flaw of the answer.
pub fn parse_at(
    status: u16,
    content_type: Option<&str>,
    body: &[u8],
    leniency: Leniency,
    pointer: Option<&Pointer>,
) -> Result<TokenResponse, Failure> {
    let fail = |flaw| Failure {
        flaw,
        status,
        body_bytes: body.len(),
    };
    let success = (200..300).contains(&status);
    let draft = match read(content_type, body, pointer) {
        Ok(draft) => draft,
        // What is no OAuth answer at all is judged by its status.
        Err(flaw) if success => return Err(fail(flaw)),
        Err(flaw) => {
            return Err(fail(Flaw::Status {
                html: flaw == Flaw::Html,
            }));
        }
    };
    if let Some(code) = draft.error() {
        return Err(fail(Flaw::Refused(code)));
    }
    if !success {
        return Err(fail(Flaw::Status { html: false }));
    }
    complete(draft, leniency, pointer.is_some()).map_err(fail)
}

/// The error in an answer whose success has no content that matters, as that of a revocation (RFC 7009 §2.2).
#[must_use]
pub fn error_in(content_type: Option<&str>, body: &[u8]) -> Option<ErrorCode> {
    read(content_type, body, None).ok()?.error()
}

/// What an error says for people (`error_description`, RFC 6749 §5.2), as the issuer wrote it. Never of an answer that has a
/// token.
#[must_use]
pub fn description_in(content_type: Option<&str>, body: &[u8]) -> Option<Zeroizing<String>> {
    let draft = read(content_type, body, None).ok()?;
    match (draft.access_token, draft.description) {
        (None, Some(Field::Text(text))) => Some(Zeroizing::new(text)),
        _ => None,
    }
}

/// Tells the syntax apart and collects the fields.
fn read(content_type: Option<&str>, body: &[u8], pointer: Option<&Pointer>) -> Result<Draft, Flaw> {
    let usual = [ACCESS_TOKEN.into()];
    let steps = pointer.map_or(&usual[..], Pointer::steps);
    if body.len() > MAX_BODY {
        return Err(Flaw::TooLong);
    }
    let media_type = content_type
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase());
    let declared_json = media_type
        .as_deref()
        .is_some_and(|media| media == "application/json" || media.ends_with("+json"));
    let text = trimmed(body);
    match text.first() {
        None => Err(Flaw::Empty),
        Some(b'{') => fields::from_json(text, steps),
        Some(b'<') => Err(Flaw::Html),
        Some(_) if !declared_json && text.contains(&b'=') => fields::from_form(text, steps),
        Some(_) => Err(Flaw::NotAnAnswer),
    }
}

impl Draft {
    /// The error, if the answer has one in any of its spellings.
    fn error(&self) -> Option<ErrorCode> {
        // Slack says it twice; the flag alone is enough.
        let refused = matches!(self.ok, Some(Field::Bool(false))).then_some(ErrorCode::Other);
        self.error.or(refused)
    }
}

fn complete(draft: Draft, leniency: Leniency, pointed: bool) -> Result<TokenResponse, Flaw> {
    let assumed = leniency.missing_token_type_is_bearer;
    let bearer = match &draft.token_type {
        None if assumed => true,
        None => return Err(Flaw::NoTokenType),
        // Slack says here whose token it is.
        Some(Field::Text(text)) => {
            text.eq_ignore_ascii_case("bearer")
                || (assumed && (text.is_empty() || (pointed && WHOSE.contains(&&**text))))
        }
        Some(Field::Bool(_) | Field::Number(_) | Field::List(_) | Field::Other(_)) => false,
    };
    if !bearer {
        return Err(Flaw::TokenType);
    }
    let (access_token, shape) = draft.access_token.ok_or(Flaw::NoToken)??;
    let lifetime = match (draft.expires_in, draft.expires) {
        (Some(field), _) => seconds(&field, "expires_in")?.map(Lifetime::For),
        (None, Some((name, field))) => until(name, &field)?,
        (None, None) => None,
    };
    let refresh_in = draft.refresh_in.map(|field| seconds(&field, "refresh_in"));
    let scopes = draft.scope.map(|field| scopes(field, leniency));
    Ok(TokenResponse {
        access_token,
        shape,
        lifetime,
        // A hint alone: what cannot be read is as good as absent.
        refresh_in: refresh_in.and_then(Result::ok).flatten(),
        scopes: scopes.transpose()?,
    })
}

/// A lifetime in seconds. Negative ones are zero: the token must not be kept.
fn seconds(field: &Field, name: &'static str) -> Result<Option<Duration>, Flaw> {
    match field {
        Field::Number(number) => Ok(Some(Duration::from_secs(number.or_zero()))),
        Field::Text(text) if text.trim_ascii().is_empty() => Ok(None),
        Field::Text(text) => Number::from_text(text)
            .map(|number| Some(Duration::from_secs(number.or_zero())))
            .ok_or(Flaw::Field(name)),
        Field::Bool(_) | Field::List(_) | Field::Other(_) => Err(Flaw::Field(name)),
    }
}

/// A point in time: seconds or milliseconds since the epoch, or RFC 3339. A number too small for that is a lifetime.
fn until(name: &'static str, field: &Field) -> Result<Option<Lifetime>, Flaw> {
    let number = match field {
        Field::Number(number) => *number,
        Field::Text(text) if text.trim_ascii().is_empty() => return Ok(None),
        Field::Text(text) => match (Number::from_text(text), rfc3339(text)) {
            (Some(number), _) => number,
            (None, Some(time)) => return Ok(Some(Lifetime::Until(time))),
            (None, None) => return Err(Flaw::Field(name)),
        },
        Field::Bool(_) | Field::List(_) | Field::Other(_) => return Err(Flaw::Field(name)),
    };
    let value = number.or_zero();
    Ok(Some(match value {
        ..FIRST_EPOCH if name == "expires" => Lifetime::For(Duration::from_secs(value)),
        ..FIRST_MILLISECONDS => Lifetime::Until(Duration::from_secs(value)),
        _ => Lifetime::Until(Duration::from_millis(value)),
    }))
}

fn scopes(field: Field, leniency: Leniency) -> Result<Scopes, Flaw> {
    let flaw = |_invalid: InvalidScope| Flaw::Field("scope");
    match field {
        Field::List(list) => Scopes::new(list).map_err(flaw),
        Field::Text(text) => {
            let list = leniency.commas_separate_scopes
                && text.contains(',')
                && !text.trim_ascii().contains(' ');
            let separator = |c: char| c.is_ascii_whitespace() || (list && c == ',');
            let scopes = text.split(separator).filter(|scope| !scope.is_empty());
            Scopes::new(scopes).map_err(flaw)
        }
        Field::Bool(_) | Field::Number(_) | Field::Other(_) => Err(Flaw::Field("scope")),
    }
}
