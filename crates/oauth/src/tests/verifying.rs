//! Resources that must name the issuer: what is accepted, for how long, and what happens otherwise.

use claviger_runtime::reason::Reasoned as _;
use std::time::Duration;

use futures_util::future::join_all;

use super::support::*;
use crate::*;
use claviger_outbound::http::Error as Lost;
use claviger_runtime::clock::Clock as _;

const ISSUER: &str = "https://auth.example";
const RESOURCE: &str = "https://api.example/invoices";
const PLACE: &str = "https://api.example/.well-known/oauth-protected-resource/invoices";

fn says(resource: &str, issuers: &str) -> String {
    format!(r#"{{"resource":"{resource}","authorization_servers":[{issuers}]}}"#)
}

fn good() -> String {
    says(RESOURCE, &format!(r#""https://other.example","{ISSUER}""#))
}

fn rig_for(resources: &[&str]) -> Rig {
    let mut settings = issuer_settings(ISSUER);
    settings.requests_per_minute = 1000;
    let token = TokenSettings {
        resources: resources.iter().map(|one| (*one).to_owned()).collect(),
        verify_resource: true,
        ..token_settings()
    };
    Rig::with(settings, token)
}

fn rig() -> Rig {
    rig_for(&[RESOURCE])
}

async fn obtain(rig: &Rig) -> Result<(), ErrorKind> {
    rig.script.then_token("");
    let outcome = rig.client.token(&scopes("read")).await;
    outcome.map(|_| ()).map_err(|error| error.kind)
}

#[tokio::test(start_paused = true)]
async fn a_resources_metadata_is_read_once_and_before_the_token_request() {
    let (log, _guard) = Captured::start();
    let rig = rig();
    rig.script.document(PLACE, 200, &good());
    for _ in 0..3 {
        assert_eq!(obtain(&rig).await, Ok(()));
    }
    let asked: Vec<String> = {
        let asked = rig.script.asked.lock().unwrap();
        asked.iter().map(|one| one.url.clone()).collect()
    };
    let token = "https://auth.example/token";
    assert_eq!(asked, [PLACE, token, token, token]);
    assert!(!log.text().contains("resource_mismatch"));

    // Without `verify_resource` no metadata is read.
    let rig = Rig::with(issuer_settings(ISSUER), token_settings());
    assert_eq!(obtain(&rig).await, Ok(()));
    assert_eq!(rig.script.asked_of("well-known"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_names_another_issuer_gets_no_token() {
    let issuer = format!("\"{ISSUER}\"");
    for (document, field) in [
        (
            says(RESOURCE, "\"https://evil.example\""),
            "authorization_servers",
        ),
        (says(RESOURCE, ""), "authorization_servers"),
        (
            format!(r#"{{"resource":"{RESOURCE}"}}"#),
            "authorization_servers",
        ),
        (says("https://api.example/invoices/", &issuer), "resource"),
        (says("https://api.example", &issuer), "resource"),
        (says("https://evil.example/invoices", &issuer), "resource"),
    ] {
        let (log, _guard) = Captured::start();
        let rig = rig();
        rig.script.document(PLACE, 200, &document);
        assert_eq!(
            obtain(&rig).await,
            Err(ErrorKind::ResourceMismatch),
            "{document}"
        );
        assert_eq!(rig.script.asked_of("/token"), 0, "{document}");
        assert_eq!(rig.script.asked_of("evil"), 0, "{document}");
        let text = log.text();
        assert!(text.contains("event_type=\"resource_mismatch\""), "{text}");
        assert!(text.contains(&format!("field=\"{field}\"")), "{text}");
        assert!(
            !text.contains("evil"),
            "no word of a resource is logged: {text}"
        );
        let status = rig.issuer.status();
        assert_eq!(status.last_error, None, "it is not the issuer's fault");
        // As soon as the metadata is corrected and read again, there is a token.
        rig.script.document(PLACE, 200, &good());
        assert_eq!(obtain(&rig).await, Err(ErrorKind::ResourceMismatch));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(obtain(&rig).await, Ok(()));
    }
    assert_eq!(ErrorKind::ResourceMismatch.verdict(), Verdict::Terminal);
    assert!(ErrorKind::ResourceMismatch.remedy().contains("RFC 9728"));
}

#[tokio::test(start_paused = true)]
async fn every_resource_must_name_the_issuer() {
    let rig = rig_for(&[RESOURCE, "https://two.example"]);
    let second = "https://two.example/.well-known/oauth-protected-resource";
    rig.script.document(PLACE, 200, &good()).document(
        second,
        200,
        &says("https://two.example", "\"https://evil.example\""),
    );
    assert_eq!(obtain(&rig).await, Err(ErrorKind::ResourceMismatch));
    // The issuer's identifier may differ by the slash of an empty path, as everywhere.
    let slash = says("https://two.example", "\"https://auth.example/\"");
    rig.script.document(second, 200, &slash);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(obtain(&rig).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn server_errors_are_transient_and_absence_is_not() {
    for (status, body, expected) in [
        (404, "", ErrorKind::ResourceMismatch),
        (401, "", ErrorKind::ResourceMismatch),
        (403, "{}", ErrorKind::ResourceMismatch),
        (302, "", ErrorKind::Redirect),
        (200, "<html>", ErrorKind::HtmlPage),
        (200, "{}", ErrorKind::InvalidResponse),
        (
            503,
            "",
            ErrorKind::Unavailable {
                status: 503,
                retry_after: None,
            },
        ),
    ] {
        let rig = rig();
        rig.script.document(PLACE, status, body);
        assert_eq!(obtain(&rig).await, Err(expected), "{status} {body}");
        assert_eq!(rig.script.asked_of("/token"), 0, "{status} {body}");
        let transient = expected.verdict() != Verdict::Terminal;
        assert_eq!(
            transient,
            expected != ErrorKind::ResourceMismatch,
            "{expected:?}"
        );
    }
    for (lost, expected) in [
        (Lost::Unreachable, ErrorKind::Unreachable),
        (Lost::AddressRefused(PRIVATE), ErrorKind::AddressRefused),
        (Lost::UnknownIssuer, ErrorKind::Untrusted),
        (Lost::AnswerTimeout, ErrorKind::Timeout),
        (Lost::BodyTooLong, ErrorKind::InvalidResponse),
    ] {
        let rig = rig();
        for _ in 0..3 {
            rig.script.then(Err(lost));
        }
        assert_eq!(rig.kind().await, expected);
        assert_eq!(rig.issuer.status().last_error, None, "{lost:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_resource_takes_no_more_than_the_time_limit() {
    let rig = rig();
    let start = rig.clock.now();
    assert_eq!(rig.kind().await, ErrorKind::Timeout);
    assert_eq!(rig.clock.now().since(start), Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn metadata_is_good_for_a_day_and_longer_during_failures() {
    let rig = rig();
    rig.script.document(PLACE, 200, &good());
    assert_eq!(obtain(&rig).await, Ok(()));
    rig.script.document(PLACE, 500, "");
    rig.clock.step_wall(30 * 3600);
    assert_eq!(obtain(&rig).await, Ok(()), "the last good metadata is used");
    let asked = rig.script.asked_of("well-known");
    assert_eq!(asked, 1 + 3, "two retries");
    assert_eq!(obtain(&rig).await, Ok(()));
    assert_eq!(
        rig.script.asked_of("well-known"),
        asked,
        "one attempt a minute"
    );

    // A failed request keeps the metadata; changed metadata replaces it.
    tokio::time::advance(Duration::from_mins(2)).await;
    let evil = says(RESOURCE, "\"https://evil.example\"");
    rig.script.document(PLACE, 200, &evil);
    let tokens = rig.script.asked_of("/token");
    assert_eq!(obtain(&rig).await, Err(ErrorKind::ResourceMismatch));
    assert_eq!(obtain(&rig).await, Err(ErrorKind::ResourceMismatch));
    assert_eq!(rig.script.asked_of("/token"), tokens);
    // That stays so when the resource does not answer afterwards.
    rig.script.document(PLACE, 500, "");
    assert!(obtain(&rig).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn half_a_day_old_metadata_is_renewed_in_the_background() {
    let rig = rig();
    rig.script.document(PLACE, 200, &good());
    assert_eq!(obtain(&rig).await, Ok(()));
    tokio::time::advance(Duration::from_hours(13)).await;
    let evil = says(RESOURCE, "\"https://evil.example\"");
    rig.script.document(PLACE, 200, &evil);
    assert_eq!(
        obtain(&rig).await,
        Ok(()),
        "no caller waits for the renewal"
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.script.asked_of("well-known"), 2);
    assert_eq!(obtain(&rig).await, Err(ErrorKind::ResourceMismatch));
}

#[tokio::test(start_paused = true)]
async fn one_request_for_all_tokens_of_a_resource() {
    let rig = rig();
    rig.script.document(PLACE, 200, &good());
    for _ in 0..40 {
        rig.script.then_token("");
    }
    // Another definition, as after a reload, shares the metadata.
    let other = client_of(&rig.issuer, rig.client.settings().clone());
    let wish = scopes("read");
    let both = [&rig.client, &other];
    let all = join_all((0..40).map(|at| both[at % 2].token(&wish))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(rig.script.asked_of("well-known"), 1);
    drop(rig.client);
    other.token(&wish).await.unwrap_err();
    assert_eq!(rig.script.asked_of("well-known"), 1);
    drop(other);
    rig.issuer.verify_resource(RESOURCE).await.unwrap();
    assert_eq!(
        rig.script.asked_of("well-known"),
        2,
        "it was dropped with its last token"
    );
}

#[tokio::test(start_paused = true)]
async fn an_unsupported_token_is_reported_once() {
    let (log, _guard) = Captured::start();
    let rig = rig();
    let document = format!(
        r#"{{"resource":"{RESOURCE}","authorization_servers":["{ISSUER}"],
            "scopes_supported":["write"],"bearer_methods_supported":[]}}"#
    );
    rig.script.document(PLACE, 200, &document);
    for _ in 0..3 {
        assert_eq!(obtain(&rig).await, Ok(()));
    }
    let text = log.text();
    assert_eq!(
        text.matches("does not advertise every requested scope")
            .count(),
        1
    );
    assert_eq!(text.matches("takes no bearer tokens").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn resources_are_read_by_https_only() {
    for resource in [
        "http://api.example/invoices",
        "urn:example:api",
        "https://u:p@api.example/",
    ] {
        let rig = rig_for(&[resource]);
        assert_eq!(
            obtain(&rig).await,
            Err(ErrorKind::ResourceMismatch),
            "{resource}"
        );
        assert_eq!(rig.script.requests(), 0, "{resource}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_request_and_the_answer_are_as_the_definition_says() {
    let token = TokenSettings {
        scopes: claviger_oauth_wire::Scopes::none(),
        resources: vec!["https://graph.example".to_owned()],
        audience_style: AudienceStyle::ScopeDefault,
        token_pointer: Some("/authed_user/access_token".parse().unwrap()),
        ..token_settings()
    };
    let rig = Rig::with(issuer_settings(ISSUER), token);
    let body = r#"{"access_token":"another-token-than-this","authed_user":{"token_type":"Bearer",
        "access_token":"the-token-of-the-user","expires_in":60,"scope":"search"}}"#;
    rig.script.then(Ok(answer(200, body)));
    let issued = rig
        .client
        .token(&claviger_oauth_wire::Scopes::none())
        .await
        .unwrap();
    #[expect(clippy::disallowed_methods, reason = "the test compares it")]
    let token = issued.access_token.expose().to_vec();
    assert_eq!(token, b"the-token-of-the-user");
    assert_eq!(issued.lifetime, Duration::from_mins(1));
    assert_eq!(issued.scopes, scopes("search"));
    let form = rig.script.asked.lock().unwrap()[0].form.clone();
    assert_eq!(
        form,
        "grant_type=client_credentials&scope=https%3A%2F%2Fgraph.example%2F.default"
    );
    // This style cannot narrow a token, and the whole token is not returned instead.
    let narrowed = rig.client.token(&scopes("search")).await.unwrap_err();
    assert_eq!(narrowed.kind, ErrorKind::InvalidScope);
    assert_eq!(rig.script.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn metadata_is_shown_as_far_as_it_was_checked() {
    let rig = rig();
    let known = || rig.issuer.resource_metadata(RESOURCE);
    assert_eq!(known(), None);
    let document = format!(
        r#"{{"resource":"{RESOURCE}","authorization_servers":["{ISSUER}","https://SENTINEL.example"],
            "scopes_supported":["read","SENTINEL of two words",""],"resource_name":"SENTINEL"}}"#
    );
    rig.script.document(PLACE, 200, &document);
    assert_eq!(obtain(&rig).await, Ok(()));
    let metadata = known().unwrap();
    let scopes = metadata.vouched.scopes.as_deref();
    assert_eq!(scopes, Some(["read".to_owned()].as_slice()));
    assert!(!metadata.stale);
    assert!(!format!("{metadata:?}").contains("SENTINEL"));
    assert_eq!(rig.issuer.resource_metadata("https://api.example"), None);
    // A failed request leaves it in use and stale; a contradiction ends it.
    rig.script.document(PLACE, 500, "");
    rig.clock.suspend(Duration::from_hours(25));
    assert_eq!(obtain(&rig).await, Ok(()));
    let stale = known().unwrap();
    assert_eq!((stale.stale, stale.read), (true, metadata.read));
    rig.script.document(PLACE, 200, &says(RESOURCE, ""));
    tokio::time::advance(Duration::from_mins(2)).await;
    assert_eq!(obtain(&rig).await, Err(ErrorKind::ResourceMismatch));
    assert_eq!(known(), None);
    assert_eq!(
        rig.script.asked_of("well-known"),
        5,
        "three of them retries"
    );
}
