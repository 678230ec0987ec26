//! OAuth messages as pure bytes to types.
//!
//! Owns the syntax of what issuers send and receive: token answers ([`response`]), metadata ([`metadata`],
//! [`resource_metadata`]), challenges of resource servers ([`challenge`]), the requests that claviger makes ([`request`],
//! [`basic`]) and the few headers that matter. Does no I/O, reads no clock and logs nothing; total and fuzzed. Errors carry
//! codes and lengths, never a body.
//!
//! A token that comes in goes straight into a box; a secret that goes out stays in buffers that wipe themselves. Every
//! length, depth and number that a server chooses is bounded here, so that the engine above computes with tame values.

#![forbid(unsafe_code)]

pub mod basic;
pub mod challenge;
pub mod header;
pub mod jwt;
pub mod metadata;
mod number;
pub mod path;
mod pointer;
pub mod request;
pub mod resource_metadata;
pub mod response;
mod scope;
pub mod token;

pub use basic::BasicEncoding;
pub use pointer::{InvalidPointer, Pointer};
pub use scope::{InvalidScope, Scopes};

/// `body` without the byte order mark that some servers send, and the white space around it.
fn trimmed(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xEF\xBB\xBF")
        .unwrap_or(body)
        .trim_ascii()
}

#[cfg(test)]
mod tests {
    #[test]
    fn marks_and_white_space_are_removed() {
        assert_eq!(super::trimmed(b"\xEF\xBB\xBF \r\n{} "), b"{}");
        assert_eq!(super::trimmed(b" \n"), b"");
    }
}
