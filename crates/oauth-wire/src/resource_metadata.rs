//! Metadata of a protected resource (RFC 9728).
//!
//! Owns where the document lies, which of its fields claviger reads, and whether it names a resource and an issuer. The
//! consequences are decided by `oauth`; this module only reads.

use serde::Deserialize;

use crate::{metadata, path, trimmed};

/// The largest document that is read. Real ones have a few hundred bytes, signed ones a few thousand.
pub const MAX_BODY: usize = 256 * 1024;

/// The longest list in one.
const MOST_ITEMS: usize = 1024;

/// The longest address in one.
const LONGEST: usize = 2048;

/// The fields that matter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ResourceMetadata {
    /// The resource that the document is about.
    pub resource: String,
    /// The issuers whose tokens it takes.
    pub authorization_servers: Option<Vec<String>>,
    /// The scopes that mean something there.
    pub scopes_supported: Option<Vec<String>>,
    /// How bearer tokens may be presented (RFC 6750 §2); an empty list means not at all.
    pub bearer_methods_supported: Option<Vec<String>>,
    /// Whether tokens must be bound to a client certificate (RFC 8705).
    pub tls_client_certificate_bound_access_tokens: Option<bool>,
    /// Whether tokens must be bound to a key (RFC 9449).
    pub dpop_bound_access_tokens_required: Option<bool>,
}

/// Why a document is no metadata of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceMetadataFlaw {
    /// Longer than is parsed, or with a longer list.
    #[error("the resource's metadata is too large")]
    TooLarge,
    /// Not a JSON object with a `resource`, a field of another type, or a field twice.
    #[error("the resource's metadata is malformed")]
    Malformed,
}

/// Reads a metadata document.
///
/// # Errors
/// A [`ResourceMetadataFlaw`].
pub fn parse(body: &[u8]) -> Result<ResourceMetadata, ResourceMetadataFlaw> {
    let text = trimmed(body);
    if text.len() > MAX_BODY {
        return Err(ResourceMetadataFlaw::TooLarge);
    }
    if !text.starts_with(b"{") {
        return Err(ResourceMetadataFlaw::Malformed);
    }
    let metadata: ResourceMetadata =
        serde_json::from_slice(text).map_err(|_quotes_input| ResourceMetadataFlaw::Malformed)?;
    let lists = [
        &metadata.authorization_servers,
        &metadata.scopes_supported,
        &metadata.bearer_methods_supported,
    ];
    let long = lists
        .into_iter()
        .flatten()
        .any(|list| list.len() > MOST_ITEMS || list.iter().any(|item| item.len() > LONGEST));
    if long || metadata.resource.len() > LONGEST {
        return Err(ResourceMetadataFlaw::TooLarge);
    }
    Ok(metadata)
}

impl ResourceMetadata {
    /// Whether it is about `resource`: exactly the same text (RFC 9728 §3.3).
    #[must_use]
    pub fn is_about(&self, resource: &str) -> bool {
        self.resource == resource
    }

    /// Whether it names `issuer`. A document without issuers confirms none.
    #[must_use]
    pub fn names(&self, issuer: &str) -> bool {
        let named = self.authorization_servers.iter().flatten();
        named
            .into_iter()
            .any(|stated| metadata::same_issuer(issuer, stated))
    }

    /// Whether it takes bearer tokens in the header `Authorization`, or does not say that it does not.
    #[must_use]
    pub fn takes_bearer(&self) -> bool {
        let by_header = |methods: &Vec<String>| methods.iter().any(|method| method == "header");
        let bound = [
            self.tls_client_certificate_bound_access_tokens,
            self.dpop_bound_access_tokens_required,
        ];
        self.bearer_methods_supported.as_ref().is_none_or(by_header) && !bound.contains(&Some(true))
    }
}

/// Where the metadata of `resource` lies: the well-known path stands between the host and what follows it (RFC 9728 §3.1).
/// `None` if the resource is no address with a host, as a URN, or needs repair, or if its path leads elsewhere than it says.
#[must_use]
pub fn well_known(resource: &str) -> Option<String> {
    let (scheme, rest) = resource.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, rest) = rest.split_at_checked(end)?;
    // Readers differ about characters that no address has (RFC 3986 §2), and about an invalid scheme (§3.1).
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    let of_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let readable = resource.bytes().all(plain) && scheme.bytes().all(of_scheme);
    if !readable || scheme.is_empty() || host.is_empty() || path::has_dot_segments(rest) {
        return None;
    }
    // A slash that follows the host and ends the path is no path.
    let rest = match rest.strip_prefix('/') {
        Some(rest) if rest.is_empty() || rest.starts_with('?') => rest,
        _ => rest,
    };
    Some(format!(
        "{scheme}://{host}/.well-known/oauth-protected-resource{rest}"
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn documents_lie_where_the_standard_says() {
        for (resource, expected) in [
            (
                "https://r.example",
                Some("https://r.example/.well-known/oauth-protected-resource"),
            ),
            (
                "https://r.example/",
                Some("https://r.example/.well-known/oauth-protected-resource"),
            ),
            (
                "https://r.example/one",
                Some("https://r.example/.well-known/oauth-protected-resource/one"),
            ),
            (
                "https://r.example:8443/one/two/",
                Some("https://r.example:8443/.well-known/oauth-protected-resource/one/two/"),
            ),
            (
                "https://r.example/one?k=/v",
                Some("https://r.example/.well-known/oauth-protected-resource/one?k=/v"),
            ),
            (
                "https://r.example?k=v",
                Some("https://r.example/.well-known/oauth-protected-resource?k=v"),
            ),
            (
                "https://r.example/?k=v",
                Some("https://r.example/.well-known/oauth-protected-resource?k=v"),
            ),
            (
                "https://[2001:db8::1]/a",
                Some("https://[2001:db8::1]/.well-known/oauth-protected-resource/a"),
            ),
            ("https://r.example/../one", None),
            ("https://r.example/one/%2e%2E/two?k=v", None),
            ("https://r.example/one\\..\\..\\two", None),
            ("https://r.example\\evil/one", None),
            ("https://r.example/.\t./one", None),
            ("https:/r.example?k=://one", None),
            ("urn:example:one", None),
            ("https://", None),
            ("https:///path", None),
            ("://r.example", None),
            ("", None),
        ] {
            assert_eq!(well_known(resource).as_deref(), expected, "{resource}");
        }
    }

    #[test]
    fn a_document_is_about_one_resource_and_names_its_issuers() {
        let document = br#"{"resource":"https://r.example/one",
            "authorization_servers":["https://b.example/t","https://a.example/"],
            "scopes_supported":["read","write"],"bearer_methods_supported":["header","body"],
            "jwks_uri":7,"resource_name#de":"Rechnungen","tls_client_certificate_bound_access_tokens":false}"#;
        let metadata = parse(document).unwrap();
        assert_eq!(metadata.scopes_supported.as_ref().unwrap().len(), 2);
        for (resource, about) in [
            ("https://r.example/one", true),
            ("https://r.example/one/", false),
            ("https://r.example/On", false),
            ("https://R.example/one", false),
            ("https://r.example", false),
        ] {
            assert_eq!(metadata.is_about(resource), about, "{resource}");
        }
        for (issuer, named) in [
            ("https://a.example", true),
            ("https://b.example/t", true),
            ("https://b.example/t/", false),
            ("https://b.example", false),
            ("https://c.example", false),
        ] {
            assert_eq!(metadata.names(issuer), named, "{issuer}");
        }
        assert!(metadata.takes_bearer());
        for fields in [
            "",
            r#","authorization_servers":[]"#,
            r#","authorization_servers":null"#,
        ] {
            let text = format!(r#"{{"resource":"https://r.example"{fields}}}"#);
            let metadata = parse(text.as_bytes()).unwrap();
            assert!(!metadata.names("https://a.example"), "{fields}");
            assert!(metadata.takes_bearer());
        }
    }

    #[test]
    fn bearer_tokens_in_the_header_are_refused_only_explicitly() {
        for (fields, takes) in [
            (r#""bearer_methods_supported":[]"#, false),
            (r#""bearer_methods_supported":["query"]"#, false),
            (r#""bearer_methods_supported":["header"]"#, true),
            (r#""dpop_bound_access_tokens_required":true"#, false),
            (r#""dpop_bound_access_tokens_required":false"#, true),
            (
                r#""tls_client_certificate_bound_access_tokens":true"#,
                false,
            ),
        ] {
            let text = format!(r#"{{"resource":"r",{fields}}}"#);
            let metadata = parse(text.as_bytes()).unwrap();
            assert_eq!(metadata.takes_bearer(), takes, "{fields}");
        }
    }

    #[test]
    fn any_other_document_is_malformed() {
        for bad in [
            "",
            "{}",
            "[]",
            "<html>",
            r#"["https://r.example",null,null,null,null,null]"#,
            r#"{"resource":7}"#,
            r#"{"resource":["r"]}"#,
            r#"{"resource":"a","resource":"b"}"#,
            r#"{"resource":"a","authorization_servers":"https://a.example"}"#,
            r#"{"resource":"a","authorization_servers":[7]}"#,
            r#"{"resource":"a"} trailing"#,
        ] {
            let flaw = Err(ResourceMetadataFlaw::Malformed);
            assert_eq!(parse(bad.as_bytes()), flaw, "{bad}");
        }
        let many = format!(
            r#"{{"resource":"a","scopes_supported":[{}""]}}"#,
            r#""s","#.repeat(MOST_ITEMS)
        );
        let long = format!(r#"{{"resource":"{}"}}"#, "a".repeat(LONGEST + 1));
        let name = format!(
            r#"{{"resource":"a","authorization_servers":["{}"]}}"#,
            "a".repeat(LONGEST + 1)
        );
        let huge = format!(r#"{{"resource":"a","x":"{}"}}"#, "a".repeat(MAX_BODY));
        for large in [many, long, name, huge] {
            let flaw = Err(ResourceMetadataFlaw::TooLarge);
            assert_eq!(parse(large.as_bytes()), flaw, "{} bytes", large.len());
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,60}") {
            let _outcome = (parse(&bytes), well_known(&text));
        }

        #[test]
        fn the_document_lies_at_the_host_of_the_resource(
            host in "[a-z]{1,9}(\\.[a-z]{2,5}){0,2}(:[1-9][0-9]{0,3})?",
            path in "(/[a-z0-9._~-]{1,8}){0,3}/?(\\?[a-z=&/?]{0,9})?",
        ) {
            let resource = format!("https://{host}{path}");
            let place = well_known(&resource);
            prop_assert_eq!(place.is_none(), path::has_dot_segments(&resource));
            if let Some(place) = place {
                let place = url::Url::parse(&place).unwrap();
                let resource = url::Url::parse(&resource).unwrap();
                prop_assert_eq!(place.origin(), resource.origin());
                prop_assert!(place.path().starts_with("/.well-known/oauth-protected-resource"));
            }
        }
    }
}
