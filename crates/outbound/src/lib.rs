//! The one HTTP client.
//!
//! Owns everything between a request and the network: trust and pins (`http::tls`), the transport with its bounds (`http`),
//! name resolution and the address policy (`dns`), the egress proxy, and the rules for URLs that may receive a credential
//! ([`endpoint`]). No other crate makes an HTTP request or resolves a name. Never retries, caches or interprets an answer:
//! the caller does.
//!
//! Next: [`Transports`], which makes the clients of an issuer; then [`http::Client`] and [`dns::Resolver`].

#![forbid(unsafe_code)]

pub mod dns;
pub mod endpoint;
pub mod http;
mod settings;
mod transports;

pub use settings::{DnsSettings, Resolver as ResolverSettings, Settings};
pub use transports::{SetupError, Transports};
