//! What makes a token the same token before and after a reload.
//!
//! Owns the comparison of two configurations from the view of one cached token: everything that decides which token the
//! issuer gives. Never compares what does not change the token, such as time limits.

use std::sync::Arc;
use std::time::Duration;

use claviger_oauth::{AudienceStyle, Grant, ReducedScope, TokenFormat, TokenSettings};
use claviger_oauth_wire::Pointer;

/// Everything that decides which token the issuer gives, except the scopes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TokenIdentity {
    origin: Arc<str>,
    client: Arc<str>,
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

impl TokenIdentity {
    /// The identity of a token whose issuer, client and backends are described by `origin`.
    pub(super) fn new(token: &TokenSettings, origin: Arc<str>) -> Self {
        // Destructured, so that a new setting does not compile before somebody has decided about it.
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
        } = token;
        let mut resources = resources.clone();
        resources.sort_unstable();
        Self {
            origin,
            client: Arc::clone(client),
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

#[cfg(test)]
mod tests {
    use super::*;
    use claviger_oauth_wire::Scopes;

    fn settings() -> TokenSettings {
        TokenSettings {
            name: Arc::from("billing-api"),
            client: Arc::from("billing"),
            grant: Grant::ClientCredentials,
            scopes: Scopes::none(),
            resources: Vec::new(),
            audience: None,
            audience_style: AudienceStyle::Rfc8707,
            verify_resource: false,
            environment: None,
            default_lifetime: Duration::from_hours(1),
            max_lifetime: Duration::from_hours(24),
            format: TokenFormat::Auto,
            min_length: None,
            reduced_scope: ReducedScope::Serve,
            token_pointer: None,
        }
    }

    #[test]
    fn every_setting_that_changes_the_token_changes_its_identity() {
        let same = TokenIdentity::new(&settings(), Arc::from("v1"));
        assert_eq!(same, TokenIdentity::new(&settings(), Arc::from("v1")));
        assert_ne!(same, TokenIdentity::new(&settings(), Arc::from("v2")));
        let changes: [fn(&mut TokenSettings); 7] = [
            |token| token.audience = Some("https://api.example.com".to_owned()),
            |token| token.resources = vec!["https://api.example.com".to_owned()],
            |token| token.environment = Some("prod".to_owned()),
            |token| token.audience_style = AudienceStyle::Audience,
            |token| token.verify_resource = true,
            |token| token.max_lifetime = Duration::from_mins(5),
            |token| token.token_pointer = Some("/authed_user/access_token".parse().unwrap()),
        ];
        for change in changes {
            let mut altered = settings();
            change(&mut altered);
            let other = TokenIdentity::new(&altered, Arc::from("v1"));
            assert_ne!(same, other, "{altered:?}");
        }
    }
}
