//! Revocations, and what their answers mean.

use claviger_backend::Secret;

use super::support::*;
use crate::*;
use claviger_core::tokens::source::TokenSource as _;
use claviger_outbound::http::Error as Lost;

async fn revoke(rig: &Rig) -> Revocation {
    let token = Secret::from_text("a token".to_owned());
    rig.client.revoke(&token).await
}

#[tokio::test(start_paused = true)]
async fn a_revocation_names_the_token_and_proves_itself_once() {
    let rig = Rig::new();
    rig.script.then(Ok(answer(200, "")));
    assert_eq!(revoke(&rig).await, Revocation::Revoked);
    let asked = rig.script.asked.lock().unwrap().pop().unwrap();
    assert_eq!(asked.url, "https://auth.example/revoke");
    assert!(asked.authorization.unwrap().starts_with("Basic "));
    assert_eq!(asked.form, "token=a+token&token_type_hint=access_token");
}

#[tokio::test(start_paused = true)]
async fn answers_have_one_meaning_each() {
    use Revocation::{Failed, Revoked, Unsupported};
    for (status, body, meaning, requests) in [
        (200, "", Revoked, 1),
        (204, "", Revoked, 1),
        (400, r#"{"error":"invalid_token"}"#, Revoked, 1),
        (400, r#"{"error":"unsupported_token_type"}"#, Unsupported, 1),
        (401, r#"{"error":"invalid_client"}"#, Failed, 1),
        (200, r#"{"error":"invalid_client"}"#, Failed, 1),
        (403, "<html>", Failed, 1),
        (302, "", Failed, 1),
        (503, "", Failed, 4),
        (503, r#"{"error":"temporarily_unavailable"}"#, Failed, 4),
        (429, "", Failed, 4),
    ] {
        let rig = Rig::new();
        for _ in 0..4 {
            rig.script.then(Ok(answer(status, body)));
        }
        assert_eq!(revoke(&rig).await, meaning, "{status} {body}");
        assert_eq!(rig.script.requests(), requests, "{status} {body}");
    }
    let rig = Rig::new();
    rig.script
        .then(Err(Lost::Lost))
        .then(Err(Lost::Unreachable))
        .then(Ok(answer(200, "")));
    assert_eq!(revoke(&rig).await, Revoked);
}

#[tokio::test(start_paused = true)]
async fn without_an_endpoint_nothing_is_sent() {
    let mut settings = issuer_settings("https://auth.example");
    settings.endpoints.revocation = None;
    let rig = Rig::with(settings, token_settings());
    assert_eq!(revoke(&rig).await, Revocation::Unsupported);
    assert_eq!(rig.script.requests(), 0);
}
