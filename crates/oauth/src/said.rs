//! What an issuer says about a refusal, for operators.
//!
//! Owns the way of an `error_description` into an error: everything that was sent in secret is cut out of it, then it is
//! escaped and bounded. Issuers quote requests in their errors, so a part of a secret is cut as well as the whole. Never for
//! callers: `server` shows them facts alone.

use std::collections::HashSet;
use std::sync::Arc;

use zeroize::Zeroizing;

use claviger_oauth_wire::response;
use claviger_outbound::http::Answer;
use claviger_outbound::http::header::CONTENT_TYPE;

/// The longest text that is kept, in bytes.
const LONGEST: usize = 256;
/// How much of a text is looked at. The rest is dropped.
const LOOKED_AT: usize = 1024;
/// So many bytes in a row of what was sent are cut; all of it, if it is shorter.
const PART: usize = 8;
/// What stands in place of what was cut.
const CUT: &str = "[cut]";

/// What an answer says about its error, without any part of `sent`, which is in every encoding that was sent.
pub(crate) fn said(answer: &Answer, sent: &[Zeroizing<Vec<u8>>]) -> Option<Arc<str>> {
    let text = response::description_in(answer.header(&CONTENT_TYPE), &answer.body.0)?;
    let said = escaped(&without(&text, sent));
    (!said.is_empty()).then(|| said.into())
}

/// The beginning of `text` without any part of `sent`, whatever the case of its letters.
fn without(text: &str, sent: &[Zeroizing<Vec<u8>>]) -> Zeroizing<String> {
    let start: Zeroizing<Vec<char>> = Zeroizing::new(text.chars().take(LOOKED_AT).collect());
    // One byte for each character: what is sent in secret and is not ASCII is also sent encoded, and cut as such.
    let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(
        start
            .iter()
            .map(|c| u8::try_from(*c).unwrap_or(0).to_ascii_lowercase())
            .collect(),
    );
    let mut cut = vec![false; bytes.len()];
    for secret in sent {
        let secret = Zeroizing::new(secret.to_ascii_lowercase());
        let length = secret.len().min(PART);
        if length == 0 {
            continue;
        }
        let parts: HashSet<&[u8]> = secret.windows(length).collect();
        for (at, part) in bytes.windows(length).enumerate() {
            if parts.contains(part) {
                cut.iter_mut()
                    .skip(at)
                    .take(length)
                    .for_each(|cut| *cut = true);
            }
        }
    }
    let mut kept = Zeroizing::new(String::with_capacity(text.len().saturating_mul(2)));
    let mut inside = false;
    for (c, cut) in start.iter().zip(cut) {
        match (cut, inside) {
            (true, false) => kept.push_str(CUT),
            (true, true) => {}
            (false, _) => kept.push(*c),
        }
        inside = cut;
    }
    kept
}

/// Printable ASCII, with escapes for everything else and for quotes, at most [`LONGEST`] bytes.
fn escaped(text: &str) -> String {
    let mut said = String::new();
    for c in text.trim().chars() {
        let piece: String = c.escape_default().collect();
        if said.len().saturating_add(piece.len()) > LONGEST {
            break;
        }
        said.push_str(&piece);
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::support::answer;

    fn of(text: &str, sent: &[&str]) -> String {
        let body = serde_json::json!({ "error": "x", "error_description": text }).to_string();
        let sent: Vec<_> = sent
            .iter()
            .map(|sent| Zeroizing::new(sent.as_bytes().to_vec()))
            .collect();
        said(&answer(400, &body), &sent)
            .as_deref()
            .unwrap_or_default()
            .to_owned()
    }

    #[test]
    fn it_is_bounded_and_escaped() {
        assert_eq!(of("Client not enabled", &[]), "Client not enabled");
        assert_eq!(
            of("\u{1b}[31m\"a\\b\n\u{fc}", &[]),
            r#"\u{1b}[31m\"a\\b\n\u{fc}"#
        );
        assert_eq!(of(&"a".repeat(2000), &[]), "a".repeat(256));
        assert_eq!(of(&"\"".repeat(2000), &[]).len(), 256);
        assert_eq!(of("  ", &[]), "");
        let token = r#"{"error":"x","error_description":"y","access_token":"z"}"#;
        assert_eq!(said(&answer(400, token), &[]), None, "a token is in it");
    }

    #[test]
    fn what_was_sent_is_cut_out_also_in_part() {
        let secret = "s3cret-SENTINEL-9b1f";
        for (text, expected) in [
            ("wrong: s3cret-SENTINEL-9b1f!", "wrong: [cut]!"),
            ("S3CRET-sentinel-9B1F", "[cut]"),
            (
                "begins with s3cret-SENT and ends",
                "begins with [cut] and ends",
            ),
            ("s3cret-SENTINEL-9b1fs3cret-SENTINEL-9b1f", "[cut]"),
            ("s3cret", "s3cret"),
        ] {
            assert_eq!(of(text, &["", secret]), expected);
        }
        assert_eq!(of("is pw1 right?", &["pw1"]), "is [cut] right?");
        // It is cut before the text is bounded.
        let far = format!("{}{secret}", " a".repeat(120));
        assert!(!of(&far, &[secret]).contains("s3c"));
    }
}
