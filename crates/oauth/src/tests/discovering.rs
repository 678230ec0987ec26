//! Discovery: where metadata is requested, what is accepted, and how long it is kept.

use std::time::Duration;

use futures_util::future::join_all;

use super::support::*;
use crate::*;
use claviger_outbound::http::Error as Lost;
use claviger_outbound::http::header::RETRY_AFTER;
use claviger_runtime::clock::{Clock as _, Moment};

const ISSUER: &str = "https://auth.example";
const FIRST: &str = "https://auth.example/.well-known/oauth-authorization-server";
const SECOND: &str = "https://auth.example/.well-known/openid-configuration";

fn document(issuer: &str, token: &str) -> String {
    format!(r#"{{"issuer":"{issuer}","token_endpoint":"{token}"}}"#)
}

fn good() -> String {
    document(ISSUER, "https://tokens.example/token")
}

/// When the metadata in use was read.
fn read(rig: &Rig) -> Option<Moment> {
    rig.issuer.status().metadata?.read
}

async fn obtain(rig: &Rig) -> Result<(), ErrorKind> {
    rig.script.then_token("");
    let outcome = rig.client.token(&scopes("read")).await;
    outcome.map(|_| ()).map_err(|error| error.kind)
}

#[tokio::test(start_paused = true)]
async fn both_places_are_tried_in_order() {
    let rig = Rig::discovering(ISSUER);
    rig.script.document(FIRST, 200, &good());
    assert_eq!(obtain(&rig).await, Ok(()));
    let urls = |rig: &Rig| -> Vec<String> {
        let asked = rig.script.asked.lock().unwrap();
        asked.iter().map(|one| one.url.clone()).collect()
    };
    assert_eq!(urls(&rig), [FIRST, "https://tokens.example/token"]);
    assert!(read(&rig).is_some());

    for (status, body) in [
        (404, ""),
        (400, "{}"),
        (401, ""),
        (200, "<html>"),
        (200, "{}"),
    ] {
        let rig = Rig::discovering(ISSUER);
        rig.script
            .document(FIRST, status, body)
            .document(SECOND, 200, &good());
        assert_eq!(obtain(&rig).await, Ok(()), "{status} {body}");
        assert_eq!(urls(&rig), [FIRST, SECOND, "https://tokens.example/token"]);
    }

    let rig = Rig::discovering(ISSUER);
    rig.script
        .document(FIRST, 404, "")
        .document(SECOND, 404, "");
    assert_eq!(obtain(&rig).await, Err(ErrorKind::Metadata));
    rig.script.document(FIRST, 500, "");
    tokio::time::advance(Duration::from_secs(1)).await;
    let kind = obtain(&rig).await.unwrap_err();
    assert!(
        matches!(kind, ErrorKind::Unavailable { status: 500, .. }),
        "it is transient"
    );
}

#[tokio::test(start_paused = true)]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn only_the_configured_issuer_and_safe_endpoints_are_accepted() {
    use ErrorKind::{AddressRefused, InsecureEndpoint, IssuerMismatch, Metadata};
    for (issuer, stated, token, expected) in [
        (ISSUER, ISSUER, "https://auth.example/token", Ok(())),
        (
            ISSUER,
            "https://auth.example/",
            "https://auth.example/token",
            Ok(()),
        ),
        (ISSUER, ISSUER, "https://8.8.8.8/token", Ok(())),
        (
            ISSUER,
            "https://evil.example",
            "https://auth.example/token",
            Err(IssuerMismatch),
        ),
        (
            ISSUER,
            "https://auth.example/x",
            "https://auth.example/token",
            Err(IssuerMismatch),
        ),
        (
            ISSUER,
            ISSUER,
            "http://auth.example/token",
            Err(InsecureEndpoint),
        ),
        (
            ISSUER,
            ISSUER,
            "http://127.0.0.1/token",
            Err(InsecureEndpoint),
        ),
        (
            ISSUER,
            ISSUER,
            "https://127.0.0.1/token",
            Err(AddressRefused),
        ),
        (
            ISSUER,
            ISSUER,
            "https://[::ffff:10.0.0.1]/token",
            Err(AddressRefused),
        ),
        (
            ISSUER,
            ISSUER,
            "https://169.254.169.254/token",
            Err(AddressRefused),
        ),
        (
            ISSUER,
            ISSUER,
            "https://u:p@auth.example/token",
            Err(Metadata),
        ),
        (
            ISSUER,
            ISSUER,
            "https://auth.example/token#x",
            Err(Metadata),
        ),
        (ISSUER, ISSUER, "file:///token", Err(Metadata)),
        (ISSUER, ISSUER, "/token", Err(Metadata)),
        (
            "https://10.0.0.1",
            "https://10.0.0.1",
            "https://10.0.0.1/token",
            Ok(()),
        ),
        (
            "https://10.0.0.1",
            "https://10.0.0.1",
            "https://10.0.0.2/token",
            Err(AddressRefused),
        ),
    ] {
        let rig = Rig::discovering(issuer);
        let first = format!("{issuer}/.well-known/oauth-authorization-server");
        rig.script.document(&first, 200, &document(stated, token));
        assert_eq!(obtain(&rig).await, expected, "{stated} {token}");
        let requests = if expected.is_ok() { 2 } else { 1 };
        assert_eq!(rig.script.requests(), requests, "{stated} {token}");
    }
    let rig = Rig::discovering(ISSUER);
    rig.script
        .document(FIRST, 200, &format!(r#"{{"issuer":"{ISSUER}"}}"#));
    assert_eq!(obtain(&rig).await, Err(ErrorKind::NoTokenEndpoint));
}

#[tokio::test(start_paused = true)]
async fn clear_text_needs_development_and_loopback_on_both_ends() {
    for (issuer, development, endpoint, accepted) in [
        (
            "http://127.0.0.1:80",
            true,
            "http://127.0.0.1:99/token",
            true,
        ),
        ("http://[::1]", true, "http://[::1]:99/token", true),
        ("http://[::1]", true, "http://127.0.0.1/token", false),
        ("http://127.0.0.1", true, "https://auth.example/token", true),
        ("http://127.0.0.1", true, "http://10.0.0.1/token", false),
        ("http://127.0.0.1", true, "http://localhost/token", false),
        ("http://127.0.0.1", false, "http://127.0.0.1/token", false),
        ("http://localhost", true, "http://127.0.0.1/token", false),
        (
            "http://auth.example",
            true,
            "https://auth.example/token",
            false,
        ),
        (
            "https://auth.example",
            true,
            "http://127.0.0.1/token",
            false,
        ),
        ("https://127.0.0.1", true, "http://127.0.0.1/token", false),
        (
            "https://auth.example?x=1",
            true,
            "https://auth.example/token",
            false,
        ),
        (
            "https://auth.example#x",
            true,
            "https://auth.example/token",
            false,
        ),
        ("auth.example", true, "https://auth.example/token", false),
        ("ftp://127.0.0.1", true, "ftp://127.0.0.1/token", false),
    ] {
        let mut settings = issuer_settings(issuer);
        settings.outbound.allow_loopback_http = development;
        let rules = rules(&settings);
        let outcome = rules.and_then(|rules| {
            rules.configured(endpoint)?;
            rules.discovered(endpoint)
        });
        assert_eq!(outcome.is_ok(), accepted, "{issuer} {endpoint} {outcome:?}");
    }
    let text = EndpointFlaw::Insecure.to_string();
    assert_eq!(text, "HTTP OAuth endpoints not allowed in production");
}

#[test]
fn an_endpoint_is_in_its_normal_form() {
    // As browsers repair it, each is https://tokens.example/token or a literal address.
    let rules = rules(&issuer_settings(ISSUER)).unwrap();
    for endpoint in [
        r"https:\\tokens.example\token",
        "https://tokens.example/to\tken",
        " https://tokens.example/token",
        "https:tokens.example/token",
        "https:///tokens.example/token",
        "https://tokens.example:0443/token",
        "https://TOKENS。example/token",
        "https://0x08080808/token",
        "https://tokens.example/a/../token",
        "https://tokens.example/tök",
    ] {
        let refused = rules.discovered(endpoint);
        assert_eq!(refused, Err(EndpointFlaw::NotNormal), "{endpoint}");
    }
    // Servers behind a proxy write these, and no reader takes them for another server.
    for endpoint in [
        "https://tokens.example:443/token",
        "https://TOKENS.example/token",
        "HTTPS://tokens.example:443/a?b=:443",
    ] {
        assert!(rules.discovered(endpoint).is_ok(), "{endpoint}");
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_callers_share_one_request() {
    let mut settings = issuer_settings(ISSUER);
    settings.endpoints = Endpoints::default();
    settings.requests_per_minute = 1000;
    let rig = Rig::with(settings, token_settings());
    rig.script.document(FIRST, 200, &good());
    for _ in 0..100 {
        rig.script.then_token("");
    }
    let wish = scopes("read");
    let all = join_all((0..50).map(|_| rig.client.token(&wish))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(rig.script.asked_of("well-known"), 1);
    // The first caller stops waiting; the others still get the answer.
    let rig = Rig::discovering(ISSUER);
    rig.script.document(FIRST, 200, &good());
    rig.script.then_token("");
    let hasty = tokio::time::timeout(Duration::from_micros(1), rig.client.token(&wish));
    assert!(hasty.await.is_err());
    rig.client.token(&wish).await.unwrap();
    assert_eq!(rig.script.asked_of("well-known"), 1);
}

#[tokio::test(start_paused = true)]
async fn metadata_is_renewed_by_use_and_changes_are_reported() {
    let (log, _guard) = Captured::start();
    let rig = Rig::discovering(ISSUER);
    rig.script.document(FIRST, 200, &good());
    assert_eq!(obtain(&rig).await, Ok(()));
    tokio::time::advance(Duration::from_hours(11)).await;
    assert_eq!(obtain(&rig).await, Ok(()));
    assert_eq!(rig.script.asked_of("well-known"), 1);

    let moved = document(ISSUER, "https://tokens.example/v2/token");
    rig.script.document(FIRST, 200, &moved);
    rig.clock.suspend(Duration::from_hours(2));
    assert_eq!(obtain(&rig).await, Ok(()));
    assert_eq!(
        rig.script.asked_of("/v2/token"),
        0,
        "no caller waits for the renewal"
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(obtain(&rig).await, Ok(()));
    assert_eq!(rig.script.asked_of("well-known"), 2);
    assert_eq!(rig.script.asked_of("/v2/token"), 1);
    assert_eq!(log.text().matches("issuer_metadata_changed").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn old_metadata_is_used_while_the_issuer_does_not_answer() {
    let rig = Rig::discovering(ISSUER);
    rig.script.document(FIRST, 200, &good());
    assert_eq!(obtain(&rig).await, Ok(()));
    rig.script
        .document(FIRST, 500, "")
        .document(SECOND, 500, "");
    rig.clock.step_wall(30 * 3600);
    assert_eq!(obtain(&rig).await, Ok(()));
    let asked = rig.script.asked_of("well-known");
    assert_eq!(asked, 1 + 6, "two places, two retries each");
    assert_eq!(obtain(&rig).await, Ok(()));
    assert_eq!(
        rig.script.asked_of("well-known"),
        asked,
        "it rests for a minute"
    );
    tokio::time::advance(Duration::from_mins(2)).await;
    rig.script.document(FIRST, 200, &good());
    assert!(rig.issuer.metadata().unwrap().stale);
    let before = read(&rig).unwrap();
    assert_eq!(obtain(&rig).await, Ok(()));
    assert!(read(&rig).unwrap() > before && !rig.issuer.metadata().unwrap().stale);
    assert!(rig.clock.now() > before);
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_host_is_not_retried_at_the_other_place() {
    for (lost, requests) in [
        (Lost::UnknownIssuer, 1),
        (Lost::PinMismatch, 1),
        (Lost::AddressRefused(PRIVATE), 1),
        (Lost::Unreachable, 3),
    ] {
        let rig = Rig::discovering(ISSUER);
        for _ in 0..3 {
            rig.script.then(Err(lost));
        }
        let kind = rig.client.token(&scopes("read")).await.unwrap_err().kind;
        assert_eq!(kind, outcome::lost(lost));
        assert_eq!(rig.script.requests(), requests, "{lost:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unadvertised_method_is_used_and_reported_once() {
    let (log, _guard) = Captured::start();
    let rig = Rig::discovering(ISSUER);
    let document = format!(
        r#"{{"issuer":"{ISSUER}","token_endpoint":"https://auth.example/token",
            "token_endpoint_auth_methods_supported":["private_key_jwt"]}}"#
    );
    rig.script.document(FIRST, 200, &document);
    for _ in 0..3 {
        assert_eq!(obtain(&rig).await, Ok(()));
    }
    assert_eq!(log.text().matches("does not advertise").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn tokens_share_the_backoff_of_failed_metadata_requests() {
    for (status, most) in [(503, 7 * 6), (404, 7 * 2)] {
        let rig = Rig::discovering(ISSUER);
        rig.script
            .document(FIRST, status, "")
            .document(SECOND, status, "");
        let start = rig.clock.now();
        // Many tokens, each with its own schedule.
        while rig.clock.now().since(start) < Duration::from_mins(1) {
            rig.kind().await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let asked = rig.script.asked_of("well-known");
        assert!(asked <= most, "{status}: {asked} requests in a minute");
        // As soon as the backoff is over, it is requested again.
        rig.script.document(FIRST, 200, &good());
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(obtain(&rig).await, Ok(()));
    }
}

/// A document with all accepted fields, and some others.
fn complete(token: &str, revocation: Option<&str>, methods: &[&str]) -> String {
    let mut document = serde_json::json!({
        "issuer": ISSUER,
        "token_endpoint": format!("https://tokens.example{token}"),
        "token_endpoint_auth_methods_supported": methods,
        "grant_types_supported": ["SENTINEL"],
        "jwks_uri": "https://tokens.example/SENTINEL",
        "SENTINEL": { "SENTINEL": ["SENTINEL"] },
    });
    if let Some(revocation) = revocation {
        document["revocation_endpoint"] = format!("https://tokens.example{revocation}").into();
    }
    document.to_string()
}

fn holding(on_metadata_change: MetadataChange) -> Rig {
    let mut settings = issuer_settings(ISSUER);
    settings.endpoints = Endpoints::default();
    settings.on_metadata_change = on_metadata_change;
    settings.requests_per_minute = 1000;
    Rig::with(settings, token_settings())
}

const BASIC: &[&str] = &["client_secret_basic"];

#[tokio::test(start_paused = true)]
async fn a_relevant_change_waits_for_an_operator_if_configured() {
    let both = &["client_secret_post", "client_secret_basic"];
    let before = complete("/token", Some("/revoke"), both);
    for (after, fields, matters) in [
        (
            complete("/v2", Some("/revoke"), both),
            vec!["token_endpoint"],
            true,
        ),
        (
            complete("/token", Some("/v2"), both),
            vec!["revocation_endpoint"],
            true,
        ),
        (
            complete("/token", None, both),
            vec!["revocation_endpoint"],
            true,
        ),
        (
            complete("/token", Some("/revoke"), BASIC),
            vec!["token_endpoint_auth_methods_supported"],
            true,
        ),
        (
            complete("/token", Some("/revoke"), &["none", both[0], both[1]]),
            vec!["token_endpoint_auth_methods_supported"],
            false,
        ),
        // Another order, and unknown values, are no change.
        (
            complete("/token", Some("/revoke"), &["x", both[1], both[0]]),
            vec![],
            false,
        ),
    ] {
        for wanted in [MetadataChange::Adopt, MetadataChange::Hold] {
            let (log, _guard) = Captured::start();
            let rig = holding(wanted);
            rig.script.document(FIRST, 200, &before);
            assert_eq!(obtain(&rig).await, Ok(()));
            let used = rig.issuer.metadata().unwrap().used;
            rig.script.document(FIRST, 200, &after);
            rig.clock.suspend(Duration::from_hours(25));
            assert_eq!(obtain(&rig).await, Ok(()));
            let metadata = rig.issuer.metadata().unwrap();
            let holds = wanted == MetadataChange::Hold && matters;
            assert_eq!(metadata.waiting.is_some(), holds, "{after}");
            assert_eq!(metadata.used == used, holds || fields.is_empty(), "{after}");
            let waiting = if holds { fields.clone() } else { vec![] };
            assert_eq!(metadata.differences(), waiting);
            let events = usize::from(!fields.is_empty());
            assert_eq!(
                log.text().matches("issuer_metadata_changed").count(),
                events
            );
            let said = format!("waits_for_operator={holds}");
            assert_eq!(log.text().matches(&said).count(), events, "{after}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn metadata_is_not_requested_sooner_than_the_issuer_says() {
    let rig = Rig::discovering(ISSUER);
    let limited = answer_with(429, &[(RETRY_AFTER, "30")], "");
    rig.script.then(Ok(limited));
    assert!(matches!(rig.kind().await, ErrorKind::RateLimited { .. }));
    rig.script.document(FIRST, 200, &good());
    tokio::time::advance(Duration::from_secs(29)).await;
    assert!(matches!(rig.kind().await, ErrorKind::RateLimited { .. }));
    assert_eq!(rig.script.requests(), 1);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(obtain(&rig).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_well_known_path_without_an_answer_does_not_prevent_tokens() {
    let rig = Rig::discovering(ISSUER);
    let token = "https://tokens.example/token";
    rig.script
        .document(FIRST, 200, &good())
        .document(token, 200, &token_body(""));
    rig.client.token(&scopes("read")).await.unwrap();
    rig.script.silence(FIRST);
    rig.clock.step_wall(30 * 3600);
    rig.client.token(&scopes("read")).await.unwrap();
    assert_eq!(rig.script.asked_of("well-known"), 2);
    assert_eq!(rig.script.asked_of(token), 2);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_change_is_reported_once_and_accepted_or_withdrawn() {
    let (log, _guard) = Captured::start();
    let rig = holding(MetadataChange::Hold);
    let (before, after) = (
        complete("/token", None, BASIC),
        complete("/v2/token", None, BASIC),
    );
    rig.script.document(FIRST, 200, &before);
    assert_eq!(obtain(&rig).await, Ok(()));
    let first = read(&rig);
    rig.script.document(FIRST, 200, &after);
    for round in 1..=4 {
        rig.clock.suspend(Duration::from_hours(13));
        assert_eq!(obtain(&rig).await, Ok(()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let asked = rig.script.asked_of("well-known");
        assert_eq!(asked, 1 + round, "requested again on schedule");
        let metadata = rig.issuer.metadata().unwrap();
        assert_eq!(
            (metadata.differences(), metadata.stale),
            (vec!["token_endpoint"], false)
        );
        assert_eq!(metadata.read, first, "what is used was read at the start");
    }
    assert_eq!(rig.script.asked_of("/v2/token"), 0);
    assert_eq!(log.text().matches("issuer_metadata_changed").count(), 1);
    // An issuer that cannot be reached now changes nothing of this.
    rig.script
        .document(FIRST, 500, "")
        .document(SECOND, 500, "");
    assert!(rig.issuer.refresh().await.is_err());
    assert!(rig.issuer.metadata().unwrap().waiting.is_some());
    // The issuer withdraws the change.
    rig.script.document(FIRST, 200, &before);
    rig.clock.suspend(Duration::from_hours(25));
    assert_eq!(obtain(&rig).await, Ok(()));
    assert_eq!(rig.issuer.metadata().unwrap().waiting, None);
    // The operator accepts the change, and it is used at once.
    rig.script.document(FIRST, 200, &after);
    let asked = rig.script.asked_of("well-known");
    assert!(rig.issuer.refresh().await.unwrap());
    assert_eq!(
        rig.script.asked_of("well-known"),
        asked + 1,
        "whatever is remembered"
    );
    assert_eq!(rig.issuer.metadata().unwrap().waiting, None);
    assert_eq!(obtain(&rig).await, Ok(()));
    assert_eq!(rig.script.asked_of("/v2/token"), 1);
    assert!(!rig.issuer.refresh().await.unwrap(), "nothing has changed");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_metadata_but_what_was_checked() {
    let rig = Rig::discovering(ISSUER);
    assert_eq!(rig.issuer.metadata(), None, "and nothing is requested");
    assert_eq!(rig.script.requests(), 0);
    let methods = ["SENTINEL", "client_secret_basic", "client_secret_SENTINEL"];
    let document = complete("/token", Some("/revoke"), &methods);
    rig.script.document(FIRST, 200, &document);
    assert_eq!(obtain(&rig).await, Ok(()));
    let metadata = rig.issuer.metadata().unwrap();
    assert_eq!(metadata.used.auth_methods.as_deref(), Some(BASIC));
    assert_eq!(metadata.configured, [""; 0]);
    let status = format!("{:?}", rig.issuer.status());
    assert!(!status.contains("SENTINEL"), "{status}");

    // What the configuration gives is used instead of what the issuer says.
    let mut settings = issuer_settings(ISSUER);
    settings.endpoints.token = None;
    let rig = Rig::with(settings, token_settings());
    rig.script.document(FIRST, 200, &document);
    assert_eq!(obtain(&rig).await, Ok(()));
    let metadata = rig.issuer.metadata().unwrap();
    let revocation = metadata.used.revocation.unwrap();
    assert_eq!(revocation.as_str(), "https://auth.example/revoke");
    assert_eq!(metadata.configured, ["revocation_endpoint"]);
    let elsewhere = document.replace("/revoke", "/elsewhere");
    rig.script.document(FIRST, 200, &elsewhere);
    assert!(
        !rig.issuer.refresh().await.unwrap(),
        "the configuration takes precedence"
    );
}

#[tokio::test(start_paused = true)]
async fn listed_scopes_are_kept_and_a_change_of_them_is_no_event() {
    let (log, _guard) = Captured::start();
    let rig = Rig::discovering(ISSUER);
    let listing = |scopes: &str| {
        format!(
            r#"{{"issuer":"{ISSUER}","token_endpoint":"{ISSUER}/token","scopes_supported":{scopes}}}"#
        )
    };
    let listed = || rig.issuer.metadata().unwrap().used.scopes;
    rig.script
        .document(FIRST, 200, &listing(r#"["read","no scope"]"#));
    rig.issuer.discover().await.unwrap();
    assert_eq!(listed(), Some(vec!["read".to_owned()]));
    rig.script.document(FIRST, 200, &listing(r#"["write"]"#));
    rig.issuer.refresh().await.unwrap();
    assert_eq!(listed(), Some(vec!["write".to_owned()]));
    assert!(!log.text().contains("issuer_metadata_changed"));
}
