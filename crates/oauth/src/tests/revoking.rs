//! Revocations, and what their answers mean.

use claviger_backend::Secret;

use super::support::*;
use crate::*;
use claviger_core::tokens::source::TokenSource as _;
use claviger_outbound::http::Error as Lost;

/// The outcome of a revocation, and of which kind the error is.
async fn revoke(rig: &Rig) -> (Revoked, Option<ErrorKind>) {
    let token = Secret::from_text("a token".to_owned());
    match rig.client.revoke(&token).await {
        Revocation::Revoked => (Revoked::Yes, None),
        Revocation::Unsupported => (Revoked::Unsupported, None),
        Revocation::Refused(error) => (Revoked::Refused, Some(error.kind)),
        Revocation::Failed(error) => (Revoked::Failed, Some(error.kind)),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Revoked {
    Yes,
    Unsupported,
    Refused,
    Failed,
}

#[tokio::test(start_paused = true)]
async fn a_revocation_names_the_token_and_proves_itself_once() {
    let rig = Rig::new();
    rig.script.then(Ok(answer(200, "")));
    assert_eq!(revoke(&rig).await, (Revoked::Yes, None));
    let asked = rig.script.asked.lock().unwrap().pop().unwrap();
    assert_eq!(asked.url, "https://auth.example/revoke");
    assert!(asked.authorization.unwrap().starts_with("Basic "));
    assert_eq!(asked.form, "token=a+token&token_type_hint=access_token");
}

#[tokio::test(start_paused = true)]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn answers_have_one_meaning_each() {
    use ErrorKind::{InvalidClient, RateLimited, Redirect, Unavailable};
    use Revoked::{Failed, Refused, Unsupported, Yes};
    let down = Some(Unavailable {
        status: 503,
        retry_after: None,
    });
    let limited = Some(RateLimited { retry_after: None });
    for (status, body, meaning, kind, requests) in [
        (200, "", Yes, None, 1),
        (204, "", Yes, None, 1),
        (400, r#"{"error":"invalid_token"}"#, Yes, None, 1),
        (
            400,
            r#"{"error":"unsupported_token_type"}"#,
            Unsupported,
            None,
            1,
        ),
        (
            401,
            r#"{"error":"invalid_client"}"#,
            Refused,
            Some(InvalidClient),
            1,
        ),
        (
            200,
            r#"{"error":"invalid_client"}"#,
            Refused,
            Some(InvalidClient),
            1,
        ),
        (
            403,
            "<html>",
            Refused,
            Some(ErrorKind::Refused { status: 403 }),
            1,
        ),
        (302, "", Refused, Some(Redirect), 1),
        (503, "", Refused, down, 4),
        (
            503,
            r#"{"error":"temporarily_unavailable"}"#,
            Refused,
            down,
            4,
        ),
        (429, "", Refused, limited, 4),
    ] {
        let rig = Rig::new();
        for _ in 0..4 {
            rig.script.then(Ok(answer(status, body)));
        }
        assert_eq!(revoke(&rig).await, (meaning, kind), "{status} {body}");
        assert_eq!(rig.script.requests(), requests, "{status} {body}");
    }
    let rig = Rig::new();
    rig.script
        .then(Err(Lost::Lost))
        .then(Err(Lost::Unreachable))
        .then(Ok(answer(200, "")));
    assert_eq!(revoke(&rig).await, (Yes, None));
    let rig = Rig::new();
    for _ in 0..4 {
        rig.script.then(Err(Lost::Refused));
    }
    let refused = Some(ErrorKind::ConnectionRefused);
    assert_eq!(revoke(&rig).await, (Failed, refused));
}

#[tokio::test(start_paused = true)]
async fn without_an_endpoint_nothing_is_sent() {
    let mut settings = issuer_settings("https://auth.example");
    settings.endpoints.revocation = None;
    let rig = Rig::with(settings, token_settings());
    assert_eq!(revoke(&rig).await, (Revoked::Unsupported, None));
    assert_eq!(rig.script.requests(), 0);
}
