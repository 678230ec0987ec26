//! Names of issuers, and the addresses they may have.
//!
//! Owns resolution, by the system or over TLS or HTTPS with optional DNSSEC, and the address policy. The policy is applied to
//! the very addresses that are connected to: there is no second resolution in between that a hostile server could answer
//! differently. Everything fails closed: no answer in time, or no acceptable address, is no connection.
//!
//! Next: `policy`, pure; `resolver`, the servers that are queried.

mod policy;
mod resolver;
#[cfg(test)]
mod tests;

pub use self::policy::AddressPolicy;
pub use self::resolver::{Resolver, ResolverError};
