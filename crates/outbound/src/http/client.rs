//! The real transport: hyper's pool over the connector of this crate.
//!
//! Owns one connection pool. No redirect is followed, no proxy of the environment obeyed, no cookie kept, nothing
//! decompressed; a request is sent again only if hyper knows that not a byte of it was sent.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, HeaderValue, LOCATION, USER_AGENT};
use http::{Extensions, HeaderMap};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::{HttpConnector, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use url::Url;
use zeroize::Zeroizing;

use super::connect::Connector;
use super::meter::Grant;
use super::{Answer, Body, Error, Headers, Request, Transport};
use crate::Settings;
use crate::dns::Resolver;

/// How long an idle connection is kept: enough for metadata and token requests that start together. Not longer, because its
/// buffers, which hold the last proof and the last answers, are wiped only when it is closed, and the next request is usually
/// minutes away.
const IDLE: Duration = Duration::from_secs(1);

/// The longest name that a host can have (RFC 1035 §2.3.4). A longer one is not logged.
const LONGEST_HOST: usize = 253;

const AGENT: &str = concat!("claviger/", env!("CARGO_PKG_VERSION"));

/// A connection pool with one trust.
#[derive(Debug)]
pub struct Client {
    pool: Pool<Connector, Full<Bytes>>,
    clear: bool,
}

impl Client {
    /// A client with this trust and these names, and the proxy and connect timeout of `settings`. `clear` allows `http://`.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] if the proxy's address is no URI.
    pub fn new(
        tls: ClientConfig,
        resolver: Resolver,
        settings: &Settings,
        clear: bool,
    ) -> Result<Self, Error> {
        let mut tcp = HttpConnector::new_with_resolver(resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(settings.connect_timeout));
        let proxy = settings.proxy.as_ref().map(|url| url.as_str().parse());
        let connector = Connector {
            tcp,
            tls: Arc::new(tls),
            proxy: proxy.transpose().map_err(|_uri| Error::InvalidRequest)?,
            timeout: settings.connect_timeout,
        };
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(2)
            .build(connector);
        Ok(Self { pool, clear })
    }

    async fn exchange(&self, request: Request) -> Result<Answer, Error> {
        let (url, max_body) = (request.url.clone(), request.max_body);
        let request = self.encode(request)?;
        let mut grant = Grant::new(max_body);
        let exchange = async {
            let response = self.respond(request, &mut grant).await?;
            if response.status().is_redirection() {
                report_redirect(&url, response.headers(), response.status().as_u16());
            }
            let (head, body) = response.into_parts();
            Ok(Answer {
                status: head.status.as_u16(),
                headers: Headers::from(&head.headers),
                body: Body(read(body, max_body).await?),
            })
        };
        match exchange.await {
            // HTTP/2 reports a connection that failed without its cause.
            Err(Error::Lost) if grant.is_exhausted() => Err(Error::Flood),
            outcome => outcome,
        }
    }

    /// Sends the request and gives the grant to whichever connection of the pool carries it, anew if it is sent again.
    async fn respond(
        &self,
        mut request: http::Request<Full<Bytes>>,
        grant: &mut Grant,
    ) -> Result<http::Response<Incoming>, Error> {
        let captured = capture_connection(&mut request);
        let mut response = self.pool.request(request);
        poll_fn(|context| {
            let polled = Pin::new(&mut response).poll(context);
            if let Some(connected) = &*captured.connection_metadata() {
                let mut extras = Extensions::new();
                connected.get_extras(&mut extras);
                if let Some(meter) = extras.get() {
                    grant.give_to(meter);
                }
            }
            polled
        })
        .await
        .map_err(|error| Error::exchanging(&error))
    }

    fn encode(&self, mut request: Request) -> Result<http::Request<Full<Bytes>>, Error> {
        if request.url.scheme() != "https" && !self.clear {
            return Err(Error::InvalidRequest);
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        for header in request.take_headers() {
            // The value's bytes stay in their box, which wipes them when the last copy of the handle is dropped.
            let value = HeaderValue::from_maybe_shared(Bytes::from_owner(header.value));
            let mut value = value.map_err(|_invalid| Error::InvalidRequest)?;
            value.set_sensitive(true);
            headers.insert(header.name, value);
        }
        let body = request.body.take().map(Bytes::from_owner);
        let encoded = http::Request::builder()
            .method(request.method.clone())
            .uri(request.url.as_str())
            .body(Full::new(body.unwrap_or_default()));
        let mut encoded = encoded.map_err(|_invalid| Error::InvalidRequest)?;
        *encoded.headers_mut() = headers;
        Ok(encoded)
    }
}

#[async_trait]
impl Transport for Client {
    async fn send(&self, request: Request, limit: Duration) -> Result<Answer, Error> {
        tokio::time::timeout(limit, self.exchange(request))
            .await
            .unwrap_or(Err(Error::AnswerTimeout))
    }
}

/// Reads a body into a buffer that grows by copying and wipes what it leaves.
async fn read(mut body: Incoming, max_body: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
    let announced = body.size_hint().lower();
    if usize::try_from(announced).map_or(true, |length| length > max_body) {
        return Err(Error::BodyTooLong);
    }
    let mut read = Zeroizing::new(Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::exchanging(&error))?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if read.len().saturating_add(data.len()) > max_body {
            return Err(Error::BodyTooLong);
        }
        append(&mut read, data);
    }
    Ok(read)
}

/// Appends without `Vec`'s own growth, which may leave a copy of a token behind that is not wiped.
fn append(read: &mut Zeroizing<Vec<u8>>, data: &[u8]) {
    let length = read.len().saturating_add(data.len());
    if length > read.capacity() {
        let capacity = length.max(read.capacity().saturating_mul(2));
        let mut larger = Zeroizing::new(Vec::with_capacity(capacity));
        larger.extend_from_slice(read);
        *read = larger;
    }
    read.extend_from_slice(data);
}

/// Names both hosts of a redirect that is not followed. Paths and queries stay out of the log.
fn report_redirect(from: &Url, headers: &HeaderMap, status: u16) {
    let target = headers
        .get(LOCATION)
        .and_then(|location| location.to_str().ok())
        .and_then(|location| from.join(location).ok());
    let to = target.as_ref().and_then(Url::host_str);
    tracing::warn!(
        from = from.host_str().unwrap_or_default(),
        to = to
            .filter(|host| host.len() <= LONGEST_HOST)
            .unwrap_or_default(),
        status,
        "the server redirects, which is not followed"
    );
}
