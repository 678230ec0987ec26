//! What an answer, or the lack of one, means.
//!
//! Owns the tables from transport and protocol to [`ErrorKind`], and which failures deserve another attempt at once. Pure.

use std::time::Duration;

use crate::ErrorKind;
use claviger_oauth_wire::header;
use claviger_oauth_wire::response::{ErrorCode, Failure, Flaw};
use claviger_outbound::http::header::{DATE, RETRY_AFTER};
use claviger_outbound::http::{Answer, Error as Lost};

/// What a missing answer means.
pub(crate) fn lost(lost: Lost) -> ErrorKind {
    match lost {
        Lost::NotResolved => ErrorKind::NameNotResolved,
        Lost::AddressRefused(_) => ErrorKind::AddressRefused,
        Lost::Refused => ErrorKind::ConnectionRefused,
        Lost::Unreachable => ErrorKind::Unreachable,
        Lost::ProxyRefused => ErrorKind::ProxyRefused,
        Lost::ConnectTimeout => ErrorKind::ConnectTimeout,
        Lost::NotTls => ErrorKind::NotTls,
        Lost::Handshake => ErrorKind::HandshakeFailed,
        Lost::UnknownIssuer => ErrorKind::Untrusted,
        Lost::SelfSigned => ErrorKind::SelfSigned,
        Lost::Expired => ErrorKind::CertificateExpired,
        Lost::NotYetValid => ErrorKind::CertificateNotYetValid,
        Lost::NameMismatch => ErrorKind::NameMismatch,
        Lost::BadCertificate => ErrorKind::CertificateInvalid,
        Lost::PinMismatch => ErrorKind::PinMismatch,
        Lost::AnswerTimeout => ErrorKind::Timeout,
        Lost::Lost => ErrorKind::Unavailable {
            status: 0,
            retry_after: None,
        },
        Lost::BodyTooLong | Lost::Flood => ErrorKind::InvalidResponse,
        Lost::InvalidRequest => ErrorKind::InvalidRequest,
    }
}

/// Whether an idempotent request is worth sending again at once. One that claviger itself refused is not.
pub(crate) fn may_resend(lost: Lost) -> bool {
    match lost {
        Lost::NotResolved
        | Lost::Refused
        | Lost::Unreachable
        | Lost::ProxyRefused
        | Lost::Handshake
        | Lost::ConnectTimeout
        | Lost::Lost => true,
        Lost::AddressRefused(_)
        | Lost::UnknownIssuer
        | Lost::SelfSigned
        | Lost::Expired
        | Lost::NotYetValid
        | Lost::NameMismatch
        | Lost::BadCertificate
        | Lost::PinMismatch
        | Lost::NotTls
        | Lost::AnswerTimeout
        | Lost::BodyTooLong
        | Lost::Flood
        | Lost::InvalidRequest => false,
    }
}

/// Whether nothing at the other end has spoken TLS and HTTP within the limits: any request to that host would fail alike.
pub(crate) fn is_silent(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Timeout
            | ErrorKind::ConnectTimeout
            | ErrorKind::NameNotResolved
            | ErrorKind::ConnectionRefused
            | ErrorKind::Unreachable
            | ErrorKind::ProxyRefused
            | ErrorKind::NotTls
            | ErrorKind::HandshakeFailed
    )
}

/// Whether a retry may be answered with another status.
pub(crate) fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599)
}

/// How long an issuer wants no requests of the whole client, if it says so.
pub(crate) fn asked_for_quiet(kind: ErrorKind) -> Option<Duration> {
    let ours = matches!(kind, ErrorKind::NoCredential { .. });
    kind.retry_after().filter(|_| !ours)
}

/// What the status of an answer without content means. `now` is the time since the Unix epoch.
pub(crate) fn status(answer: &Answer, now: Duration) -> ErrorKind {
    let retry_after = retry_after(answer, now);
    by_status(answer.status, retry_after, false)
}

/// What an answer that gives no token means. `now` is the time since the Unix epoch.
pub(crate) fn failure(failure: Failure, answer: &Answer, now: Duration) -> ErrorKind {
    let retry_after = retry_after(answer, now);
    let status = failure.status;
    let code = match failure.flaw {
        // The status takes precedence over the code.
        Flaw::Refused(_) if status == 429 => return ErrorKind::RateLimited { retry_after },
        Flaw::Refused(code) => code,
        Flaw::Status { html } => return by_status(status, retry_after, html),
        Flaw::NoTokenType => return ErrorKind::MissingTokenType,
        Flaw::TokenType | Flaw::Token(_) => return ErrorKind::UnusableToken,
        Flaw::Html => return ErrorKind::HtmlPage,
        Flaw::TooLong
        | Flaw::Empty
        | Flaw::NotAnAnswer
        | Flaw::Malformed
        | Flaw::Repeated
        | Flaw::Field(_)
        | Flaw::NoToken => return ErrorKind::InvalidResponse,
    };
    match code {
        ErrorCode::InvalidClient => ErrorKind::InvalidClient,
        ErrorCode::UnauthorizedClient if status == 401 => ErrorKind::ClientRefused,
        ErrorCode::UnauthorizedClient => ErrorKind::UnauthorizedClient,
        ErrorCode::InvalidScope => ErrorKind::InvalidScope,
        ErrorCode::InvalidTarget => ErrorKind::InvalidTarget,
        ErrorCode::InvalidGrant => ErrorKind::InvalidGrant,
        ErrorCode::InvalidRequest => ErrorKind::InvalidRequest,
        ErrorCode::UnsupportedGrantType => ErrorKind::UnsupportedGrant,
        ErrorCode::ServerError | ErrorCode::TemporarilyUnavailable => ErrorKind::Unavailable {
            status,
            retry_after,
        },
        // Codes without a meaning for this request: the status decides.
        ErrorCode::InvalidToken
        | ErrorCode::InsufficientScope
        | ErrorCode::InsufficientUserAuthentication
        | ErrorCode::UnsupportedTokenType
        | ErrorCode::UseDpopNonce
        | ErrorCode::Other => by_status(status, retry_after, false),
    }
}

/// Only overload, server errors and HTML pages, which come from a gateway before the issuer, are worth a retry.
fn by_status(status: u16, retry_after: Option<Duration>, html: bool) -> ErrorKind {
    match status {
        300..=399 => ErrorKind::Redirect,
        // RFC 6749 §5.2 gives a refused client this status.
        401 => ErrorKind::InvalidClient,
        429 => ErrorKind::RateLimited { retry_after },
        408 | 500..=599 => ErrorKind::Unavailable {
            status,
            retry_after,
        },
        400 => ErrorKind::Refused { status },
        _ if html => ErrorKind::Unavailable {
            status,
            retry_after,
        },
        _ => ErrorKind::Refused { status },
    }
}

/// A date is compared with the clock of the issuer, if the answer has its `Date`.
fn retry_after(answer: &Answer, now: Duration) -> Option<Duration> {
    let theirs = answer.header(&DATE).and_then(header::date);
    header::retry_after(answer.header(&RETRY_AFTER)?, theirs.unwrap_or(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::support::answer_with;
    use claviger_oauth_wire::response::{Leniency, parse};

    fn kind(status: u16, body: &str) -> ErrorKind {
        let answer = answer_with(status, &[(RETRY_AFTER, "5")], body);
        let leniency = Leniency {
            missing_token_type_is_bearer: false,
            commas_separate_scopes: true,
        };
        let failed = parse(status, None, body.as_bytes(), leniency).unwrap_err();
        failure(failed, &answer, Duration::ZERO)
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn each_answer_has_its_kind() {
        let retry_after = Some(Duration::from_secs(5));
        let unavailable = |status| ErrorKind::Unavailable {
            status,
            retry_after,
        };
        for (status, body, expected) in [
            (
                401,
                r#"{"error":"invalid_client"}"#,
                ErrorKind::InvalidClient,
            ),
            (
                500,
                r#"{"error":"invalid_client"}"#,
                ErrorKind::InvalidClient,
            ),
            (
                200,
                r#"{"error":"invalid_client"}"#,
                ErrorKind::InvalidClient,
            ),
            (401, "", ErrorKind::InvalidClient),
            (
                401,
                r#"{"error":"unauthorized_client"}"#,
                ErrorKind::ClientRefused,
            ),
            (
                400,
                r#"{"error":"unauthorized_client"}"#,
                ErrorKind::UnauthorizedClient,
            ),
            (400, r#"{"error":"invalid_scope"}"#, ErrorKind::InvalidScope),
            (
                400,
                r#"{"error":"invalid_target"}"#,
                ErrorKind::InvalidTarget,
            ),
            (
                400,
                r#"{"error":"brand_new"}"#,
                ErrorKind::Refused { status: 400 },
            ),
            (200, r#"{"ok":false}"#, ErrorKind::Refused { status: 200 }),
            (400, "<html>", ErrorKind::Refused { status: 400 }),
            (403, "<html>", unavailable(403)),
            (404, "<html>", unavailable(404)),
            (403, "{}", ErrorKind::Refused { status: 403 }),
            (404, "", ErrorKind::Refused { status: 404 }),
            (
                429,
                r#"{"error":"invalid_request"}"#,
                ErrorKind::RateLimited { retry_after },
            ),
            (429, "", ErrorKind::RateLimited { retry_after }),
            (408, "", unavailable(408)),
            (500, "", unavailable(500)),
            (503, "<html>", unavailable(503)),
            (502, r#"{"error":"other_trouble"}"#, unavailable(502)),
            (
                400,
                r#"{"error":"temporarily_unavailable"}"#,
                unavailable(400),
            ),
            (302, "", ErrorKind::Redirect),
            (307, "<html>", ErrorKind::Redirect),
            (200, "<html>", ErrorKind::HtmlPage),
            (200, "", ErrorKind::InvalidResponse),
            (200, r#"{"access_token":"t"}"#, ErrorKind::MissingTokenType),
            (
                200,
                r#"{"access_token":"a b","token_type":"bearer"}"#,
                ErrorKind::UnusableToken,
            ),
            (
                200,
                r#"{"token_type":"bearer"}"#,
                ErrorKind::InvalidResponse,
            ),
        ] {
            assert_eq!(kind(status, body), expected, "{status} {body}");
        }
    }
}
