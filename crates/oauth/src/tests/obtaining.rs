//! Token requests: their form, their retries and limits, and how the answers are read.

use claviger_runtime::reason::Reasoned as _;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claviger_backend::Secret;
use futures_util::future::join_all;

use super::support::*;
use crate::*;
use claviger_core::secrets::Live;
use claviger_core::tokens::source::{Ask, TokenSource as _, Urgency};
use claviger_outbound::http::Error as Lost;
use claviger_outbound::http::header::{DATE, RETRY_AFTER};
use claviger_runtime::clock::Clock as _;

#[tokio::test(start_paused = true)]
async fn one_request_gives_one_token() {
    let (log, _guard) = Captured::start();
    let rig = Rig::new();
    rig.script
        .then_token(r#","expires_in":"3599","scope":"read""#);
    let before = rig.clock.now();
    let issued = rig.client.token(&scopes("read")).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "tests look inside")]
    let plaintext = issued.access_token.expose();
    assert_eq!(plaintext, TOKEN.as_bytes());
    assert_eq!(
        (issued.binding.token_type(), issued.sent),
        ("Bearer", before)
    );
    assert_eq!(issued.lifetime, Duration::from_secs(3599));
    assert_eq!(issued.expires.left(before), Duration::from_secs(3599));
    let asked = rig.script.asked.lock().unwrap().clone();
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("cl%3Aient:{SECRET}"));
    assert_eq!(
        asked,
        [Asked {
            url: "https://auth.example/token".to_owned(),
            authorization: Some(format!("Basic {basic}")),
            form: "grant_type=client_credentials&scope=read&resource=https%3A%2F%2Fapi.example"
                .to_owned(),
        }]
    );
    assert!(log.text().contains("expires in 3599 s"));
    let status = rig.issuer.status();
    assert!(status.last_success.is_some() && status.last_error.is_none());
    assert_eq!(status.metadata.unwrap().read, None);
    assert_ne!(rig.client.credential().number, 0);
    assert_eq!(issued.credential, rig.client.credential().number);
}

#[tokio::test(start_paused = true)]
async fn the_number_of_a_credential_stands_for_its_cached_value() {
    let rig = Rig::new();
    let number = |secret: &str, id: ClientId, version: &str| {
        let mut client = client_settings();
        client.id = id;
        client.auth = AuthMethod::Post {
            secret: secret.parse().unwrap(),
        };
        let credential = Credential::new(&client, |reference| {
            let value = Secret::from_text(SECRET.to_owned());
            Live::fixed(reference.clone(), value, version.parse().unwrap())
        });
        let token = token_settings_of(client);
        TokenClient::new(Arc::clone(&rig.issuer), token, credential)
            .credential()
            .number
    };
    let id = || ClientId::Literal("a".to_owned());
    let referred = || ClientId::Reference("prod:a#id".parse().unwrap());
    let number_of_one = number("prod:a#s", id(), "1");
    assert_eq!(
        number("prod:a#s", id(), "1"),
        number_of_one,
        "also after a reload"
    );
    let others = [
        number("prod:a#s", id(), "2"),
        number("prod:b#s", id(), "1"),
        number("prod:a#s", ClientId::Literal("b".to_owned()), "1"),
        number("prod:a#s", referred(), "1"),
        number("prod:a#s", referred(), "2"),
        0,
    ];
    for (at, other) in others.iter().enumerate() {
        assert_ne!(*other, number_of_one);
        assert!(!others[..at].contains(other));
    }
}

#[tokio::test(start_paused = true)]
async fn post_puts_the_proof_into_the_form_alone() {
    let rig = Rig::new();
    let mut client = client_settings();
    client.auth = AuthMethod::Post {
        secret: "prod:a#b".parse().unwrap(),
    };
    client.id = ClientId::Reference("prod:a#id".parse().unwrap());
    let client = client_of(&rig.issuer, token_settings_of(client));
    rig.script.then_token("");
    client.token(&scopes("")).await.unwrap();
    let asked = rig.script.asked.lock().unwrap().pop().unwrap();
    assert_eq!(asked.authorization, None);
    assert_eq!(
        asked.form,
        format!(
            "grant_type=client_credentials&resource=https%3A%2F%2Fapi.example\
             &client_id={SECRET}&client_secret={SECRET}"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn refusals_are_one_request() {
    for (status, body, kind) in [
        (
            401,
            r#"{"error":"invalid_client"}"#,
            ErrorKind::InvalidClient,
        ),
        (400, r#"{"error":"invalid_scope"}"#, ErrorKind::InvalidScope),
        (
            400,
            r#"{"error":"unsupported_grant_type"}"#,
            ErrorKind::UnsupportedGrant,
        ),
        (
            500,
            r#"{"error":"invalid_client"}"#,
            ErrorKind::InvalidClient,
        ),
        (400, "", ErrorKind::Refused { status: 400 }),
        (307, "", ErrorKind::Redirect),
        (200, "<html>", ErrorKind::HtmlPage),
    ] {
        let rig = Rig::new();
        rig.script.then(Ok(answer(status, body)));
        let error = rig.client.token(&scopes("read")).await.unwrap_err();
        assert_eq!((error.kind, error.verdict), (kind, kind.verdict()));
        assert_eq!(rig.script.requests(), 1, "{body}");
        assert_eq!(rig.issuer.status().last_error.unwrap().kind, kind);
    }
    for (lost, kind) in [
        (Lost::UnknownIssuer, ErrorKind::Untrusted),
        (Lost::PinMismatch, ErrorKind::PinMismatch),
        (Lost::AddressRefused(PRIVATE), ErrorKind::AddressRefused),
        (Lost::BodyTooLong, ErrorKind::InvalidResponse),
        (Lost::AnswerTimeout, ErrorKind::Timeout),
    ] {
        let rig = Rig::new();
        rig.script.then(Err(lost));
        assert_eq!(rig.kind().await, kind);
        assert_eq!(rig.script.requests(), 1, "{lost:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn errors_name_the_status_where_the_reason_leaves_it_open() {
    for (outcome, text) in [
        (Ok(404), "issuer \"acme\": refused (HTTP 404)"),
        (Ok(502), "issuer \"acme\": unavailable (HTTP 502)"),
        (Ok(401), "issuer \"acme\": invalid_client"),
        (Err(Lost::Lost), "issuer \"acme\": unavailable"),
    ] {
        let rig = Rig::new();
        for _ in 0..3 {
            rig.script.then(outcome.map(|status| answer(status, "")));
        }
        let error = rig.client.token(&scopes("read")).await.unwrap_err();
        assert_eq!(error.to_string(), text);
    }
}

#[tokio::test(start_paused = true)]
async fn transient_failures_are_retried_twice() {
    for trouble in [408, 500, 502, 503, 504] {
        let rig = Rig::new();
        for _ in 0..2 {
            rig.script.then(Ok(answer(trouble, "<html>")));
        }
        rig.script.then_token("");
        let start = rig.clock.now();
        let issued = rig.client.token(&scopes("read")).await.unwrap();
        assert!(
            issued.sent > start,
            "counts from the request that succeeded"
        );
        assert_eq!(rig.script.requests(), 3);
    }
    for lost in [Lost::Unreachable, Lost::ConnectTimeout, Lost::Lost] {
        let rig = Rig::new();
        for _ in 0..4 {
            rig.script.then(Err(lost));
        }
        assert_eq!(rig.kind().await, outcome::lost(lost));
        assert_eq!(rig.script.requests(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured_but_never_past_the_end() {
    let limited = |seconds: &str| {
        let limited = answer_with(429, &[(RETRY_AFTER, seconds)], "");
        Ok(limited)
    };
    let rig = Rig::new();
    rig.script.then(limited("2")).then_token("");
    let start = rig.clock.now();
    rig.client.token(&scopes("read")).await.unwrap();
    let waited = rig.clock.now().since(start).as_secs();
    assert_eq!((waited, rig.script.requests()), (2, 2));

    let rig = Rig::new();
    rig.script.then(limited("3600"));
    let start = rig.clock.now();
    let retry_after = Some(Duration::from_mins(10));
    assert_eq!(rig.kind().await, ErrorKind::RateLimited { retry_after });
    assert!(rig.clock.now().since(start) < Duration::from_secs(1));
    assert_eq!(rig.script.requests(), 1);

    let rig = Rig::new();
    for _ in 0..3 {
        rig.script.then(Ok(answer(429, "")));
    }
    let start = rig.clock.now();
    assert_eq!(
        rig.kind().await,
        ErrorKind::RateLimited { retry_after: None }
    );
    assert_eq!(rig.clock.now().since(start).as_secs(), 2, "not at once");
}

#[tokio::test(start_paused = true)]
async fn a_missing_answer_ends_with_the_time_limit() {
    let rig = Rig::new();
    let start = rig.clock.now();
    let error = rig.client.token(&scopes("read")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout);
    assert_eq!(
        error.to_string(),
        "issuer \"acme\": OAuth token request timed out"
    );
    assert_eq!(rig.clock.now().since(start), Duration::from_secs(30));
    assert_eq!(rig.script.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn ten_requests_a_minute_and_client() {
    let (log, _guard) = Captured::start();
    let rig = Rig::new();
    let other_token = client_of(&rig.issuer, token_settings());
    let mut settings = client_settings();
    settings.name = "shipping".into();
    let other = client_of(&rig.issuer, token_settings_of(settings));
    for _ in 0..11 {
        rig.script.then_token("");
    }
    for client in [&rig.client, &other_token].into_iter().cycle().take(10) {
        client.token(&scopes("read")).await.unwrap();
    }
    let ErrorKind::RateLimited { retry_after } = rig.kind().await else {
        panic!("the eleventh is refused");
    };
    assert!((5900..=6000).contains(&retry_after.unwrap().as_millis()));
    assert_eq!(rig.script.requests(), 10);
    assert!(log.text().contains("WARN") && log.text().contains("Rate limit exceeded"));
    other.token(&scopes("read")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn retries_spend_the_limit_too() {
    let mut settings = issuer_settings("https://auth.example");
    settings.requests_per_minute = 2;
    let rig = Rig::with(settings, token_settings());
    for _ in 0..3 {
        rig.script.then(Ok(answer(503, "")));
    }
    // The failure is reported, not that the limit prevented a retry.
    let kind = rig.kind().await;
    assert!(matches!(kind, ErrorKind::Unavailable { status: 503, .. }));
    assert_eq!(rig.script.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn at_most_eight_requests_are_under_way() {
    let mut settings = issuer_settings("https://auth.example");
    settings.requests_per_minute = 1000;
    let rig = Rig::with(settings, token_settings());
    for _ in 0..40 {
        rig.script.then_token("");
    }
    let wish = scopes("read");
    let all = join_all((0..40).map(|_| rig.client.token(&wish))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(*rig.script.under_way.lock().unwrap(), (0, 8));
}

#[tokio::test(start_paused = true)]
async fn granted_scopes_are_compared() {
    use ReducedScope::{Refuse, Serve};
    let (log, _guard) = Captured::start();
    for (policy, asked, granted, expected, event) in [
        (Serve, "read write", "", Ok("read write"), ""),
        (
            Serve,
            "read write",
            r#","scope":"write read""#,
            Ok("read write"),
            "",
        ),
        (Serve, "", r#","scope":"read""#, Ok("read"), ""),
        (
            Serve,
            "read write",
            r#","scope":"read""#,
            Ok("read"),
            "scope_reduced",
        ),
        (Serve, "read", r#","scope":"""#, Ok(""), "scope_reduced"),
        (
            Refuse,
            "read write",
            r#","scope":"read""#,
            Err(ErrorKind::ScopeReduced),
            "scope_reduced",
        ),
        (
            Serve,
            "read",
            r#","scope":"read admin""#,
            Err(ErrorKind::ScopeEscalation),
            "scope_escalation_attempt",
        ),
        (
            Serve,
            "read",
            r#","scope":"admin""#,
            Err(ErrorKind::ScopeEscalation),
            "scope_escalation_attempt",
        ),
        (Serve, "a,b", r#","scope":"a,b""#, Ok("a,b"), ""),
        (Serve, "a b", r#","scope":"b,a""#, Ok("a b"), ""),
    ] {
        let mut token = token_settings();
        token.reduced_scope = policy;
        let rig = Rig::with(issuer_settings("https://auth.example"), token);
        rig.script.then_token(granted);
        let logged = log.text().len();
        let outcome = rig.client.token(&scopes(asked)).await;
        let outcome = outcome.map(|issued| issued.scopes.to_string());
        let outcome = outcome.map_err(|error| error.kind);
        assert_eq!(outcome, expected.map(str::to_owned), "{asked} {granted}");
        let text = log.text().split_off(logged);
        assert!(text.contains(event), "{event} in {text}");
        assert!(
            !event.is_empty() || !text.contains("event_type=\"scope"),
            "{text}"
        );
    }
}

#[tokio::test(start_paused = true)]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn lifetimes_fall_back_and_are_clamped() {
    let rig = Rig::new();
    let jwt = |exp: u64| {
        let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{exp}}}"#));
        let body = format!(
            r#"{{"access_token":"eyJhbGciOiJub25lIn0.{claims}.c2ln","token_type":"Bearer"}}"#
        );
        Ok(answer(200, &body))
    };
    let wall = rig.clock.now().wall.as_secs();
    let mut settings = issuer_settings("https://auth.example");
    settings.requests_per_minute = 100;
    let rig = Rig::with(settings, token_settings());
    for (next, seconds) in [
        (Ok(answer(200, &token_body(""))), 3600),
        (jwt(wall + 700), 700),
        (jwt(wall - 700), 0),
        (Ok(answer(200, &token_body(r#","expires_in":1200"#))), 1200),
        (Ok(answer(200, &token_body(""))), 1200),
        (Ok(answer(200, &token_body(r#","expires_in":0"#))), 0),
        (Ok(answer(200, &token_body(r#","expires_in":-1"#))), 0),
        (Ok(answer(200, &token_body(""))), 1200),
        (
            Ok(answer(
                200,
                &token_body(r#","expires_in":18446744073709551615"#),
            )),
            86_400,
        ),
        (
            Ok(answer(
                200,
                &token_body(&format!(r#","expires_on":{}"#, wall + 500)),
            )),
            500,
        ),
        (
            Ok(answer(
                200,
                &token_body(&format!(r#","expires_on":{}"#, wall - 500)),
            )),
            0,
        ),
        (
            Ok(answer(
                200,
                &token_body(r#","expires_at":18446744073709551615"#),
            )),
            86_400,
        ),
    ] {
        let shown = format!("{next:?}");
        rig.script.then(next);
        let issued = rig.client.token(&scopes("read")).await.unwrap();
        // The script takes a millisecond for each answer.
        let lifetime = issued.lifetime.as_secs_f64().ceil();
        assert!(
            (lifetime - f64::from(seconds)).abs() < 0.5,
            "{shown}: {lifetime}"
        );
        assert_eq!(issued.expires, issued.sent.after(issued.lifetime));
        assert_eq!(issued.expires.passed(issued.sent), seconds == 0);
    }
}

#[tokio::test(start_paused = true)]
async fn refresh_hints_stay_within_the_lifetime() {
    let rig = Rig::new();
    rig.script
        .then_token(r#","expires_in":100,"refresh_in":50"#)
        .then_token(r#","expires_in":100,"refresh_in":5000"#);
    for seconds in [50, 100] {
        let issued = rig.client.token(&scopes("read")).await.unwrap();
        assert_eq!(issued.refresh_in, Some(Duration::from_secs(seconds)));
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_must_have_the_configured_format() {
    use TokenFormat::{Auto, Jwe, Jwt, Opaque};
    for (format, min_length, token, accepted) in [
        (Auto, None, "ya29.x", true),
        (Opaque, None, "a.b.c", true),
        (Jwt, None, "ya29.x", false),
        (Jwt, None, "a.b.c", true),
        (Jwt, None, "a.b.c.d.e", false),
        (Jwe, None, "a.b.c.d.e", true),
        (Jwe, None, "a.b.c", false),
        (Auto, Some(20), "nineteen-characters", false),
        (Auto, Some(19), "nineteen-characters", true),
    ] {
        let mut settings = token_settings();
        (settings.format, settings.min_length) = (format, min_length);
        let rig = Rig::with(issuer_settings("https://auth.example"), settings);
        let body = format!(r#"{{"access_token":"{token}","token_type":"bearer"}}"#);
        rig.script.then(Ok(answer(200, &body)));
        match rig.client.token(&scopes("read")).await {
            Ok(_) => assert!(accepted, "{format:?} {token}"),
            Err(error) => {
                assert_eq!((error.kind, accepted), (ErrorKind::UnusableToken, false));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_differing_clock_is_reported_once() {
    let (log, _guard) = Captured::start();
    let rig = Rig::new();
    for date in [
        "Thu, 01 Jan 2026 00:02:00 GMT",
        "Thu, 01 Jan 2026 00:02:00 GMT",
        "Wed, 31 Dec 2025 23:59:30 GMT",
    ] {
        let dated = dated(date, &token_body(""));
        rig.script.then(Ok(dated));
    }
    rig.client.token(&scopes("read")).await.unwrap();
    assert_eq!(rig.issuer.status().clock_skew, Some(119));
    rig.client.token(&scopes("read")).await.unwrap();
    assert_eq!(log.text().matches("issuer_clock_skew").count(), 1);
    rig.client.token(&scopes("read")).await.unwrap();
    assert_eq!(rig.issuer.status().clock_skew, Some(-30));
}

#[tokio::test(start_paused = true)]
async fn no_secret_gets_into_logs_or_errors() {
    let (log, _guard) = Captured::start();
    let mut shown = String::new();
    let mut settings = issuer_settings("https://auth.example");
    settings.requests_per_minute = 1000;
    let rig = Rig::with(settings, token_settings());
    let bodies = [
        format!(r#"{{"error":"{TOKEN}","error_description":"{SECRET}"}}"#),
        format!(r#"{{"error":"x","error_description":"{}"}}"#, quoted()),
        format!(r#"{{"error_description":"{SECRET}","access_token":"{TOKEN}"}}"#),
        format!(r#"{{"access_token":"{TOKEN}","token_type":"{TOKEN}"}}"#),
        format!(r#"{{"access_token":"{TOKEN}","token_type":"Bearer","expires_in":"{TOKEN}"}}"#),
        format!(r#"{{"access_token":"{TOKEN} {SECRET}","token_type":"Bearer"}}"#),
        format!(r#"{{"access_token":"{TOKEN}","access_token":"{TOKEN}"}}"#),
        format!(r#"{{"access_token":"{TOKEN}"#),
        format!("<html>{SECRET}</html>"),
        format!("error={SECRET}&access_token={TOKEN}"),
        token_body(r#","scope":"admin""#),
        token_body(&format!(r#","scope":"read {TOKEN}""#)),
        token_body(""),
    ];
    for body in &bodies {
        for status in [200, 302, 400, 401, 403, 429, 503] {
            for _ in 0..3 {
                rig.script.then(Ok(answer(status, body)));
            }
            match rig.client.token(&scopes("read")).await {
                Ok(issued) => write!(shown, "{issued:?}").unwrap(),
                Err(error) => {
                    write!(shown, "{error} {error:?} {}", error.kind.remedy()).unwrap();
                }
            }
            while !rig.script.requests().is_multiple_of(3) {
                drop(rig.client.token(&scopes("read")).await);
            }
        }
    }
    write!(
        shown,
        "{:?} {:?} {:?}",
        rig.client,
        rig.issuer.status(),
        rig.issuer
    )
    .unwrap();
    for text in [shown, log.text()] {
        assert!(text.len() > 1000);
        assert!(!text.contains("SENTINEL"), "{text}");
    }
}

/// A text that quotes the secret as a request has it.
fn quoted() -> String {
    use claviger_oauth_wire::{BasicEncoding, basic};
    let header = basic::authorization(b"cl:ient", SECRET.as_bytes(), BasicEncoding::Rfc6749);
    let header = String::from_utf8(header.to_vec()).unwrap();
    format!("client_secret={SECRET}&x=1 of {header}")
}

#[tokio::test(start_paused = true)]
async fn what_the_issuer_says_is_for_operators() {
    let rig = Rig::new();
    let body = r#"{"error":"invalid_scope","error_description":"Invalid scopes: \"raed\""}"#;
    rig.script.then(Ok(answer(400, body)));
    let error = rig.client.token(&scopes("read")).await.unwrap_err();
    let said = r#"the issuer says "Invalid scopes: \"raed\"""#;
    assert_eq!(error.detail.fact, None);
    assert!(error.to_string().contains(said), "{error}");
    let status = rig.issuer.status().last_error.unwrap();
    assert_eq!(status.detail, error.detail);
}

/// An answer with `Retry-After`.
fn dated(date: &str, body: &str) -> claviger_outbound::http::Answer {
    answer_with(200, &[(DATE, date)], body)
}

fn waiting(status: u16, retry_after: &str) -> claviger_outbound::http::Answer {
    answer_with(status, &[(RETRY_AFTER, retry_after)], "")
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_is_returned_instead_of_waited_for() {
    for (status, expected) in [
        (
            429,
            ErrorKind::RateLimited {
                retry_after: Some(Duration::from_secs(7)),
            },
        ),
        (
            503,
            ErrorKind::Unavailable {
                status: 503,
                retry_after: Some(Duration::from_secs(7)),
            },
        ),
    ] {
        let rig = Rig::new();
        rig.script.then(Ok(waiting(status, "7"))).then_token("");
        let start = rig.clock.now();
        assert_eq!(rig.kind().await, expected);
        assert!(rig.clock.now().since(start) < Duration::from_secs(1));
        assert_eq!(rig.script.requests(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_applies_to_the_whole_client() {
    for status in [429, 503] {
        let rig = Rig::new();
        let another_token = client_of(&rig.issuer, token_settings());
        let mut settings = client_settings();
        settings.name = "shipping".into();
        let another_client = client_of(&rig.issuer, token_settings_of(settings));
        rig.script.then(Ok(waiting(status, "400")));
        rig.kind().await;
        tokio::time::advance(Duration::from_secs(370)).await;
        let error = another_token.token(&scopes("read")).await.unwrap_err();
        let ErrorKind::RateLimited {
            retry_after: Some(left),
        } = error.kind
        else {
            panic!("{error:?}");
        };
        assert!((29..=30).contains(&left.as_secs()), "{left:?}");
        assert_eq!(rig.script.requests(), 1, "no request meanwhile");
        rig.script.then_token("").then_token("");
        another_client.token(&scopes("read")).await.unwrap();
        rig.clock.step_wall(3600);
        assert!(another_token.token(&scopes("read")).await.is_err());
        tokio::time::advance(Duration::from_secs(30)).await;
        another_token.token(&scopes("read")).await.unwrap();
        assert_eq!(rig.script.requests(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn times_of_an_issuer_are_read_by_its_own_clock() {
    // The issuer's clock is ten minutes ahead of this node's, so this node's is probably behind.
    let date = "Thu, 01 Jan 2026 00:10:00 GMT";
    let rig = Rig::new();
    let wall = rig.clock.now().wall.as_secs();
    for (fields, seconds) in [
        (format!(r#","expires_on":{}"#, wall + 900), 300),
        (format!(r#","expires_on":{}"#, wall + 500), 0),
        (r#","expires_in":900"#.to_owned(), 900),
    ] {
        let dated = dated(date, &token_body(&fields));
        rig.script.then(Ok(dated));
        let issued = rig.client.token(&scopes("read")).await.unwrap();
        assert_eq!(issued.lifetime.as_secs(), seconds, "{fields}");
    }
    // One that is behind makes no token live longer than this node's clock says.
    let dated = dated(
        "Wed, 31 Dec 2025 12:00:00 GMT",
        &token_body(&format!(r#","expires_on":{}"#, wall + 900)),
    );
    rig.script.then(Ok(dated));
    let issued = rig.client.token(&scopes("read")).await.unwrap();
    assert!((899..=900).contains(&issued.lifetime.as_secs()));

    let later = answer_with(
        429,
        &[(RETRY_AFTER, "Thu, 01 Jan 2026 00:10:20 GMT"), (DATE, date)],
        "",
    );
    rig.script.then(Ok(later));
    let retry_after = Some(Duration::from_secs(20));
    assert_eq!(rig.kind().await, ErrorKind::RateLimited { retry_after });
}

#[tokio::test(start_paused = true)]
async fn early_renewals_leave_half_of_the_limit_to_callers() {
    let rig = Rig::new();
    let wish = scopes("read");
    for _ in 0..30 {
        rig.script.then_token("");
    }
    let start = rig.clock.now();
    let ask = Ask::client(wish.clone());
    while rig.clock.now().since(start) < Duration::from_mins(5) {
        while rig.client.obtain(&ask, Urgency::Early).await.is_ok() {}
        tokio::time::sleep(Duration::from_millis(100)).await;
        if rig.script.requests() == 10 {
            break;
        }
    }
    let now = rig.clock.now().since(start).as_secs();
    assert!(
        (24..=30).contains(&now),
        "five at once and one in six seconds: {now} s"
    );
    for _ in 0..5 {
        rig.client.token(&wish).await.unwrap();
    }
    let kind = rig.kind().await;
    assert!(matches!(kind, ErrorKind::RateLimited { .. }), "{kind:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_sent_spends_nothing() {
    let rig = Rig::new();
    let retry_at = rig.clock.now().after(Duration::from_secs(9));
    let without = TokenClient::new(
        Arc::clone(&rig.issuer),
        token_settings(),
        Credential::new(&client_settings(), |reference| {
            Live::missing(reference.clone(), retry_at)
        }),
    );
    let wish = scopes("read");
    for _ in 0..20 {
        let kind = without.token(&wish).await.unwrap_err().kind;
        assert!(matches!(kind, ErrorKind::NoCredential { .. }), "{kind:?}");
    }
    for _ in 0..10 {
        rig.script.then_token("");
        rig.client.token(&wish).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_that_was_reported_once_applies_after_a_reload() {
    let rig = Rig::new();
    let wish = scopes("read");
    rig.script
        .then_token(r#","expires_in":300"#)
        .then_token("")
        .then_token("");
    rig.client.token(&wish).await.unwrap();
    let next = client_of(&rig.issuer, token_settings());
    let lifetime = next.token(&wish).await.unwrap().lifetime;
    assert_eq!(lifetime, Duration::from_mins(5));
    let mut settings = token_settings();
    settings.name = "another".into();
    let another = client_of(&rig.issuer, settings);
    let lifetime = another.token(&wish).await.unwrap().lifetime;
    assert_eq!(lifetime, Duration::from_hours(1));
}
