//! Issuers that are down, slow or answer in unusual ways.

use std::time::Duration;

use claviger_proto::v1::Freshness;
use serde_json::json;
use tonic::Code;

use crate::support::canary::Canary;
use crate::support::client::{lifetime, named, reason, retry_after, seconds};
use crate::world::Plan;

#[tokio::test]
async fn retry_after_is_passed_on_and_kept() {
    let Some(plan) = Plan::draw("retry_after_is_passed_on_and_kept") else {
        return;
    };
    let mut world = plan.token("api", "basic", "").start().await;
    let headers = json!({ "retry-after": "50" });
    world
        .provider
        .fault(json!({ "path": "/token", "times": 1000, "status": 429, "headers": headers }))
        .await;
    let mark = world.provider.mark().await;
    // A caller with a short deadline gets the error at once; the daemon does not wait on its behalf.
    let refused = world
        .caller
        .ask_within(named("api"), Duration::from_secs(20))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::ResourceExhausted, "ISSUER_LIMITED"),
        "{refused:?}"
    );
    let wait = retry_after(&refused).expect("the error has a retry delay");
    assert!(
        (Duration::from_secs(20)..=Duration::from_mins(1)).contains(&wait),
        "{wait:?}"
    );
    for _ in 0..10 {
        world.caller.get("api").await.unwrap_err();
    }
    assert_eq!(world.provider.token_requests(mark).await, 1);
}

#[tokio::test]
async fn a_short_outage_is_hidden_from_the_caller() {
    let Some(plan) = Plan::draw("a_short_outage_is_hidden_from_the_caller") else {
        return;
    };
    let mut world = plan.token("api", "basic", "").start().await;
    world
        .provider
        .fault(json!({ "path": "/token", "times": 2, "status": 503 }))
        .await;
    let mark = world.provider.mark().await;
    let answer = world.caller.get("api").await.unwrap();
    assert_eq!(answer.freshness(), Freshness::Refreshed);
    assert_eq!(world.provider.token_requests(mark).await, 3);
}

#[tokio::test]
async fn requests_back_off_during_a_long_outage() {
    let Some(plan) = Plan::draw("requests_back_off_during_a_long_outage") else {
        return;
    };
    let mut world = plan.token("api", "basic", "").start().await;
    world
        .provider
        .fault(json!({ "path": "/token", "times": 1000, "status": 503 }))
        .await;
    let mark = world.provider.mark().await;
    let refused = world.caller.get("api").await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::Unavailable, "UNAVAILABLE"),
        "{refused:?}"
    );
    assert!(retry_after(&refused).is_some(), "{refused:?}");
    for _ in 0..5 {
        world.caller.get("api").await.unwrap_err();
    }
    let requests = world.provider.token_requests(mark).await;
    assert!(
        (1..=6).contains(&requests),
        "{requests} requests to an issuer that is down"
    );
}

#[tokio::test]
async fn a_lost_connection_is_retried() {
    let Some(plan) = Plan::draw("a_lost_connection_is_retried") else {
        return;
    };
    let plan = plan.token("reset", "basic", "").token("lost", "basic", "");
    let mut world = plan.start().await;
    // With `lost` the issuer issues a token that never arrives; for this grant that does no harm.
    for (mode, grants) in [("reset", 1), ("lost", 2)] {
        world
            .provider
            .fault(json!({ "path": "/token", "times": 1, "mode": mode }))
            .await;
        let mark = world.provider.mark().await;
        let answer = world.caller.get(mode).await.unwrap();
        assert!(!answer.access_token.is_empty());
        assert_eq!(world.provider.token_requests(mark).await, 2, "{mode}");
        assert_eq!(world.provider.grants(mark).await.len(), grants, "{mode}");
    }
}

#[tokio::test]
async fn an_issuer_that_repeats_its_token_is_not_asked_in_a_loop() {
    let Some(plan) = Plan::draw("an_issuer_that_repeats_its_token_is_not_asked_in_a_loop") else {
        return;
    };
    let mut world = plan.token("api", "basic", "").start().await;
    let body = json!({ "access_token": "always-the-same-access-token", "token_type": "Bearer", "expires_in": 600 });
    world.provider.reply_token(1000, &body.to_string()).await;
    let mark = world.provider.mark().await;
    assert_eq!(
        world.caller.get("api").await.unwrap().access_token,
        "always-the-same-access-token"
    );
    for _ in 0..50 {
        let mut wish = named("api");
        wish.min_remaining = Some(seconds(700));
        let refused = world.caller.ask(wish).await.unwrap_err();
        let known = [Code::FailedPrecondition, Code::ResourceExhausted];
        assert!(known.contains(&refused.code()), "{refused:?}");
    }
    let requests = world.provider.token_requests(mark).await;
    assert!(
        requests <= 4,
        "{requests} requests to an issuer whose tokens never live that long"
    );
    assert_eq!(
        world.caller.get("api").await.unwrap().access_token,
        "always-the-same-access-token"
    );
}

#[tokio::test]
async fn every_encoding_of_a_lifetime_is_accepted() {
    let Some(plan) = Plan::draw("every_encoding_of_a_lifetime_is_accepted") else {
        return;
    };
    let day = 24 * 3600;
    let cases = [
        ("number", "1800", 1700..=1800),
        ("string", "\"3599\"", 3500..=3599),
        ("spaced", "\" 3599 \"", 3500..=3599),
        ("float", "1799.9", 1700..=1799),
        ("huge", "18446744073709551615", day - 100..=day),
        ("huger", "1e30", day - 100..=day),
        ("digits", "\"99999999999999999999999999\"", day - 100..=day),
        ("null", "null", 3500..=3600),
    ];
    let plan = cases
        .iter()
        .fold(plan, |plan, (name, ..)| plan.token(name, "basic", ""));
    let mut world = plan.token("missing", "basic", "").start().await;
    for (name, spelling, expected) in cases {
        let body = format!(
            r#"{{"access_token":"{name}-access-token-0123456789","token_type":"bearer","expires_in":{spelling}}}"#
        );
        world.provider.reply_token(1, &body).await;
        let answer = world
            .caller
            .get(name)
            .await
            .unwrap_or_else(|status| panic!("{name}: {status:?}"));
        assert!(expected.contains(&lifetime(&answer)), "{name}: {answer:?}");
        assert_eq!(answer.token_type, "Bearer");
    }
    world
        .provider
        .reply_token(
            1,
            r#"{"access_token":"missing-access-token-0123456789","token_type":"Bearer"}"#,
        )
        .await;
    let answer = world.caller.get("missing").await.unwrap();
    assert!((3500..=3600).contains(&lifetime(&answer)), "{answer:?}");
}

#[tokio::test]
async fn an_expired_token_is_not_cached() {
    let Some(plan) = Plan::draw("an_expired_token_is_not_cached") else {
        return;
    };
    let cases = [
        ("zero", "0"),
        ("negative", "-5"),
        ("minimum", "-9223372036854775808"),
    ];
    let plan = cases
        .iter()
        .fold(plan, |plan, (name, _)| plan.token(name, "basic", ""));
    let mut world = plan.start().await;
    for (name, spelling) in cases {
        let body = format!(
            r#"{{"access_token":"{name}-access-token-0123456789","token_type":"Bearer","expires_in":{spelling}}}"#
        );
        world.provider.reply_token(1000, &body).await;
        let mark = world.provider.mark().await;
        for _ in 0..3 {
            // Serving it once with no lifetime left and refusing are both correct. The answer must not claim a lifetime.
            if let Ok(answer) = world.caller.get(name).await {
                assert_eq!(lifetime(&answer), 0, "{name}: {answer:?}");
            }
        }
        let requests = world.provider.token_requests(mark).await;
        assert!(
            (1..=3).contains(&requests),
            "{name}: {requests} requests for 3 calls"
        );
    }
}

#[tokio::test]
async fn a_form_encoded_answer_is_accepted() {
    let Some(plan) = Plan::draw("a_form_encoded_answer_is_accepted") else {
        return;
    };
    let mut world = plan.token("api", "basic", "").start().await;
    let headers = json!({ "content-type": "application/x-www-form-urlencoded" });
    let body = "access_token=form%2Bencoded-access-token&token_type=bearer&expires_in=1800";
    world
        .provider
        .fault(json!({ "path": "/token", "times": 1, "status": 200, "headers": headers, "body": body }))
        .await;
    let answer = world.caller.get("api").await.unwrap();
    assert_eq!(answer.access_token, "form+encoded-access-token");
    assert!((1700..=1800).contains(&lifetime(&answer)), "{answer:?}");
}

#[tokio::test]
async fn an_error_body_fails_under_any_status_and_callers_never_see_its_text() {
    let Some(plan) =
        Plan::draw("an_error_body_fails_under_any_status_and_callers_never_see_its_text")
    else {
        return;
    };
    let mut world = plan
        .token("ok", "basic", "")
        .token("bad", "post", "")
        .start()
        .await;
    let (sentinel, page) = ("the-issuers-own-words-7391", "text-of-a-page-2846");
    let canary = Canary::new(sentinel);
    let bodies = [
        (
            "ok",
            200,
            json!({ "error": "invalid_client", "error_description": sentinel }).to_string(),
            "INVALID_CLIENT",
        ),
        ("bad", 400, format!("<html>{sentinel} {page}</html>"), ""),
    ];
    for (name, status, body, expected) in bodies {
        let headers = json!({ "content-type": "application/json" });
        world
            .provider
            .fault(json!({ "path": "/token", "times": 1000, "status": status, "headers": headers, "body": body }))
            .await;
        let refused = world.caller.get(name).await.unwrap_err();
        assert!(!reason(&refused).is_empty(), "{refused:?}");
        assert!(
            expected.is_empty() || reason(&refused) == expected,
            "{refused:?}"
        );
        let answer = format!(
            "{} {:?}",
            refused.message(),
            String::from_utf8_lossy(refused.details())
        );
        assert_eq!(canary.sighted(answer.as_bytes()), None, "{answer}");
    }
    // Operators read the description of an error, and nothing else of a body.
    let log = world.daemon.log();
    assert_eq!(Canary::new(page).sighted(log.as_bytes()), None, "{log}");
}

#[tokio::test]
async fn answers_without_a_token_are_rejected() {
    let Some(plan) = Plan::draw("answers_without_a_token_are_rejected") else {
        return;
    };
    let long = format!(
        r#"{{"access_token":"{}","token_type":"Bearer"}}"#,
        "a".repeat(20 * 1024)
    );
    let cases = [
        ("empty", ""),
        ("brackets", "[[[[[[[["),
        (
            "twice",
            r#"{"access_token":"first-access-token-1","access_token":"second-access-token-2","token_type":"Bearer"}"#,
        ),
        ("blank", r#"{"access_token":"","token_type":"Bearer"}"#),
        (
            "number",
            r#"{"access_token":12345678901234567890,"token_type":"Bearer"}"#,
        ),
        (
            "mac",
            r#"{"access_token":"an-access-token-0123456789","token_type":"mac"}"#,
        ),
        (
            "untyped",
            r#"{"access_token":"an-access-token-0123456789"}"#,
        ),
        (
            "unprintable",
            r#"{"access_token":"an-access-token\r\nx: y","token_type":"Bearer"}"#,
        ),
        (
            "wider",
            r#"{"access_token":"an-access-token-0123456789","token_type":"Bearer","scope":"read admin"}"#,
        ),
        ("long", &long),
    ];
    let plan = cases.iter().fold(plan, |plan, (name, _)| {
        plan.token(name, "basic", "scopes = [\"read\"]")
    });
    let mut world = plan.start().await;
    for (name, body) in cases {
        world.provider.reply_token(1000, body).await;
        let refused = world.caller.get(name).await.expect_err(name);
        let known = [
            "INVALID_RESPONSE",
            "HTML_PAGE",
            "MISSING_TOKEN_TYPE",
            "UNUSABLE_TOKEN",
            "SCOPE_ESCALATION",
        ];
        assert!(
            known.contains(&reason(&refused).as_str()),
            "{name}: {refused:?}"
        );
    }
}
