//! The answers of the HTTP dialect.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use prost_types::Timestamp;
use serde_json::{Map, Value, json};
use tonic::body::Body;

use crate::answers::{Problem, token_text};
use claviger_core::audit::Released;
use claviger_core::secrets::Reading;
use claviger_core::tokens::{Answer, Report};
use claviger_runtime::reason::Reason;

/// What every answer carries: it must not be stored, framed, sniffed or forwarded.
const SAFETY: [(HeaderName, HeaderValue); 5] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'"),
    ),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
];

/// An answer in the making. Has no `Debug`: the body may be a credential.
pub(super) struct Reply {
    status: StatusCode,
    body: Bytes,
    kind: HeaderValue,
    more: Vec<(HeaderName, HeaderValue)>,
    /// Why it is a refusal or failure, if it is one.
    reason: Option<Reason>,
}

impl Reply {
    pub(super) fn json(status: StatusCode, body: &Value) -> Self {
        let mut text = body.to_string();
        text.push('\n');
        let kind = HeaderValue::from_static("application/json");
        Self {
            status,
            body: text.into(),
            kind,
            more: Vec::new(),
            reason: None,
        }
    }

    /// A refusal or failure: the same reason and remedy as over gRPC, and `Retry-After` where the daemon tries again.
    pub(super) fn problem(problem: &Problem) -> Self {
        let status = StatusCode::from_u16(problem.reason.http())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = json!({ "error": problem.reason.word(), "remedy": problem.remedy });
        let reply = Self {
            reason: Some(problem.reason),
            ..Self::json(status, &body)
        };
        match problem.retry_seconds() {
            Some(seconds) => reply.with(header::RETRY_AFTER, HeaderValue::from(seconds)),
            None => reply,
        }
    }

    pub(super) fn method(allowed: &'static str) -> Self {
        let remedy = format!("use {allowed} for this path");
        Self::problem(&Problem::new(Reason::MethodNotAllowed).with_remedy(remedy))
            .with(header::ALLOW, HeaderValue::from_static(allowed))
    }

    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.more.push((name, value));
        self
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::new(Full::new(self.body)));
        *response.status_mut() = self.status;
        if let Some(reason) = self.reason {
            response.extensions_mut().insert(reason);
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, self.kind);
        for (name, value) in SAFETY.into_iter().chain(self.more) {
            headers.insert(name, value);
        }
        response
    }
}

/// A token: the fields of RFC 6749 §5.1 as it defines them, and the others as `claviger token --output json` has them.
pub(super) fn token(answer: &Released<Answer>) -> Reply {
    let held = &answer.token;
    Reply::json(
        StatusCode::OK,
        &json!({
            "access_token": token_text(held),
            "token_type": held.token_type(),
            "expires_in": answer.lifetime_left.as_secs(),
            "expires_at": date(held.expires().wall()),
            "scope": held.scopes().to_string(),
            "scopes": held.scopes().iter().collect::<Vec<_>>(),
            "freshness": answer.freshness.as_str(),
            "generation": held.generation(),
            "fingerprint": held.fingerprint(),
        }),
    )
}

/// A time in UTC, as RFC 3339 writes it.
fn date(since_epoch: Duration) -> String {
    let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
    Timestamp { seconds, nanos: 0 }.to_string()
}

/// A secret's value as the body, and what is known of it in headers.
pub(super) fn secret(reading: &Released<Reading>) -> Reply {
    #[expect(
        clippy::disallowed_methods,
        reason = "the answer that the permit entitles the peer to"
    )]
    let value = Bytes::copy_from_slice(reading.version.value.expose());
    let header = |value: String| HeaderValue::try_from(value).ok();
    let facts = [
        ("claviger-version", header(reading.version.id.to_string())),
        ("claviger-age", header(reading.age.as_secs().to_string())),
        (
            "claviger-lifetime-left",
            header(reading.lifetime_left.as_secs().to_string()),
        ),
        (
            "claviger-freshness",
            header(reading.freshness.as_str().to_owned()),
        ),
    ];
    let more = facts
        .into_iter()
        .filter_map(|(name, value)| Some((HeaderName::from_static(name), value?)))
        .collect();
    let kind = HeaderValue::from_static("application/octet-stream");
    Reply {
        status: StatusCode::OK,
        body: value,
        kind,
        more,
        reason: None,
    }
}

/// The outcome of a report.
pub(super) fn report(report: &Released<Report>) -> Reply {
    let outcome = match **report {
        Report::Dropped => "dropped",
        Report::Superseded => "superseded",
        Report::NotTheToken => "not_the_token",
    };
    Reply::json(StatusCode::OK, &json!({ "outcome": outcome }))
}

/// Which tokens can be served, for operators.
pub(super) fn readiness(tokens: &Released<Vec<(Arc<str>, bool)>>) -> Value {
    tokens
        .iter()
        .map(|(name, ready)| (name.to_string(), Value::Bool(*ready)))
        .collect::<Map<_, _>>()
        .into()
}
