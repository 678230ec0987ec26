//! The OAuth engine.
//!
//! Owns the conversation with issuers: discovery, client authentication, token requests and their retries, revocation. A
//! request runs [`TokenClient`] → [`Issuer`] → `http` → `dns`; [`wire`] is pure parsing on floor 0, the rest stands on
//! `secrets`. Holds no token past the answer it returns: `tokens` keeps them. Never logs or returns a word of an issuer:
//! errors are codes of closed lists, lengths and names of the configuration.
//!
//! Everything waits with a limit and holds no lock meanwhile. Read `client` first.

mod attempts;
mod audience;
mod client;
mod credential;
mod discovery;
mod dns;
mod document;
mod endpoint;
mod http;
mod issuer;
mod limiter;
mod outcome;
mod published;
mod resource;
mod revocation;
mod settings;
#[cfg(test)]
mod tests;
pub mod wire;

pub use crate::tokens::source::{Error, ErrorKind, Issued, Revocation, Verdict};
pub use audience::AudienceFlaw;
pub use client::TokenClient;
pub use credential::Credential;
pub use discovery::Discovered;
pub use endpoint::EndpointFlaw;
pub use issuer::{Issuer, IssuerStatus, SetupError};
pub use published::{IssuerMetadata, ResourceMetadata};
pub use resource::Vouched;
pub use settings::{
    AudienceStyle, AuthMethod, ClientId, ClientSettings, DnsSettings, Endpoints, Grant,
    IssuerSettings, MetadataChange, ReducedScope, Resolver, TokenFormat, TokenSettings,
};
pub use wire::{BasicEncoding, Pointer};
