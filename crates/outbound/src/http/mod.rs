//! One request out, one bounded answer in.
//!
//! Owns [`Transport`], what callers need of HTTP, and [`Client`], the real one. Never retries, follows a redirect, obeys a
//! proxy variable, keeps a cookie or decompresses: an answer is what the server sent, or there is none, and then [`Error`]
//! says why and whether the request may have arrived. Every byte that a server sends is counted, whatever it is. Bodies wipe
//! themselves. One client per issuer, because trust, pins, names and proxy are the issuer's own.
//!
//! Next: `connect`, the way to a connection; `tls`, trust and pins; `meter`, the count; `error`, how failures are classified.

mod client;
mod connect;
mod error;
mod message;
mod meter;
mod tls;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

pub use self::client::Client;
pub use self::error::Error;
pub use self::message::{Answer, Body, Headers, Request};
pub use self::tls::{Roots, RootsError, client_config};
pub use http::header;

/// Carries one request and its answer.
#[async_trait]
pub trait Transport: Debug + Send + Sync {
    /// Sends a request. Ends within `limit`, body included. Dropping the future gives up the exchange.
    ///
    /// # Errors
    /// An [`Error`] if there is no complete answer, whatever its status.
    async fn send(&self, request: Request, limit: Duration) -> Result<Answer, Error>;
}
