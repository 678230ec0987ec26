//! What a request is written in, and with it what its answer is written in.
//!
//! Owns the choice between gRPC and plain HTTP, one per request. A dialect names a request for records, answers or refuses
//! it, and recognizes its own refusals; a further dialect is a variant of [`Dialect`] and a module beside `grpc` and `http1`.

use http::{Request, Response, Version};
use hyper::body::Incoming;
use tonic::body::Body;

use crate::answers::Problem;
use crate::context::Context;
use crate::{grpc, http1};

/// The dialect of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// gRPC, over HTTP/2.
    Grpc,
    /// Plain HTTP, of either version.
    Http,
}

impl Dialect {
    /// The dialect of a request. HTTP/1.1 cannot carry gRPC, whose status follows the body.
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let kind = request.headers().get(http::header::CONTENT_TYPE);
        let is_grpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        if is_grpc && request.version() == Version::HTTP_2 {
            Self::Grpc
        } else {
            Self::Http
        }
    }

    /// The method of a request, as records name it: one that this dialect has, or `unknown`. A path of a peer may hold a
    /// secret that was pasted into it.
    pub(crate) fn method<B>(self, request: &Request<B>) -> String {
        let known = match self {
            Self::Grpc => grpc::method_name(request.uri().path()),
            Self::Http => http1::route_name(request),
        };
        known.unwrap_or_else(|| "unknown".to_owned())
    }

    /// Whether a request asks for the health of the daemon, which needs no header of claviger. Plain HTTP has such paths too;
    /// `http1` answers them whatever the headers.
    pub(crate) fn asks_for_health<B>(self, request: &Request<B>) -> bool {
        self == Self::Grpc && request.uri().path().starts_with("/grpc.health.v1.")
    }

    /// Answers a request, or refuses it if it is not welcome.
    pub(crate) async fn answer(
        self,
        context: &Context,
        request: Request<Incoming>,
        welcome: Result<(), Problem>,
    ) -> Response<Body> {
        match self {
            Self::Grpc => grpc::answer(context, request.map(Body::new), welcome).await,
            Self::Http => http1::answer(context, request, welcome).await,
        }
    }

    /// Refuses a request.
    pub(crate) fn refuse(self, problem: Problem) -> Response<Body> {
        match self {
            Self::Grpc => grpc::refuse(problem),
            Self::Http => http1::refuse(&problem),
        }
    }

    /// The label of the reason in a response of this dialect; `None` if the response is not a refusal or failure.
    pub(crate) fn failure(self, response: &Response<Body>) -> Option<&'static str> {
        match self {
            Self::Grpc => grpc::failure(response),
            Self::Http => http1::failure(response),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_name_no_path_that_a_peer_made_up() {
        for (dialect, method, path, expected) in [
            (
                Dialect::Grpc,
                "POST",
                "/claviger.v1.Tokens/GetToken",
                "/claviger.v1.Tokens/GetToken",
            ),
            (
                Dialect::Grpc,
                "POST",
                "/claviger.v1.Tokens/s3cret",
                "unknown",
            ),
            (
                Dialect::Http,
                "GET",
                "/v1/token/s3cret",
                "GET /v1/token/NAME",
            ),
            (
                Dialect::Http,
                "POST",
                "/v1/token/s3cret/rejected",
                "POST /v1/token/NAME/rejected",
            ),
            (Dialect::Http, "GET", "/s3cret", "unknown"),
            (Dialect::Http, "DELETE", "/v1/token/s3cret", "unknown"),
        ] {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .body(())
                .unwrap();
            assert_eq!(dialect.method(&request), expected);
        }
    }
}
