//! One connection's requests: guarded, then given to the service they name.
//!
//! Owns the guard that every request passes: the `claviger-request` header, which a browser or a tricked server does not set,
//! the refusal of anything that looks forwarded or browser-made, and the number of requests in flight. Health checks alone
//! need no header, because they tell nothing. A request is open until its answer is written; one that is one too many is
//! answered at once, and nothing of it is kept.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use claviger_proto::{REQUEST_HEADER, REQUEST_HEADER_VALUE};
use http::{HeaderMap, Request, Response, Version};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

use crate::connection::Shared;
use crate::places::{AnswerBody, Requests};
use crate::{grpc, http1};
use claviger_core::broker::Session;

/// Which socket a connection came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Face {
    /// For programs.
    Broker,
    /// For operators.
    Admin,
}

/// Headers that a proxy or a browser adds. Nothing legitimate on a unix socket has them.
const FOREIGN_HEADERS: [&str; 5] = [
    "x-forwarded-for",
    "forwarded",
    "via",
    "origin",
    "sec-fetch-site",
];

/// Serves one connection's requests.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) session: Arc<Session>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) requests: Arc<Requests>,
    pub(crate) in_flight: Arc<Semaphore>,
    /// Fires when the connection is about to close: watches end.
    pub(crate) closing: CancellationToken,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("face", &self.shared.face)
            .finish_non_exhaustive()
    }
}

/// Why a request is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unwelcome {
    /// The header is missing.
    NoHeader,
    /// It was forwarded, or made by a browser.
    Forwarded,
}

impl Unwelcome {
    /// The stable reason, the same in gRPC and HTTP.
    pub(crate) const REASON: &str = "NOT_FOR_CLAVIGER";

    /// What to tell the caller.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::NoHeader => {
                "send the header `claviger-request: true`; it proves that the request was made for claviger"
            }
            Self::Forwarded => {
                "the request carries headers of a proxy or a browser; connect to the socket directly"
            }
        }
    }
}

fn guard(headers: &HeaderMap) -> Result<(), Unwelcome> {
    if FOREIGN_HEADERS
        .iter()
        .any(|name| headers.contains_key(*name))
    {
        return Err(Unwelcome::Forwarded);
    }
    // Exactly once: with two, somebody on the way may have looked at the other one.
    let mut values = headers.get_all(REQUEST_HEADER).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if value == REQUEST_HEADER_VALUE => Ok(()),
        _ => Err(Unwelcome::NoHeader),
    }
}

/// Whether a request is one of gRPC, which HTTP/1.1 cannot carry: it has no place for a status at the end.
fn is_grpc(request: &Request<Incoming>) -> bool {
    let kind = request.headers().get(http::header::CONTENT_TYPE);
    request.version() == Version::HTTP_2
        && kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// The answer to a request that is one too many.
fn crowded(request: &Request<Incoming>) -> Response<Body> {
    if is_grpc(request) {
        grpc::crowded()
    } else {
        http1::crowded()
    }
}

impl Route {
    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        // The semaphore is never closed, so there always is a place sooner or later.
        let _place = Arc::clone(&self.in_flight).acquire_owned().await.ok();
        let welcome = guard(request.headers());
        if is_grpc(&request) {
            let health = request.uri().path().starts_with("/grpc.health.v1.");
            match welcome {
                Err(Unwelcome::NoHeader) if health => {}
                Err(unwelcome) => return grpc::unwelcome(unwelcome),
                Ok(()) => {}
            }
            grpc::answer(&self, request.map(Body::new)).await
        } else {
            http1::answer(&self, request, welcome).await
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Route {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let Some(open) = self.requests.open() else {
            let response = crowded(&request).map(AnswerBody::uncounted);
            return Box::pin(std::future::ready(Ok(response)));
        };
        let route = self.clone();
        Box::pin(async move {
            let response = route.answer(request).await;
            Ok(response.map(|body| AnswerBody::of(open, body)))
        })
    }
}

/// The stable reason of a request that is one too many, and what to tell its caller.
pub(crate) const CROWDED: (&str, &str) = (
    "TOO_MANY_REQUESTS",
    "Wait until requests of this user that are open are answered; take their answers, and end streams that nobody follows.",
);

/// When it is worth asking again.
pub(crate) const UNCROWDED: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    http::HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn only_requests_made_for_claviger_pass() {
        assert_eq!(guard(&headers(&[("claviger-request", "true")])), Ok(()));
        for value in ["", "True", "1", "true "] {
            let map = headers(&[("claviger-request", value)]);
            assert_eq!(guard(&map), Err(Unwelcome::NoHeader), "{value:?}");
        }
        assert_eq!(guard(&HeaderMap::new()), Err(Unwelcome::NoHeader));
        for other in ["true", "false"] {
            let twice = [("claviger-request", "true"), ("claviger-request", other)];
            assert_eq!(guard(&headers(&twice)), Err(Unwelcome::NoHeader), "{other}");
        }
        for name in FOREIGN_HEADERS {
            let map = headers(&[("claviger-request", "true"), (name, "x")]);
            assert_eq!(guard(&map), Err(Unwelcome::Forwarded), "{name}");
        }
    }
}
