//! The HTTP seam: one request out, one bounded answer in.
//!
//! Owns [`Transport`], what the engine needs of HTTP, and [`Client`], the real one. Never retries, follows a redirect, obeys
//! a proxy variable, keeps a cookie or decompresses: an answer is what the asked server sent, or there is none, and then
//! [`Lost`] says whether the request may have arrived. Bodies wipe themselves. One client per issuer, because trust, pins
//! and names are the issuer's own.
//!
//! Next: `tls`, where trust and pins are checked inside the handshake; `client`, how failures are told apart by structure.

mod client;
#[cfg(test)]
pub(crate) mod tests;
mod tls;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use url::Url;
use zeroize::Zeroizing;

pub(crate) use self::client::Client;
pub(crate) use self::tls::{Roots, RootsError, client_config};

/// A POST of a form.
pub(crate) struct Post<'a> {
    /// Where to.
    pub(crate) url: &'a Url,
    /// The value of `Authorization`, if the client proves itself there.
    pub(crate) authorization: Option<Zeroizing<Vec<u8>>>,
    /// The encoded form.
    pub(crate) form: Zeroizing<Vec<u8>>,
    /// The most bytes of the answer's body that are read.
    pub(crate) max_body: usize,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// `Content-Type`.
    pub(crate) content_type: Option<String>,
    /// `Retry-After`.
    pub(crate) retry_after: Option<String>,
    /// `Date`.
    pub(crate) date: Option<String>,
    /// The body, wiped on drop.
    pub(crate) body: Body,
}

/// A body that wipes itself.
pub(crate) struct Body(pub(crate) Zeroizing<Vec<u8>>);

/// Prints the length only.
impl Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body([{} bytes])", self.0.len())
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The name does not resolve, or nobody listens. Nothing was sent.
    Unreachable,
    /// The name resolves to addresses that are not allowed. Nothing was sent.
    AddressRefused,
    /// The certificate is not trusted. Nothing was sent.
    Untrusted,
    /// The certificate has none of the pinned keys. Nothing was sent.
    PinMismatch,
    /// No connection in time. Nothing was sent.
    ConnectTimeout,
    /// No answer in time.
    Timeout,
    /// The connection broke.
    Broken,
    /// The body is longer than allowed.
    TooLong,
}

/// Carries one request and its answer.
#[async_trait]
pub(crate) trait Transport: Debug + Send + Sync {
    /// Sends a form. Ends within `limit`, body included. Dropping the future closes the connection.
    async fn post_form(&self, post: Post<'_>, limit: Duration) -> Result<Answer, Lost>;

    /// Reads a document of at most `max_body` bytes. Ends within `limit`, body included.
    async fn get(&self, url: &Url, max_body: usize, limit: Duration) -> Result<Answer, Lost>;
}
