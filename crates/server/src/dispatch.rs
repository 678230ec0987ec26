//! One connection's requests: guarded, then given to their dialect.
//!
//! Owns the guard that every request passes: the `claviger-request` header, which a browser or a tricked server does not set,
//! the refusal of anything that looks forwarded or browser-made, and the number of requests in flight. Health checks alone
//! need no header, because they reveal nothing. A request is open until its answer is written; a request over the limit is
//! refused at once.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use claviger_proto::{REQUEST_HEADER, REQUEST_HEADER_VALUE};
use http::{HeaderMap, HeaderName, Request, Response};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tonic::body::Body;
use tracing::Instrument as _;

use crate::answers::Problem;
use crate::body::AnswerBody;
use crate::context::Context;
use crate::dialect::Dialect;
use crate::pool::Requests;
use claviger_runtime::reason::Reason;

/// Headers that a proxy or a browser adds. Nothing legitimate on a unix socket has them.
const FOREIGN_HEADERS: [&str; 6] = [
    "cookie",
    "forwarded",
    "origin",
    "referer",
    "via",
    "x-real-ip",
];

/// What other such headers begin with.
const FOREIGN_PREFIXES: [&str; 2] = ["sec-fetch-", "x-forwarded-"];

/// Serves one connection's requests.
#[derive(Clone, Debug)]
pub(crate) struct Dispatch {
    pub(crate) context: Context,
    pub(crate) requests: Arc<Requests>,
    pub(crate) in_flight: Arc<Semaphore>,
}

/// Why a request is refused before it is routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unwelcome {
    /// The header is missing.
    NoHeader,
    /// It was forwarded, or made by a browser.
    Forwarded,
}

impl From<Unwelcome> for Problem {
    fn from(why: Unwelcome) -> Self {
        Self::new(Reason::NotForClaviger).with_remedy(match why {
            Unwelcome::NoHeader => {
                "send the header `claviger-request: true`; it proves that the request was made for claviger"
            }
            Unwelcome::Forwarded => {
                "the request carries headers of a proxy or a browser; connect to the socket directly"
            }
        })
    }
}

fn guard(headers: &HeaderMap) -> Result<(), Unwelcome> {
    let foreign = |name: &HeaderName| {
        let name = name.as_str();
        FOREIGN_HEADERS.contains(&name)
            || FOREIGN_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix))
    };
    if headers.keys().any(foreign) {
        return Err(Unwelcome::Forwarded);
    }
    // Exactly once: with two, a proxy on the way may have checked the other one.
    let mut values = headers.get_all(REQUEST_HEADER).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if value == REQUEST_HEADER_VALUE => Ok(()),
        _ => Err(Unwelcome::NoHeader),
    }
}

impl Dispatch {
    async fn answer(&self, dialect: Dialect, request: Request<Incoming>) -> Response<Body> {
        // The semaphore is never closed, so a permit is free sooner or later.
        let _permit = Arc::clone(&self.in_flight).acquire_owned().await.ok();
        let welcome = match guard(request.headers()) {
            Err(Unwelcome::NoHeader) if dialect.asks_for_health(&request) => Ok(()),
            guarded => guarded.map_err(Problem::from),
        };
        dialect.answer(&self.context, request, welcome).await
    }
}

impl hyper::service::Service<Request<Incoming>> for Dispatch {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let dialect = Dialect::of(&request);
        let outcome = move |response: &_| dialect.failure(response).unwrap_or("answered");
        let dispatch = Self {
            context: self.context.of_request(|| dialect.method(&request)),
            ..self.clone()
        };
        let Some(open) = self.requests.open() else {
            let response = dialect.refuse(Problem::crowded());
            dispatch.context.answered(|| outcome(&response));
            let response = response.map(AnswerBody::uncounted);
            return Box::pin(std::future::ready(Ok(response)));
        };
        let span = dispatch.context.span.clone();
        let answered = async move {
            let response = dispatch.answer(dialect, request).await;
            dispatch.context.answered(|| outcome(&response));
            Ok(response.map(|body| AnswerBody::of(open, body)))
        };
        Box::pin(answered.instrument(span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
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
        let prefixed = ["sec-fetch-mode", "x-forwarded-host", "x-forwarded-for"];
        for name in FOREIGN_HEADERS.into_iter().chain(prefixed) {
            let map = headers(&[("claviger-request", "true"), (name, "x")]);
            assert_eq!(guard(&map), Err(Unwelcome::Forwarded), "{name}");
        }
    }
}
