//! Which endpoints are acceptable.
//!
//! Owns the rules for URLs that claviger sends credentials to: https, and http only in development to a literal loopback
//! address of an issuer that is itself there. The configuration is trusted further than a document: a literal
//! private address is fine in the configuration, not in metadata. Names are judged later, when they resolve, by `dns`. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

use crate::dns::AddressPolicy;

/// Why a URL is not acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointFlaw {
    /// It is no absolute URL with a host.
    #[error("it is not an absolute URL")]
    NotUrl,
    /// It is `http://` where that is not allowed, or of another scheme.
    #[error("HTTP OAuth endpoints not allowed in production")]
    Insecure,
    /// It has a user, a password or a fragment; or it is an issuer and has a query.
    #[error("it has a user, a password, a query or a fragment")]
    Extras,
    /// Metadata writes it in another form than it would be sent in.
    #[error("metadata does not write it in its normal form")]
    NotNormal,
    /// Metadata names a literal address that is not public.
    #[error("metadata names an address that is not allowed")]
    Address,
}

/// The rules of one issuer.
#[derive(Clone, Debug)]
pub struct EndpointRules {
    issuer: Url,
    /// Whether the issuer itself is in the clear on loopback, and so may its endpoints be.
    clear: bool,
    policy: AddressPolicy,
}

impl EndpointRules {
    /// The rules for the server whose own address is `issuer`. `allow` lists networks that are acceptable although they are not
    /// public; `allow_loopback_http` accepts `http://` to a literal loopback address.
    ///
    /// # Errors
    /// If `issuer` itself is not acceptable.
    pub fn new(
        issuer: &str,
        allow: &[IpNet],
        allow_loopback_http: bool,
    ) -> Result<Self, EndpointFlaw> {
        let issuer = parse(issuer)?;
        if issuer.query().is_some() {
            return Err(EndpointFlaw::Extras);
        }
        let mut allow = allow.to_vec();
        if allow_loopback_http && issuer.host() == Some(Host::Domain("localhost")) {
            allow.push(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8).into());
            allow.push(Ipv6Net::from(Ipv6Addr::LOCALHOST).into());
        }
        let clear = match issuer.scheme() {
            "https" => false,
            "http" if allow_loopback_http && is_loopback(&issuer) => true,
            _ => return Err(EndpointFlaw::Insecure),
        };
        Ok(Self {
            issuer,
            clear,
            policy: AddressPolicy::new(allow),
        })
    }

    /// The policy for addresses that names resolve to.
    pub fn policy(&self) -> &AddressPolicy {
        &self.policy
    }

    /// Whether nothing of this issuer needs trust roots.
    pub fn in_the_clear(&self) -> bool {
        self.clear
    }

    /// Checks an endpoint that the operator wrote.
    ///
    /// # Errors
    /// An [`EndpointFlaw`] if the URL is not acceptable.
    pub fn configured(&self, text: &str) -> Result<Url, EndpointFlaw> {
        let url = parse(text)?;
        match url.scheme() {
            "https" => Ok(url),
            "http" if self.clear && is_loopback(&url) => Ok(url),
            _ => Err(EndpointFlaw::Insecure),
        }
    }

    /// Checks an endpoint that a document names.
    ///
    /// # Errors
    /// An [`EndpointFlaw`] if the URL is not acceptable.
    pub fn discovered(&self, text: &str) -> Result<Url, EndpointFlaw> {
        let url = self.configured(text)?;
        let literal = address(&url);
        if url.host() != self.issuer.host()
            && literal.is_some_and(|address| !self.policy.permits(address))
        {
            return Err(EndpointFlaw::Address);
        }
        // The parser repairs as browsers do: backslashes, tabs, other alphabets, numbers as addresses. Another reader of the
        // document, or of the log, would see another server.
        if url.as_str() != text && url.as_str() != normalized(text) {
            return Err(EndpointFlaw::NotNormal);
        }
        Ok(url)
    }
}

/// The URL with its scheme and host in lower case and without the default port of HTTPS, which proxied servers write. No reader
/// takes either for another server.
fn normalized(text: &str) -> String {
    let authority = text.find("://").map_or(0, |at| at.saturating_add(3));
    let length = text
        .bytes()
        .skip(authority)
        .position(|byte| byte == b'/')
        .map_or(text.len(), |at| authority.saturating_add(at));
    let (origin, path) = text.split_at_checked(length).unwrap_or((text, ""));
    let origin = origin.to_ascii_lowercase();
    let is_https = origin.starts_with("https://");
    let origin = origin
        .strip_suffix(":443")
        .filter(|_| is_https)
        .unwrap_or(&origin);
    format!("{origin}{path}")
}

/// Checks the address of an egress proxy: `http://HOST:PORT`, without a user, a path or a query.
///
/// # Errors
/// An [`EndpointFlaw`] if it is anything else.
pub fn proxy(text: &str) -> Result<Url, EndpointFlaw> {
    let url = parse(text)?;
    match url.scheme() {
        "http" if url.path() == "/" && url.query().is_none() => Ok(url),
        "http" => Err(EndpointFlaw::Extras),
        _ => Err(EndpointFlaw::NotUrl),
    }
}

fn parse(text: &str) -> Result<Url, EndpointFlaw> {
    let url = Url::parse(text).map_err(|_parse| EndpointFlaw::NotUrl)?;
    if url.host().is_none() {
        return Err(EndpointFlaw::NotUrl);
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(EndpointFlaw::Extras);
    }
    Ok(url)
}

/// The literal address that the URL names, if it names one.
fn address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
    }
}

fn is_loopback(url: &Url) -> bool {
    address(url).is_some_and(|address| address.is_loopback())
}
