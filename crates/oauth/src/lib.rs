//! The OAuth engine.
//!
//! Owns the conversation with issuers: discovery, client authentication (`proof`), token requests (`grant`) and their retries,
//! revocation. A request runs [`TokenClient`] → [`Issuer`] → `claviger_outbound`; `claviger_oauth_wire` parses the messages.
//! Holds no token past the answer it returns: `tokens` caches them. Of an issuer's text an error holds facts of its
//! checked metadata and, for operators, the bounded `error_description`, without any part of what was sent in secret (`said`).
//!
//! Every wait has a limit and holds no lock. Next: `client`.

#![forbid(unsafe_code)]

mod attempts;
mod audience;
mod circuit;
mod client;
mod credential;
mod discovery;
mod document;
mod failed;
mod grant;
mod issuer;
mod judge;
mod limiter;
mod outcome;
mod proof;
mod published;
mod request;
mod resource;
mod revocation;
mod said;
mod settings;
mod source;
#[cfg(test)]
mod tests;
mod values;

pub use audience::AudienceFlaw;
pub use claviger_core::tokens::source::{Error, ErrorKind, Issued, Revocation, Verdict};
pub use claviger_outbound::endpoint::EndpointFlaw;
pub use client::TokenClient;
pub use credential::Credential;
pub use discovery::Discovered;
pub use issuer::{Issuer, IssuerStatus, LastError, SetupError};
pub use published::{IssuerMetadata, ResourceMetadata};
pub use resource::Vouched;
pub use settings::{
    AudienceStyle, AuthMethod, ClientId, ClientSettings, Endpoints, Grant, IssuerSettings,
    MetadataChange, ReducedScope, TokenFormat, TokenSettings,
};
