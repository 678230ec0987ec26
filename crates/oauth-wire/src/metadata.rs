//! Metadata of an authorization server (RFC 8414, OpenID Connect Discovery 1.0).
//!
//! Owns where the document lies, which of its fields claviger reads, and when the issuer it names is the configured
//! one. Whether an endpoint is acceptable is decided by `oauth`; this module only reads.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use crate::trimmed;

/// The largest metadata document that is read.
pub const MAX_BODY: usize = 1024 * 1024;

/// The longest list in one, and the longest address. Real ones have a dozen items.
const MOST_ITEMS: usize = 1024;
const LONGEST: usize = 2048;

/// The fields that matter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Metadata {
    /// The issuer that the document is about.
    pub issuer: String,
    /// Where tokens are.
    pub token_endpoint: Option<String>,
    /// Where tokens are revoked (RFC 7009).
    pub revocation_endpoint: Option<String>,
    /// How clients may authenticate at the token endpoint; `None` means `client_secret_basic`.
    pub token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// The scopes that clients may request, as far as the issuer says. `None` also if this is no list, or a very long one:
    /// it is only advice.
    #[serde(default, deserialize_with = "advice")]
    pub scopes_supported: Option<Vec<String>>,
}

/// A list of texts, if it is one.
fn advice<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Advice {
        List(Vec<String>),
        Other(IgnoredAny),
    }
    Ok(match Advice::deserialize(deserializer)? {
        Advice::List(list) => Some(list).filter(|list| list.len() <= MOST_ITEMS),
        Advice::Other(_) => None,
    })
}

/// Why a document is no metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataFlaw {
    /// Longer than is parsed, or with a longer list or address.
    #[error("the metadata is too large")]
    TooLarge,
    /// Not a JSON object with an `issuer`, a field of another type, or a field twice.
    #[error("the metadata is malformed")]
    Malformed,
}

/// Reads a metadata document.
///
/// # Errors
/// A [`MetadataFlaw`].
pub fn parse(body: &[u8]) -> Result<Metadata, MetadataFlaw> {
    let text = trimmed(body);
    if text.len() > MAX_BODY {
        return Err(MetadataFlaw::TooLarge);
    }
    if !text.starts_with(b"{") {
        return Err(MetadataFlaw::Malformed);
    }
    let metadata: Metadata =
        serde_json::from_slice(text).map_err(|_quotes_input| MetadataFlaw::Malformed)?;
    let methods = metadata.token_endpoint_auth_methods_supported.as_ref();
    let many = methods.is_some_and(|methods| methods.len() > MOST_ITEMS);
    let addresses = [&metadata.token_endpoint, &metadata.revocation_endpoint];
    let long = addresses
        .into_iter()
        .flatten()
        .any(|one| one.len() > LONGEST);
    if many || long || metadata.issuer.len() > LONGEST {
        return Err(MetadataFlaw::TooLarge);
    }
    Ok(metadata)
}

/// Where the metadata of `issuer` may be, in the order of requests: with the path inserted (RFC 8414 §3.1), then appended
/// (OpenID Connect Discovery 1.0 §4).
#[must_use]
pub fn well_known(issuer: &str) -> [String; 2] {
    let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
    let (origin, path) = split_origin(issuer);
    [
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{issuer}/.well-known/openid-configuration"),
    ]
}

/// Whether `stated` is the issuer that was configured: exactly the same, but for the slash of an empty path.
#[must_use]
pub fn same_issuer(configured: &str, stated: &str) -> bool {
    let bare = |issuer: &'_ str| match split_origin(issuer) {
        (origin, "" | "/") => Some(origin.to_owned()),
        _ => None,
    };
    configured == stated || bare(configured).is_some_and(|origin| bare(stated) == Some(origin))
}

/// Splits `https://host/path` before the path.
fn split_origin(issuer: &str) -> (&str, &str) {
    let host = issuer.find("://").map_or(0, |at| at.saturating_add(3));
    let path = issuer
        .get(host..)
        .and_then(|rest| rest.find('/'))
        .map_or(issuer.len(), |at| host.saturating_add(at));
    issuer.split_at_checked(path).unwrap_or((issuer, ""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn documents_lie_where_the_standards_say() {
        for (issuer, inserted, appended) in [
            (
                "https://a.example",
                "https://a.example/.well-known/oauth-authorization-server",
                "https://a.example/.well-known/openid-configuration",
            ),
            (
                "https://a.example/",
                "https://a.example/.well-known/oauth-authorization-server",
                "https://a.example/.well-known/openid-configuration",
            ),
            (
                "https://a.example:8443/tenant/1/",
                "https://a.example:8443/.well-known/oauth-authorization-server/tenant/1",
                "https://a.example:8443/tenant/1/.well-known/openid-configuration",
            ),
        ] {
            assert_eq!(well_known(issuer), [inserted, appended]);
        }
    }

    #[test]
    fn issuers_are_compared_exactly_but_for_the_empty_path() {
        for (configured, stated, same) in [
            ("https://a.example", "https://a.example", true),
            ("https://a.example", "https://a.example/", true),
            ("https://a.example/", "https://a.example", true),
            ("https://a.example/t", "https://a.example/t/", false),
            ("https://a.example/t", "https://a.example/T", false),
            ("https://a.example", "https://A.example", false),
            ("https://a.example", "http://a.example", false),
            ("https://a.example", "https://a.example:443", false),
            ("https://a.example", "https://a.example//", false),
            ("https://a.example", "https://a.example.evil.example", false),
            ("https://a.example", "https://b.example/", false),
        ] {
            assert_eq!(same_issuer(configured, stated), same, "{stated}");
        }
    }

    #[test]
    fn only_an_object_with_an_issuer_is_metadata() {
        let document =
            br#"{"issuer":"https://a.example","token_endpoint":"https://a.example/token",
            "grant_types_supported":["client_credentials"],"claims":[{}],"jwks_uri":7}"#;
        let metadata = parse(document).unwrap();
        assert_eq!(metadata.issuer, "https://a.example");
        assert_eq!(
            metadata.token_endpoint.as_deref(),
            Some("https://a.example/token")
        );
        assert_eq!(metadata.revocation_endpoint, None);
        for (scopes, read) in [
            (r#"["a","b"]"#, Some(vec!["a".to_owned(), "b".to_owned()])),
            (r#""a b""#, None),
            ("[1]", None),
            ("null", None),
        ] {
            let document = format!(r#"{{"issuer":"a","scopes_supported":{scopes}}}"#);
            let metadata = parse(document.as_bytes()).unwrap();
            assert_eq!(metadata.scopes_supported, read, "{scopes}");
        }
        for bad in [
            "",
            "{}",
            "[]",
            r#"["https://a.example",null,null,null]"#,
            "<html>",
            r#"{"issuer":7}"#,
            r#"{"issuer":"a","issuer":"b"}"#,
            r#"{"issuer":"a","token_endpoint":["b"]}"#,
            r#"{"issuer":"a"} trailing"#,
        ] {
            assert_eq!(parse(bad.as_bytes()), Err(MetadataFlaw::Malformed), "{bad}");
        }
        let many = format!(
            r#"{{"issuer":"a","token_endpoint_auth_methods_supported":[{}""]}}"#,
            r#""m","#.repeat(MOST_ITEMS)
        );
        let long = "a".repeat(LONGEST + 1);
        let issuer = format!(r#"{{"issuer":"{long}"}}"#);
        let endpoint = format!(r#"{{"issuer":"a","token_endpoint":"{long}"}}"#);
        for large in [many, issuer, endpoint] {
            assert_eq!(parse(large.as_bytes()), Err(MetadataFlaw::TooLarge));
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in ".{0,60}") {
            let _outcome = (parse(&bytes), well_known(&text), same_issuer(&text, "https://a.example"));
        }
    }
}
