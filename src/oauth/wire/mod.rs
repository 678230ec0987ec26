//! OAuth messages as pure bytes to types.
//!
//! Owns the syntax of what issuers send and receive. Does no I/O, asks no clock and logs nothing; total and fuzzed. Errors
//! carry codes and lengths, never a body.

mod scope;

pub use scope::{InvalidScope, Scopes};
