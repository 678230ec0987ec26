//! What callers learn of an error.
//!
//! Owns the mapping from the broker's errors to gRPC codes with `google.rpc.ErrorInfo` and `RetryInfo`. The texts are ours:
//! nothing a backend or an issuer said, and nothing of policy, passes here. What the library answers by itself, because it
//! cannot read a request, gets our words too.

use std::collections::HashMap;
use std::time::Duration;

use http::{HeaderValue, Response};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use claviger_core::broker::Error;
use claviger_core::secrets;
use claviger_core::tokens;
use claviger_core::tokens::source::{ErrorKind, Verdict};

/// The domain of every `ErrorInfo`.
pub(crate) const DOMAIN: &str = "claviger";

/// The remedy of `UNKNOWN_METHOD`.
const UNKNOWN_METHOD: &str = "no such method; server reflection lists those that there are";

/// Headers of the gRPC protocol over HTTP/2: where a status has its details, and which compressions are accepted.
const DETAILS: &str = "grpc-status-details-bin";
const ACCEPT_ENCODING: &str = "grpc-accept-encoding";

/// The code and the stable reason of an error, the same in gRPC and HTTP.
pub(crate) fn code_and_reason(error: &Error) -> (Code, String) {
    let code = match error {
        Error::Denied(_) | Error::Secret(secrets::Error::Unknown) => Code::PermissionDenied,
        Error::PeerChanged(_) => Code::Unauthenticated,
        Error::Limited { .. } => Code::ResourceExhausted,
        Error::Secret(_) => Code::Unavailable,
        Error::Token(error) => token_code(error),
    };
    (code, error.reason().to_ascii_uppercase())
}

fn token_code(error: &tokens::Error) -> Code {
    match error {
        tokens::Error::Unknown => Code::PermissionDenied,
        tokens::Error::Scopes => Code::InvalidArgument,
        tokens::Error::TooShort { .. } => Code::FailedPrecondition,
        tokens::Error::Limited { .. } | tokens::Error::Unpaid { .. } => Code::ResourceExhausted,
        tokens::Error::Pending { .. } | tokens::Error::Stopping => Code::Unavailable,
        tokens::Error::Issuer { error, .. } => match (error.kind, error.kind.verdict()) {
            (ErrorKind::RateLimited { .. }, _) => Code::ResourceExhausted,
            (_, Verdict::Transient { .. }) => Code::Unavailable,
            (_, Verdict::Terminal) => Code::FailedPrecondition,
        },
    }
}

/// How long to wait, in whole seconds rounded up.
pub(crate) fn retry_seconds(error: &Error) -> Option<u64> {
    let retry_in = error.retry_in()?;
    let partial = u64::from(retry_in.subsec_nanos() > 0);
    Some(retry_in.as_secs().saturating_add(partial))
}

/// The status of a failed request.
pub(crate) fn of(error: &Error) -> Status {
    let (code, reason) = code_and_reason(error);
    let metadata = HashMap::from([("remedy".to_owned(), error.remedy().to_owned())]);
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    if let Some(retry_in) = error.retry_in() {
        details.set_retry_info(Some(retry_in.max(Duration::from_millis(1))));
    }
    Status::with_error_details(code, error.remedy(), details)
}

/// The status of a request that is turned away before anybody decides about it.
pub(crate) fn turned_away(code: Code, reason: &'static str, remedy: &'static str) -> Status {
    let metadata = HashMap::from([("remedy".to_owned(), remedy.to_owned())]);
    let details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    Status::with_error_details(code, remedy, details)
}

/// The status of a request that is turned away for a moment.
pub(crate) fn put_off(reason: &'static str, remedy: &'static str, retry_in: Duration) -> Status {
    let metadata = HashMap::from([("remedy".to_owned(), remedy.to_owned())]);
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    details.set_retry_info(Some(retry_in));
    Status::with_error_details(Code::ResourceExhausted, remedy, details)
}

/// The status of a request that cannot be understood.
pub(crate) fn invalid(field: &str, problem: &'static str) -> Status {
    let metadata = HashMap::from([
        ("field".to_owned(), field.to_owned()),
        ("remedy".to_owned(), problem.to_owned()),
    ]);
    let details = ErrorDetails::with_error_info("INVALID_REQUEST", DOMAIN, metadata);
    Status::with_error_details(
        Code::InvalidArgument,
        format!("{field}: {problem}"),
        details,
    )
}

/// The answer to a request whose messages are compressed. None are accepted: they are small, and lengths of compressed texts
/// tell something about them.
pub(crate) fn compressed() -> Response<Body> {
    let remedy = "Send messages as they are; the daemon accepts no compression.";
    let status = turned_away(Code::Unimplemented, "UNKNOWN_COMPRESSION", remedy);
    let mut response = status.into_http();
    let identity = HeaderValue::from_static("identity");
    response.headers_mut().insert(ACCEPT_ENCODING, identity);
    response
}

/// `response`, or the same refusal with a reason and a remedy if it is one that the library made: every one of ours has
/// details.
pub(crate) fn in_our_words(response: Response<Body>) -> Response<Body> {
    let headers = response.headers();
    let Some(code) = headers.get(Status::GRPC_STATUS) else {
        return response;
    };
    if headers.contains_key(DETAILS) {
        return response;
    }
    let (code, reason, remedy) = match Code::from_bytes(code.as_bytes()) {
        Code::OutOfRange => (
            Code::InvalidArgument,
            "MESSAGE_TOO_LARGE",
            "Send a smaller message; the limit is `server.limits.message_bytes` of the daemon's configuration.",
        ),
        Code::Internal => (
            Code::InvalidArgument,
            "MALFORMED_MESSAGE",
            "Send one whole message that the daemon's .proto files describe; server reflection has them.",
        ),
        Code::Unimplemented => (Code::Unimplemented, "UNKNOWN_METHOD", UNKNOWN_METHOD),
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
    turned_away(code, reason, remedy).into_http()
}

/// The answer to a request for a method that there is not.
pub(crate) fn unknown_method() -> Response<Body> {
    turned_away(Code::Unimplemented, "UNKNOWN_METHOD", UNKNOWN_METHOD).into_http()
}
