//! One request and one answer.
//!
//! Owns the types that cross the seam. A request's header values and body, and an answer's body, may hold secrets: they are
//! wiped on drop and never printed. An answer keeps a closed list of headers; all others are dropped unread.

use std::fmt::{self, Debug, Formatter};

use http::Method;
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, DATE, HeaderMap, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE,
};
use url::Url;
use zeroize::Zeroizing;

/// The headers of an answer that are kept.
const KEPT: [HeaderName; 6] = [
    CONTENT_TYPE,
    RETRY_AFTER,
    DATE,
    CACHE_CONTROL,
    WWW_AUTHENTICATE,
    HeaderName::from_static("dpop-nonce"),
];

/// The longest header value that is kept, in bytes.
const LONGEST_VALUE: usize = 512;

/// A request.
pub struct Request {
    /// The method.
    pub method: Method,
    /// The URL; its fragment is not sent.
    pub url: Url,
    /// The body, if the method has one.
    pub body: Option<Zeroizing<Vec<u8>>>,
    /// The most bytes of the answer's body that are read.
    pub max_body: usize,
    headers: Vec<Header>,
}

pub(super) struct Header {
    pub(super) name: HeaderName,
    pub(super) value: Zeroizing<Vec<u8>>,
}

impl Request {
    /// A GET whose answer has at most `max_body` bytes.
    #[must_use]
    pub fn get(url: Url, max_body: usize) -> Self {
        Self {
            method: Method::GET,
            url,
            body: None,
            max_body,
            headers: Vec::new(),
        }
    }

    /// A POST of `body`, whose answer has at most `max_body` bytes. The caller adds its `Content-Type`.
    #[must_use]
    pub fn post(url: Url, body: Zeroizing<Vec<u8>>, max_body: usize) -> Self {
        Self {
            method: Method::POST,
            body: Some(body),
            ..Self::get(url, max_body)
        }
    }

    /// Adds a header. The value may be a secret: it is wiped after the request, and never indexed for HTTP/2 compression.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: Zeroizing<Vec<u8>>) -> Self {
        self.headers.push(Header { name, value });
        self
    }

    /// Adds a header whose value is no secret.
    #[must_use]
    pub fn with_text(self, name: HeaderName, value: &str) -> Self {
        self.with(name, Zeroizing::new(value.as_bytes().to_vec()))
    }

    /// The value of a header of this request.
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> Option<&[u8]> {
        let header = self.headers.iter().find(|header| header.name == name)?;
        Some(&header.value)
    }

    pub(super) fn take_headers(&mut self) -> Vec<Header> {
        std::mem::take(&mut self.headers)
    }
}

/// Prints neither headers nor body, and of the URL neither path nor query.
impl Debug for Request {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let host = self.url.host_str().unwrap_or_default();
        write!(f, "Request({} {host})", self.method)
    }
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers that are kept.
    pub headers: Headers,
    /// The body, wiped on drop.
    pub body: Body,
}

impl Answer {
    /// The value of a header, if it is one that is kept, and short and printable.
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        let header = self.headers.0.iter().find(|(kept, _)| kept == name)?;
        Some(&header.1)
    }
}

/// The kept headers of an answer: the first value of each, at most 512 bytes.
#[derive(Clone, Default)]
pub struct Headers(Vec<(HeaderName, String)>);

impl From<&HeaderMap> for Headers {
    fn from(headers: &HeaderMap) -> Self {
        let kept = KEPT.into_iter().filter_map(|name| {
            let text = headers.get(&name)?.to_str().ok()?;
            (text.len() <= LONGEST_VALUE).then(|| (name, text.to_owned()))
        });
        Self(kept.collect())
    }
}

/// Prints names only: values are a server's text.
impl Debug for Headers {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

/// A body that wipes itself.
pub struct Body(pub Zeroizing<Vec<u8>>);

/// Prints the length only.
impl Debug for Body {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Body([{} bytes])", self.0.len())
    }
}
