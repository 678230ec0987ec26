//! `WWW-Authenticate` of resource servers (RFC 9110 §11.6.1, RFC 6750 §3, RFC 9728 §5.1).
//!
//! Owns the reading of challenges that a peer reports back when its token was not accepted. Peers relay what resource servers
//! send, so both are outsiders: the header is bounded, what cannot be parsed is skipped, and no text of it is kept except
//! scopes and the address of the resource's metadata, which are checked.

use crate::Scopes;
use crate::response::ErrorCode;

/// The longest header that is read; the rest is ignored.
const MAX_HEADER: usize = 8 * 1024;

/// The most challenges that are read; the rest is ignored.
const MAX_CHALLENGES: usize = 16;

/// One challenge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// The scheme in lower case, for example `bearer`.
    pub scheme: String,
    /// Why the token was not accepted, if it says.
    pub error: Option<ErrorCode>,
    /// The scopes that would be needed, if it says.
    pub scope: Option<Scopes>,
    /// Where the resource describes itself, if it says. Not checked to be a URL.
    pub resource_metadata: Option<String>,
}

/// Reads the challenges of one header value. Total: what cannot be understood is left out.
#[must_use]
pub fn parse(header: &str) -> Vec<Challenge> {
    let end = header.floor_char_boundary(MAX_HEADER);
    let mut rest = header.get(..end).unwrap_or_default();
    let mut challenges = Vec::<Challenge>::new();
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        let (word, after) = token(rest);
        if word.is_empty() {
            // Not a token: skip one character and resynchronize.
            let mut characters = rest.chars();
            if characters.next().is_none() {
                return challenges;
            }
            rest = characters.as_str();
            continue;
        }
        let value = after
            .trim_start_matches([' ', '\t'])
            .strip_prefix('=')
            .map(|text| text.trim_start_matches([' ', '\t']))
            .and_then(value);
        match (value, challenges.last_mut()) {
            (Some((value, after)), Some(challenge)) => {
                challenge.set(word, &value);
                rest = after;
            }
            (Some((_, after)), None) => rest = after,
            (None, _) => {
                if challenges.len() >= MAX_CHALLENGES {
                    return challenges;
                }
                challenges.push(Challenge {
                    scheme: word.to_ascii_lowercase(),
                    ..Challenge::default()
                });
                rest = skip_token68(after);
            }
        }
    }
}

impl Challenge {
    /// Whether another token with more scopes would be accepted (RFC 6750 §3.1).
    #[must_use]
    pub fn wants_more_scope(&self) -> bool {
        self.error == Some(ErrorCode::InsufficientScope)
    }

    /// Whether only a token from another authentication of the user would be accepted (RFC 9470 section 3).
    #[must_use]
    pub fn wants_another_login(&self) -> bool {
        self.error == Some(ErrorCode::InsufficientUserAuthentication)
    }

    /// The first of a repeated parameter counts.
    fn set(&mut self, name: &str, value: &str) {
        if name.eq_ignore_ascii_case("error") {
            self.error.get_or_insert(ErrorCode::from_text(value));
        } else if name.eq_ignore_ascii_case("resource_metadata") {
            self.resource_metadata
                .get_or_insert_with(|| value.to_owned());
        } else if name.eq_ignore_ascii_case("scope")
            && self.scope.is_none()
            && let Ok(scopes) = Scopes::new(value.split_ascii_whitespace())
        {
            self.scope = Some(scopes);
        }
    }
}

/// A token of RFC 9110 §5.6.2 at the beginning of `text`, and the rest.
fn token(text: &str) -> (&str, &str) {
    let in_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = text.find(|c| !in_token(c)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// A token or a quoted string at the beginning of `text`, and the rest.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (word, rest) = token(text);
        return (!word.is_empty()).then(|| (word.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return Some((value, characters.as_str())),
            '\\' => value.extend(characters.next()),
            other => value.push(other),
        }
    }
    // Truncated before the closing quote: the value may be incomplete.
    None
}

/// Steps over the credentials-like blob that some schemes have instead of parameters (`Negotiate abc==`).
fn skip_token68(text: &str) -> &str {
    let Some(blob) = text.strip_prefix(' ') else {
        return text;
    };
    let in_blob = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
    let rest = blob
        .trim_start_matches(' ')
        .trim_start_matches(in_blob)
        .trim_start_matches('=')
        .trim_start_matches(' ');
    // A blob stands alone; with anything but a comma after it, it was the first parameter's name.
    if rest.is_empty() || rest.starts_with(',') {
        rest
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schemes(header: &str) -> Vec<String> {
        parse(header).into_iter().map(|one| one.scheme).collect()
    }

    #[test]
    fn a_bearer_challenge_says_what_is_missing() {
        let challenges = parse(
            r#"Bearer realm="a, \"b\"", error="insufficient_scope" ,scope="write read", resource_metadata="https://api.example/.well-known/oauth-protected-resource""#,
        );
        let [challenge] = challenges.as_slice() else {
            panic!("one challenge, not {challenges:?}");
        };
        assert_eq!(challenge.scheme, "bearer");
        assert!(challenge.wants_more_scope());
        assert_eq!(challenge.scope, Scopes::new(["read", "write"]).ok());
        assert_eq!(
            challenge.resource_metadata.as_deref(),
            Some("https://api.example/.well-known/oauth-protected-resource")
        );
    }

    #[test]
    fn several_challenges_are_told_apart() {
        for (header, expected) in [
            ("Bearer", &["bearer"][..]),
            ("Bearer, Basic", &["bearer", "basic"]),
            (
                "Negotiate abc==, Bearer error=invalid_token",
                &["negotiate", "bearer"],
            ),
            (
                "DPoP algs=\"ES256 PS256\", error=\"use_dpop_nonce\"",
                &["dpop"],
            ),
            (
                "Basic realm=x, Digest realm=\"y\", nonce=z, Bearer scope=\"a\"",
                &["basic", "digest", "bearer"],
            ),
            (",, Bearer ,, error = \"invalid_token\"", &["bearer"]),
            ("error=invalid_token", &[]),
            ("\"Bearer\" Basic", &["bearer", "basic"]),
            ("", &[]),
            (" , ", &[]),
            ("äöü", &[]),
        ] {
            assert_eq!(schemes(header), expected, "{header}");
        }
        let second = &parse("Negotiate abc==, Bearer error=invalid_token")[1];
        assert_eq!(second.error, Some(ErrorCode::InvalidToken));
        let dpop = &parse("DPoP algs=\"ES256 PS256\", error=\"use_dpop_nonce\"")[0];
        assert_eq!(dpop.error, Some(ErrorCode::UseDpopNonce));
        let step_up = parse("Bearer error=\"insufficient_user_authentication\", acr_values=\"x\"");
        assert!(step_up[0].wants_another_login() && !step_up[0].wants_more_scope());
    }

    #[test]
    fn malformed_parts_are_skipped() {
        let first = &parse("Bearer error=invalid_token, error=insufficient_scope")[0];
        assert_eq!(first.error, Some(ErrorCode::InvalidToken));
        assert_eq!(parse("Bearer scope=\"a\\\\b\"")[0].scope, None);
        assert_eq!(
            parse("Bearer resource_metadata=\"https://cut")[0].resource_metadata,
            None
        );
        assert_eq!(parse(&"Bearer, ".repeat(99)).len(), MAX_CHALLENGES);
        assert_eq!(
            parse(&format!(
                "Bearer realm=\"{}\", error=invalid_token",
                "x".repeat(9000)
            ))[0]
                .error,
            None
        );
        assert_eq!(
            parse("Bearer error=\"something_new\"")[0].error,
            Some(ErrorCode::Other)
        );
    }

    proptest! {
        #[test]
        fn no_header_panics(text in ".{0,200}", almost in "[A-Za-z =,\"\\\\]{0,200}") {
            let _outcome = (parse(&text), parse(&almost));
        }
    }
}
