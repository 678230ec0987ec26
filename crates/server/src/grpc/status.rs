//! Problems as gRPC statuses.
//!
//! Owns the form: a code, and `google.rpc.ErrorInfo` and `RetryInfo` as details. Refusals that the library makes by itself,
//! because it cannot read a request, get a reason as well.

use std::collections::HashMap;
use std::time::Duration;

use http::{HeaderValue, Response};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::answers::Problem;
use claviger_core::broker::Error;
use claviger_runtime::reason::Reason;

/// The domain of every `ErrorInfo`.
const DOMAIN: &str = "claviger";

/// Headers of the gRPC protocol over HTTP/2: where a status has its details, and which compressions are accepted.
const DETAILS: &str = "grpc-status-details-bin";
const ACCEPT_ENCODING: &str = "grpc-accept-encoding";

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        let Problem {
            reason,
            remedy,
            field,
            retry_in,
        } = problem;
        let message = match field {
            Some(field) => format!("{field}: {remedy}"),
            None => remedy.to_string(),
        };
        let metadata = field
            .map(|field| ("field".to_owned(), field.to_owned()))
            .into_iter()
            .chain([("remedy".to_owned(), remedy.into_owned())])
            .collect::<HashMap<_, _>>();
        let mut details = ErrorDetails::with_error_info(reason.word(), DOMAIN, metadata);
        if let Some(retry_in) = retry_in {
            details.set_retry_info(Some(retry_in.max(Duration::from_millis(1))));
        }
        Self::with_error_details(Code::from_i32(reason.code().number()), message, details)
    }
}

/// The status of a request that the broker refused.
pub(crate) fn of(error: &Error) -> Status {
    Problem::of(error).into()
}

/// The answer to a request that is refused before it is decoded.
pub(crate) fn refuse(problem: Problem) -> Response<Body> {
    Status::from(problem).into_http()
}

/// The answer to a request whose messages are compressed. None are accepted: messages are small, and the length of a
/// compressed text reveals something about it.
pub(crate) fn compressed() -> Response<Body> {
    let status = Status::from(Problem::new(Reason::UnknownCompression));
    let mut response = status.into_http();
    let identity = HeaderValue::from_static("identity");
    response.headers_mut().insert(ACCEPT_ENCODING, identity);
    response
}

/// The label of the reason in an answer over gRPC; `None` if the answer is not a refusal or failure.
pub(crate) fn failure(response: &Response<Body>) -> Option<&'static str> {
    let status = response.extensions().get::<Status>()?;
    let reason = status
        .get_details_error_info()
        .and_then(|info| Reason::find(&info.reason, i32::from(status.code())));
    // Only the library's own services refuse without a reason.
    Some(reason.map_or("failed", Reason::label))
}

/// `response`, or the same refusal with a reason if the library made it: every one of ours has details.
pub(crate) fn with_reason(response: Response<Body>) -> Response<Body> {
    let headers = response.headers();
    let Some(code) = headers.get(Status::GRPC_STATUS) else {
        return response;
    };
    if headers.contains_key(DETAILS) {
        return response;
    }
    let reason = match Code::from_bytes(code.as_bytes()) {
        Code::OutOfRange => Reason::MessageTooLarge,
        Code::Internal => Reason::MalformedMessage,
        Code::Unimplemented => Reason::UnknownMethod,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => return response,
    };
    refuse(Problem::new(reason))
}
