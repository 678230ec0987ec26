//! Values that several sections have: references, URLs, words.
//!
//! Owns the checks that turn a text of the file into a typed value or a problem. No message repeats the text.

use claviger_backend::{InvalidReference, SecretRef};
use url::{Host, Url};

use crate::config::reader::Found;
use crate::config::{Context, Mode};
use claviger_oauth_wire::path;

/// The longest URL that is accepted.
const LONGEST_URL: usize = 2048;

/// The message about every value that may be a misplaced secret.
const EXPECTED_REFERENCE: &str =
    "expected a reference backend:path#field; a secret never stands in this file";

/// The text of other programs for this refusal, word for word, because operators search for it.
const HTTP_REFUSED: &str = "HTTP OAuth endpoints not allowed in production";

/// A reference to a secret in a configured backend.
pub(super) fn reference(context: &Context<'_>, found: &Found<&str>) -> Option<SecretRef> {
    let report = context.report;
    match found.value.parse::<SecretRef>() {
        Ok(reference) if context.backends.uses(reference.backend.as_str()) => Some(reference),
        Ok(reference) => {
            report.problem_meant(
                &found.place,
                format!("no backend of this name is configured; {EXPECTED_REFERENCE}"),
                context.backends.meant(reference.backend.as_str()),
            );
            None
        }
        Err(InvalidReference::NoBackend) => {
            report.problem(&found.place, EXPECTED_REFERENCE);
            None
        }
        Err(error) => {
            let message = format!("{EXPECTED_REFERENCE} ({error})");
            report.problem(&found.place, message);
            None
        }
    }
}

/// The purpose of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// An issuer identifier (RFC 8414 §2: no query, no fragment).
    Issuer,
    /// An endpoint (RFC 6749 §3.2: no fragment; a query is kept).
    Endpoint,
}

/// The URL of an issuer or endpoint, exactly as it is written. Discovery compares it byte by byte.
pub(super) fn address(context: &Context<'_>, found: &Found<&str>, kind: Address) -> Option<String> {
    let refuse = |message: &str| {
        context.report.problem(&found.place, message);
        None
    };
    // The library normalizes what it parses, but the daemon uses the text itself, so it must be normal already.
    let graphic = found
        .value
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let url = match Url::parse(found.value) {
        Ok(url) if graphic && url.has_host() && found.value.len() <= LONGEST_URL => url,
        Ok(_) | Err(_) => return refuse("expected an address such as https://auth.example.com"),
    };
    if !found.value.starts_with(&format!("{}://", url.scheme())) {
        return refuse("expected an address beginning with https://, in small letters");
    }
    if path::has_dot_segments(found.value) {
        return refuse("an address here has no . or .. in its path; write where it leads");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse(
            "an address holds no user and no password; a secret never stands in this file",
        );
    }
    if url.fragment().is_some() {
        return refuse("an address here has no fragment (#)");
    }
    if kind == Address::Issuer && url.query().is_some() {
        return refuse("an issuer has no query (?)");
    }
    match (url.scheme(), context.mode, is_loopback(&url)) {
        ("https", _, _) | ("http", Mode::Dev, true) => Some(found.value.to_owned()),
        ("http", Mode::Production, false) => refuse(HTTP_REFUSED),
        ("http", Mode::Production, true) => refuse(&format!(
            "{HTTP_REFUSED}; mode = \"dev\" allows them to a loopback address"
        )),
        ("http", Mode::Dev, false) => refuse(&format!(
            "{HTTP_REFUSED}, and in dev only to a literal loopback address such as http://127.0.0.1:8080"
        )),
        _ => refuse("expected an address beginning with https://"),
    }
}

/// Whether the host is a loopback address, not a name that may resolve to one.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(_)) | None => false,
    }
}

/// A text for the wire: 1 to `longest` printable ASCII characters.
pub(super) fn printable(
    context: &Context<'_>,
    found: &Found<&str>,
    longest: usize,
) -> Option<String> {
    let length = found.value.len();
    let printable = found
        .value
        .bytes()
        .all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if (1..=longest).contains(&length) && printable {
        return Some(found.value.to_owned());
    }
    let message = format!("expected 1 to {longest} printable ASCII characters");
    context.report.problem(&found.place, message);
    None
}

/// Placeholders of templates.
const PLACEHOLDERS: [&str; 9] = [
    "changeme",
    "change-me",
    "change_me",
    "todo",
    "xxx",
    "example",
    "placeholder",
    "secret",
    "password",
];

/// Whether `text` is a placeholder, such as `your-client-id-here`. Copies nothing: it may be a secret.
pub(crate) fn is_placeholder(text: &[u8]) -> bool {
    let is = |word: &&str| text.eq_ignore_ascii_case(word.as_bytes());
    let begins = |word: &str| {
        text.get(..word.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes()))
    };
    PLACEHOLDERS.iter().any(is)
        || (begins("your") && text.iter().any(|byte| b"-_ ".contains(byte)))
        || ["-here", "_here"].iter().any(|word| {
            let tail = text.len().checked_sub(word.len());
            tail.and_then(|at| text.get(at..))
                .is_some_and(|tail| tail.eq_ignore_ascii_case(word.as_bytes()))
        })
        || (text.starts_with(b"<") && text.ends_with(b">"))
        || text.starts_with(b"${")
        || text.starts_with(b"{{")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_templates_have_in_place_of_a_value_is_found() {
        for text in [
            "your-client-id-here",
            "YOUR_CLIENT_SECRET",
            "Put-It-Here",
            "changeme",
            "Secret",
            "password",
            "xxx",
            "<client id>",
            "${CLIENT_ID}",
            "{{ id }}",
        ] {
            assert!(is_placeholder(text.as_bytes()), "{text}");
        }
        for text in ["", "billing", "yourself", "here", "secret-1", "<x", "a${b}"] {
            assert!(!is_placeholder(text.as_bytes()), "{text}");
        }
        assert!(!is_placeholder(b"\xff-"));
    }
}
