//! The request path.
//!
//! Owns everything between an identified peer and its answer, in floors that import downward only: `peer` (who asks),
//! `policy` (what that peer may do), `secrets` (live values), `tokens` (the cache) and `rotation`, and above them `broker`, which
//! decides in which order they are asked. Never speaks HTTP, OAuth or gRPC, and links no SDK: issuers are reached through
//! [`tokens::source`], backends through `claviger_backend`. Read [`broker`] first.

#![forbid(unsafe_code)]

pub mod audit;
pub mod broker;
pub mod peer;
pub mod policy;
pub mod rotation;
pub mod secrets;
pub mod tokens;
