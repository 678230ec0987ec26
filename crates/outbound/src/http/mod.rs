//! The HTTP seam: one request out, one bounded answer in.
//!
//! Owns [`Transport`], what the engine needs of HTTP, and [`Client`], the real one. Never retries, follows a redirect, obeys
//! a proxy variable, keeps a cookie or decompresses: an answer is what the asked server sent, or there is none, and then
//! [`Lost`] says whether the request may have arrived. Bodies wipe themselves. One client per issuer, because trust, pins
//! and names are the issuer's own.
//!
//! Next: `tls`, where trust and pins are checked inside the handshake; `client`, how failures are told apart by structure.

mod client;
mod tls;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use url::Url;
use zeroize::Zeroizing;

pub use self::client::Client;
pub use self::tls::{Roots, RootsError, client_config};

/// A POST of a form.
pub struct Post<'a> {
    /// Where to.
    pub url: &'a Url,
    /// The value of `Authorization`, if the client proves itself there.
    pub authorization: Option<Zeroizing<Vec<u8>>>,
    /// The encoded form.
    pub form: Zeroizing<Vec<u8>>,
    /// The most bytes of the answer's body that are read.
    pub max_body: usize,
}

/// Prints neither the form nor the header.
impl Debug for Post<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Post({})", self.url)
    }
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Retry-After`.
    pub retry_after: Option<String>,
    /// `Date`.
    pub date: Option<String>,
    /// The body, wiped on drop.
    pub body: Body,
}

/// A body that wipes itself.
pub struct Body(pub Zeroizing<Vec<u8>>);

/// Prints the length only.
impl Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body([{} bytes])", self.0.len())
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
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
pub trait Transport: Debug + Send + Sync {
    /// Sends a form. Ends within `limit`, body included. Dropping the future closes the connection.
    async fn post_form(&self, post: Post<'_>, limit: Duration) -> Result<Answer, Lost>;

    /// Reads a document of at most `max_body` bytes. Ends within `limit`, body included.
    async fn get(&self, url: &Url, max_body: usize, limit: Duration) -> Result<Answer, Lost>;
}
