//! What the configuration says about issuers, clients and tokens.
//!
//! Owns the settings of the engine. They are linked, not named: a token has its client and a client its issuer, so what the
//! configuration has checked needs no look-up later. Holds no secret, only references to where one is.

use std::sync::Arc;
use std::time::Duration;

use claviger_backend::SecretRef;
use claviger_outbound::Settings as OutboundSettings;

use claviger_oauth_wire::{BasicEncoding, Pointer, Scopes};

/// An issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerSettings {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its issuer identifier, exactly as configured.
    pub issuer: String,
    /// Endpoints given one by one; those that are given are not discovered.
    pub endpoints: Endpoints,
    /// What happens when its metadata leads elsewhere than before.
    pub on_metadata_change: MetadataChange,
    /// How its connections are made and checked.
    pub outbound: OutboundSettings,
    /// The most token requests per minute and client.
    pub requests_per_minute: u32,
    /// Accept answers without `token_type` as Bearer.
    pub missing_token_type_is_bearer: bool,
}

/// Endpoints of an issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// RFC 6749 §3.2.
    pub token: Option<String>,
    /// RFC 7009.
    pub revocation: Option<String>,
}

/// What happens when an issuer's metadata names other endpoints than before, or takes an authentication method away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetadataChange {
    /// It is accepted, and reported.
    #[default]
    Adopt,
    /// The former metadata stays in use until an operator accepts the change.
    Hold,
}

/// A client, registered at an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its issuer.
    pub issuer: Arc<IssuerSettings>,
    /// Its identifier at the issuer.
    pub id: ClientId,
    /// How it authenticates.
    pub auth: AuthMethod,
}

impl ClientSettings {
    /// Everything that the client refers to in a backend: the identifier, if it is there, and the secret.
    pub fn references(&self) -> impl Iterator<Item = &SecretRef> {
        self.id.reference().into_iter().chain([self.auth.secret()])
    }
}

/// Where a client's identifier comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientId {
    /// Written in the configuration; it is not a secret.
    Literal(String),
    /// Kept in a backend, beside the credential.
    Reference(SecretRef),
}

impl ClientId {
    /// Where the identifier is, unless the configuration says it.
    #[must_use]
    pub fn reference(&self) -> Option<&SecretRef> {
        match self {
            Self::Literal(_) => None,
            Self::Reference(reference) => Some(reference),
        }
    }
}

/// How a client authenticates at the token endpoint. Exactly one mechanism per request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// `client_secret_basic` (RFC 6749 §2.3.1).
    Basic {
        /// Where the secret is.
        secret: SecretRef,
        /// How both halves are encoded.
        encoding: BasicEncoding,
    },
    /// `client_secret_post` (RFC 6749 §2.3.1).
    Post {
        /// Where the secret is.
        secret: SecretRef,
    },
}

impl AuthMethod {
    /// Where the client secret is.
    #[must_use]
    pub fn secret(&self) -> &SecretRef {
        match self {
            Self::Basic { secret, .. } | Self::Post { secret } => secret,
        }
    }
}

/// A token: what callers ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSettings {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its client.
    pub client: Arc<ClientSettings>,
    /// The grant by which it is obtained.
    pub grant: Grant,
    /// The scopes to ask for; empty for the issuer's default.
    pub scopes: Scopes,
    /// Resource indicators (RFC 8707).
    pub resources: Vec<String>,
    /// What `audience` says, where that is not the resource.
    pub audience: Option<String>,
    /// How resources and audience go into the request.
    pub audience_style: AudienceStyle,
    /// Whether each resource must name the issuer in its metadata (RFC 9728) before a token for it is asked for.
    pub verify_resource: bool,
    /// The deployment that it belongs to, for example `prod`.
    pub environment: Option<String>,
    /// The lifetime when the issuer does not say.
    pub default_lifetime: Duration,
    /// Longer lifetimes are shortened to this.
    pub max_lifetime: Duration,
    /// What the token must look like.
    pub format: TokenFormat,
    /// Shorter tokens are refused, if set; else those under 20 bytes are reported.
    pub min_length: Option<usize>,
    /// What to do when fewer scopes are granted than asked for.
    pub reduced_scope: ReducedScope,
    /// Where in the answer the access token stands, if not at its top.
    pub token_pointer: Option<Pointer>,
    /// After which time without a request a cached token is not renewed ahead of its expiry any more.
    pub idle: Duration,
}

/// An OAuth grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// RFC 6749 §4.4.
    ClientCredentials,
}

/// How the resources and the audience of a token are spelled in the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AudienceStyle {
    /// `resource`, as often as there are resources (RFC 8707 §2), and `audience` besides if there is one.
    #[default]
    Rfc8707,
    /// `resource` once (Entra ID, v1 endpoints).
    ResourceV1,
    /// The scope `RESOURCE/.default`, and no other (Entra ID, v2 endpoints).
    ScopeDefault,
    /// `audience` alone: the audience, or else the one resource (Auth0).
    Audience,
    /// Nothing: the issuer knows by the client.
    None,
}

/// What a token must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFormat {
    /// Anything printable.
    Auto,
    /// Anything printable.
    Opaque,
    /// Three parts (RFC 7519).
    Jwt,
    /// Five parts (RFC 7516).
    Jwe,
}

/// What to do when fewer scopes are granted than asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReducedScope {
    /// Serve it, saying which scopes it has.
    Serve,
    /// Refuse it.
    Refuse,
}
