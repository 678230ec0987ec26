//! The OAuth engine.
//!
//! Owns the conversation with issuers: discovery, client authentication, token requests and their retries, revocation. A
//! request runs [`TokenClient`] → [`Issuer`] → `claviger_outbound`; messages are parsed
//! by `claviger_oauth_wire`, requests sent by `claviger_outbound`. Holds no token past the answer it returns: `tokens` keeps them. Never logs or returns a word of an issuer:
//! errors are codes of closed lists, lengths and names of the configuration.
//!
//! Everything waits with a limit and holds no lock meanwhile. Read `client` first.

#![forbid(unsafe_code)]

mod attempts;
mod audience;
mod client;
mod credential;
mod discovery;
mod document;
mod issuer;
mod limiter;
mod outcome;
mod published;
mod resource;
mod revocation;
mod settings;
mod source;
#[cfg(test)]
mod tests;

pub use audience::AudienceFlaw;
pub use claviger_core::tokens::source::{Error, ErrorKind, Issued, Revocation, Verdict};
pub use claviger_outbound::endpoint::EndpointFlaw;
pub use client::TokenClient;
pub use credential::Credential;
pub use discovery::Discovered;
pub use issuer::{Issuer, IssuerStatus, SetupError};
pub use published::{IssuerMetadata, ResourceMetadata};
pub use resource::Vouched;
pub use settings::{
    AudienceStyle, AuthMethod, ClientId, ClientSettings, Endpoints, Grant, IssuerSettings,
    MetadataChange, ReducedScope, TokenFormat, TokenSettings,
};
