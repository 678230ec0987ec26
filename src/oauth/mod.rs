//! The OAuth engine.
//!
//! Owns the conversation with issuers: discovery, client authentication, token requests and their retries. [`wire`] is pure
//! parsing on floor 0; the rest stands on `secrets`. Holds no token past the answer it returns: `tokens` keeps them.

mod error;
mod issued;
mod settings;
pub mod wire;

pub use error::{Error, ErrorKind, Verdict};
pub use issued::{Issued, Revocation};
pub use settings::{
    AuthMethod, ClientId, ClientSettings, DnsSettings, Endpoints, Grant, IssuerSettings,
    ReducedScope, Resolver, TokenFormat, TokenSettings,
};
pub use wire::BasicEncoding;
