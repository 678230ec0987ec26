//! What makes a token the same token before and after a reload.
//!
//! Owns the comparison of two configurations from the view of one cached token: everything that decides which token the
//! issuer gives, field by field. Every settings type is destructured without `..`, so that a new setting does not compile
//! before its author has decided whether a change of it ends cached tokens. Never compares how a type prints.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use claviger_backend::BackendName;
use url::Url;

use crate::config::Config;
use crate::registry::BackendSettings;
use claviger_oauth::{
    AudienceStyle, AuthMethod, ClientId, ClientSettings, Endpoints, Grant, IssuerSettings,
    ReducedScope, TokenFormat, TokenSettings,
};
use claviger_oauth_wire::Pointer;
use claviger_outbound::{DnsSettings, ResolverSettings, Settings as OutboundSettings};

/// Everything that decides which token the issuer gives, except the scopes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TokenIdentity {
    client: ClientIdentity,
    grant: Grant,
    resources: Vec<String>,
    audience: Option<String>,
    audience_style: AudienceStyle,
    verify_resource: bool,
    environment: Option<String>,
    default_lifetime: Duration,
    max_lifetime: Duration,
    format: TokenFormat,
    min_length: Option<usize>,
    reduced_scope: ReducedScope,
    token_pointer: Option<Pointer>,
}

#[derive(Debug, PartialEq, Eq)]
struct ClientIdentity {
    name: Arc<str>,
    issuer: IssuerIdentity,
    id: ClientId,
    auth: AuthMethod,
    /// The backends of its references: a reference means another client once its backend is another store.
    stores: BTreeMap<BackendName, BackendSettings>,
}

#[derive(Debug, PartialEq, Eq)]
struct IssuerIdentity {
    name: Arc<str>,
    issuer: String,
    endpoints: Endpoints,
    outbound: OutboundIdentity,
    missing_token_type_is_bearer: bool,
}

/// What decides which server is reached under the issuer's name.
#[derive(Debug, PartialEq, Eq)]
struct OutboundIdentity {
    ca: Option<PathBuf>,
    pins: Vec<[u8; 32]>,
    dns: DnsIdentity,
    allow_loopback_http: bool,
    proxy: Option<Url>,
}

#[derive(Debug, PartialEq, Eq)]
struct DnsIdentity {
    resolver: ResolverSettings,
    dnssec: bool,
    ca: Option<PathBuf>,
    allow: Vec<ipnet::IpNet>,
}

impl TokenIdentity {
    /// The identity of a token of `config`.
    pub(super) fn new(config: &Config, token: &TokenSettings) -> Self {
        let TokenSettings {
            name: _,   // The cache keeps tokens by name.
            scopes: _, // The cache compares scopes itself.
            client,
            grant,
            resources,
            audience,
            audience_style,
            verify_resource,
            environment,
            default_lifetime,
            max_lifetime,
            format,
            min_length,
            reduced_scope,
            token_pointer,
            idle: _, // Decides how long a token is renewed, not which one it is.
        } = token;
        let mut resources = resources.clone();
        resources.sort_unstable();
        Self {
            client: ClientIdentity::new(config, client),
            grant: *grant,
            resources,
            audience: audience.clone(),
            audience_style: *audience_style,
            verify_resource: *verify_resource,
            environment: environment.clone(),
            default_lifetime: *default_lifetime,
            max_lifetime: *max_lifetime,
            format: *format,
            min_length: *min_length,
            reduced_scope: *reduced_scope,
            token_pointer: token_pointer.clone(),
        }
    }
}

impl ClientIdentity {
    fn new(config: &Config, client: &ClientSettings) -> Self {
        let ClientSettings {
            name,
            issuer,
            id,
            auth,
        } = client;
        Self {
            name: Arc::clone(name),
            issuer: IssuerIdentity::new(issuer),
            id: id.clone(),
            auth: auth.clone(),
            stores: config
                .backends
                .iter()
                .filter(|(name, _)| client.references().any(|one| one.backend == *name))
                .cloned()
                .collect(),
        }
    }
}

impl IssuerIdentity {
    fn new(issuer: &IssuerSettings) -> Self {
        let IssuerSettings {
            name,
            issuer,
            endpoints,
            on_metadata_change: _, // Decides about later requests, not about a token that was issued.
            outbound,
            requests_per_minute: _, // The rate does not affect which token is issued.
            missing_token_type_is_bearer,
        } = issuer;
        Self {
            name: Arc::clone(name),
            issuer: issuer.clone(),
            endpoints: endpoints.clone(),
            outbound: OutboundIdentity::new(outbound),
            missing_token_type_is_bearer: *missing_token_type_is_bearer,
        }
    }
}

impl OutboundIdentity {
    fn new(settings: &OutboundSettings) -> Self {
        let OutboundSettings {
            ca,
            pins,
            dns,
            allow_loopback_http,
            timeout: _, // The time limit does not affect which token is issued.
            connect_timeout: _,
            proxy,
        } = settings;
        Self {
            ca: ca.clone(),
            pins: pins.clone(),
            dns: DnsIdentity::new(dns),
            allow_loopback_http: *allow_loopback_http,
            proxy: proxy.clone(),
        }
    }
}

impl DnsIdentity {
    fn new(dns: &DnsSettings) -> Self {
        let DnsSettings {
            resolver,
            dnssec,
            ca,
            timeout: _, // As the time limits of the issuer.
            allow,
        } = dns;
        Self {
            resolver: resolver.clone(),
            dnssec: *dnssec,
            ca: ca.clone(),
            allow: allow.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const TEXT: &str = "\
        [backends.one]\ntype = 'file'\ndirectory = '/one'\nkey_file = '/key'\n\
        [backends.two]\ntype = 'file'\ndirectory = '/two'\nkey_file = '/key'\n\
        [backends.other]\ntype = 'file'\ndirectory = '/other'\nkey_file = '/key'\n\
        [issuers.acme]\nissuer = 'https://auth.example'\ntimeout = '20s'\n\
        [issuers.acme.dns]\nresolver = 'system'\n\
        [clients.billing]\nissuer = 'acme'\nid = 'one:id'\n\
        auth = { method = 'client_secret_basic', secret = 'two:secret' }\n\
        [tokens.api]\nclient = 'billing'\ngrant = 'client_credentials'\nscopes = ['read']\n\
        resource = ['https://a.example', 'https://b.example']\n";

    fn identity(text: &str) -> TokenIdentity {
        let config = Config::parse(text, Path::new("claviger.toml"))
            .unwrap_or_else(|problems| panic!("{problems}"));
        TokenIdentity::new(&config, &config.tokens[0])
    }

    #[test]
    fn what_decides_about_the_token_ends_it_and_nothing_else_does() {
        let before = identity(TEXT);
        assert_eq!(before, identity(TEXT));
        for (from, to, same) in [
            ("'/other'", "'/another'", true),
            ("'/one'", "'/moved'", false),
            ("'/two'", "'/moved'", false),
            ("'one:id'", "'one:other'", false),
            ("'one:id'", "{ literal = 'x' }", false),
            ("'two:secret'", "'two:other'", false),
            ("client_secret_basic", "client_secret_post", false),
            ("'https://auth.example'", "'https://auth.other'", false),
            ("timeout = '20s'", "timeout = '21s'", true),
            ("timeout = '20s'", "connect_timeout = '1s'", true),
            ("timeout = '20s'", "requests_per_minute = 7", true),
            ("timeout = '20s'", "on_metadata_change = 'hold'", true),
            ("timeout = '20s'", "ca = '/ca.pem'", false),
            (
                "timeout = '20s'",
                "proxy = 'http://proxy.example:3128'",
                false,
            ),
            ("timeout = '20s'", "missing_token_type = 'bearer'", false),
            (
                "timeout = '20s'",
                "token_endpoint = 'https://auth.example/t'",
                false,
            ),
            ("resolver = 'system'", "timeout = '9s'", true),
            ("resolver = 'system'", "allow = ['10.0.0.0/8']", false),
            ("['read']", "['read', 'write']", true),
            ("['read']", "['read']\nidle = '5m'", true),
            (
                "['https://a.example', 'https://b.example']",
                "['https://b.example', 'https://a.example']",
                true,
            ),
            ("'https://b.example'", "'https://c.example'", false),
            ("['read']", "['read']\naudience = 'x'", false),
            ("['read']", "['read']\naudience_style = 'none'", false),
            ("['read']", "['read']\nenvironment = 'prod'", false),
            ("['read']", "['read']\nverify_resource = true", false),
            ("['read']", "['read']\nmax_lifetime = '5h'", false),
            ("['read']", "['read']\ndefault_lifetime = '5m'", false),
            ("['read']", "['read']\nformat = 'jwt'", false),
            ("['read']", "['read']\nmin_length = 9", false),
            ("['read']", "['read']\nreduced_scope = 'refuse'", false),
            ("['read']", "['read']\ntoken_pointer = '/a/b'", false),
        ] {
            let changed = TEXT.replace(from, to);
            assert_ne!(changed, TEXT, "{from}");
            assert_eq!(identity(&changed) == before, same, "{from} becomes {to}");
        }
    }
}
