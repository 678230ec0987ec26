//! The real transport: reqwest, with every convenience turned off.
//!
//! Owns one connection pool to one issuer. What the library adds by default and what would carry a secret elsewhere is off:
//! redirects, proxies of the environment, `Referer`, retries, cookies, decompression. Failures are told apart by the types
//! in the chain of causes; their text, which may quote URLs and headers, is never read.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue,
    LOCATION, RETRY_AFTER,
};

use reqwest::{Request, Response};
use rustls::ClientConfig;
use url::Url;
use zeroize::Zeroizing;

use super::tls::PinMismatch;
use super::{Answer, Body, Lost, Post, Transport};
use crate::dns::{AddressRefused, NotResolved, Resolver};

/// How long an idle connection is kept for the next request: enough for the metadata, the token and the others who start
/// together. Not longer, because its buffers hold the last proof and the last answers, which nobody wipes before it ends,
/// and the next request is usually minutes away.
const IDLE: Duration = Duration::from_secs(1);

/// The longest name that a host can have (RFC 1035 §2.3.4). A longer one is no name, and not worth a record.
const LONGEST_HOST: usize = 253;

/// A connection pool to one issuer.
#[derive(Debug)]
pub struct Client {
    inner: reqwest::Client,
}

impl Client {
    /// A client with this trust, these names, and this limit on connecting. Only `clear` ones ever speak plain HTTP.
    ///
    /// # Errors
    /// If the TLS configuration is refused.
    pub fn new(
        tls: ClientConfig,
        resolver: Arc<Resolver>,
        connect_timeout: Duration,
        clear: bool,
    ) -> Result<Self, reqwest::Error> {
        let inner = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(!clear)
            .dns_resolver(resolver)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(connect_timeout)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(2)
            .user_agent(concat!("claviger/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { inner })
    }

    async fn exchange(
        &self,
        request: Request,
        max_body: usize,
        limit: Duration,
    ) -> Result<Answer, Lost> {
        let exchange = async {
            let url = request.url().clone();
            let response = self.inner.execute(request).await;
            let mut response = response.map_err(|error| classify(&error))?;
            if response.status().is_redirection() {
                report_redirect(&url, &response);
            }
            let body = read(&mut response, max_body).await?;
            let text = |name: HeaderName| header(response.headers(), &name);
            Ok(Answer {
                status: response.status().as_u16(),
                content_type: text(CONTENT_TYPE),
                retry_after: text(RETRY_AFTER),
                date: text(DATE),
                body: Body(body),
            })
        };
        match tokio::time::timeout(limit, exchange).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(Lost::Timeout),
        }
    }
}

#[async_trait]
impl Transport for Client {
    async fn post_form(&self, post: Post<'_>, limit: Duration) -> Result<Answer, Lost> {
        let mut request = Request::new(http::Method::POST, post.url.clone());
        let headers = request.headers_mut();
        accept_json(headers);
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        if let Some(value) = post.authorization {
            // The header's bytes stay in their box, which wipes them when the last copy of the handle goes.
            let value = HeaderValue::from_maybe_shared(Bytes::from_owner(value));
            let mut value = value.map_err(|_invalid| Lost::Unreachable)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        *request.body_mut() = Some(Bytes::from_owner(post.form).into());
        self.exchange(request, post.max_body, limit).await
    }

    async fn get(&self, url: &Url, max_body: usize, limit: Duration) -> Result<Answer, Lost> {
        let mut request = Request::new(http::Method::GET, url.clone());
        accept_json(request.headers_mut());
        self.exchange(request, max_body, limit).await
    }
}

fn accept_json(headers: &mut HeaderMap) {
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

/// Reads a body into room that never moves, so that nothing is left behind.
async fn read(response: &mut Response, max_body: usize) -> Result<Zeroizing<Vec<u8>>, Lost> {
    let announced = response.content_length().unwrap_or(0);
    if usize::try_from(announced).map_or(true, |length| length > max_body) {
        return Err(Lost::TooLong);
    }
    let mut body = Zeroizing::new(Vec::with_capacity(max_body.min(64 * 1024)));
    loop {
        let chunk = response.chunk().await.map_err(|error| classify(&error))?;
        let Some(chunk) = chunk else {
            return Ok(body);
        };
        if body.len().saturating_add(chunk.len()) > max_body {
            return Err(Lost::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
}

/// A header as text, if it is short and printable.
fn header(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?;
    (text.len() <= 256).then(|| text.to_owned())
}

/// Names both hosts of a redirect that is not followed. Paths and queries stay out of the log.
fn report_redirect(from: &Url, response: &Response) {
    let target = response
        .headers()
        .get(LOCATION)
        .and_then(|location| location.to_str().ok())
        .and_then(|location| from.join(location).ok());
    let to = target.as_ref().and_then(Url::host_str);
    tracing::warn!(
        from = from.host_str().unwrap_or_default(),
        to = to
            .filter(|host| host.len() <= LONGEST_HOST)
            .unwrap_or_default(),
        status = response.status().as_u16(),
        "the issuer redirects, which is not followed"
    );
}

/// What a failure means, by the types in its chain of causes.
fn classify(error: &reqwest::Error) -> Lost {
    let connecting = error.is_connect();
    if let Some(lost) = cause(error) {
        return lost;
    }
    match (connecting, error.is_timeout()) {
        (true, true) => Lost::ConnectTimeout,
        (true, false) => Lost::Unreachable,
        (false, true) => Lost::Timeout,
        (false, false) => Lost::Broken,
    }
}

/// Looks for the causes that have a meaning of their own. An I/O error hides its own cause from `source`.
fn cause(error: &(dyn StdError + 'static)) -> Option<Lost> {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<AddressRefused>() {
            return Some(Lost::AddressRefused);
        }
        if error.is::<NotResolved>() {
            return Some(Lost::Unreachable);
        }
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return handshake(error);
        }
        let hidden = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .map(|hidden| hidden as &(dyn StdError + 'static));
        next = hidden.or_else(|| error.source());
    }
    None
}

/// Certificates that are not accepted. Other failures of a handshake are failures of the connection.
fn handshake(error: &rustls::Error) -> Option<Lost> {
    let rustls::Error::InvalidCertificate(reason) = error else {
        return None;
    };
    if let rustls::CertificateError::Other(other) = reason
        && other.0.is::<PinMismatch>()
    {
        return Some(Lost::PinMismatch);
    }
    Some(Lost::Untrusted)
}
