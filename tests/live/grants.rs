//! The client credentials grant in its variations.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claviger_proto::v1::Freshness;
use serde_json::{Value, json};

use crate::support::client::{lifetime, named};
use crate::support::user::own_uid;
use crate::world::Plan;

const SCOPES: &str = "scopes = [\"read\", \"write\"]";

#[tokio::test]
async fn each_way_of_client_authentication_carries_an_awkward_secret() {
    let Some(plan) = Plan::draw("each_way_of_client_authentication_carries_an_awkward_secret")
    else {
        return;
    };
    let cases = [
        ("basic", "cc-basic", "client_secret_basic"),
        ("odd", "cc:b&sic+2", "client_secret_basic"),
        ("post", "cc-post", "client_secret_post"),
    ];
    let plan = cases.iter().fold(plan, |plan, (client, ..)| {
        plan.token(client, client, SCOPES)
    });
    let mut world = plan.start().await;
    for (client, id, auth) in cases {
        let mark = world.provider.mark().await;
        let answer = world.caller.get(client).await.unwrap();
        assert_eq!(answer.token_type, "Bearer");
        assert_eq!(answer.scopes, ["read", "write"]);
        assert_eq!(answer.freshness(), Freshness::Refreshed);
        assert!(answer.access_token.len() >= 20 && !answer.fingerprint.is_empty());
        assert!((500..=600).contains(&lifetime(&answer)), "{answer:?}");
        let grants = world.provider.grants(mark).await;
        assert_eq!(grants.len(), 1, "{grants:?}");
        let grant = &grants[0];
        assert_eq!(
            (
                &grant["ev"],
                &grant["grant"],
                &grant["client"],
                &grant["auth"],
                &grant["scope"]
            ),
            (
                &json!("grant.success"),
                &json!("client_credentials"),
                &json!(id),
                &json!(auth),
                &json!("read write")
            ),
        );
    }
}

#[tokio::test]
async fn a_cached_token_is_served_without_asking_the_issuer() {
    let Some(plan) = Plan::draw("a_cached_token_is_served_without_asking_the_issuer") else {
        return;
    };
    let mut world = plan.token("api", "basic", SCOPES).start().await;
    let first = world.caller.get("api").await.unwrap();
    let mark = world.provider.mark().await;
    for _ in 0..100 {
        let again = world.caller.get("api").await.unwrap();
        assert_eq!(again.access_token, first.access_token);
        assert_eq!(
            (again.generation, again.freshness()),
            (first.generation, Freshness::Fresh)
        );
    }
    assert_eq!(world.provider.requests(mark).await, 0);
}

#[tokio::test]
async fn a_rule_narrows_the_requested_scopes() {
    let Some(plan) = Plan::draw("a_rule_narrows_the_requested_scopes") else {
        return;
    };
    let plan = plan
        .token("api", "basic", SCOPES)
        .allow(own_uid(), "tokens = [\"api\"]\nscopes = [\"read\"]");
    let mut world = plan.start().await;
    let mark = world.provider.mark().await;
    assert_eq!(world.caller.get("api").await.unwrap().scopes, ["read"]);
    assert_eq!(world.provider.grants(mark).await[0]["scope"], "read");

    let mark = world.provider.mark().await;
    let mut wish = named("api");
    wish.scopes = vec!["write".to_owned()];
    let refused = world.caller.ask(wish).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused:?}");
    assert_eq!(world.provider.requests(mark).await, 0);
}

#[tokio::test]
async fn a_request_for_fewer_scopes_gets_a_separate_token() {
    let Some(plan) = Plan::draw("a_request_for_fewer_scopes_gets_a_separate_token") else {
        return;
    };
    let mut world = plan.token("api", "basic", SCOPES).start().await;
    let wide = world.caller.get("api").await.unwrap();
    let mark = world.provider.mark().await;
    let mut wish = named("api");
    wish.scopes = vec!["read".to_owned()];
    let narrow = world.caller.ask(wish).await.unwrap();
    assert_eq!(narrow.scopes, ["read"]);
    assert_ne!(narrow.access_token, wide.access_token);
    assert_eq!(world.provider.grants(mark).await[0]["scope"], "read");
}

#[tokio::test]
async fn each_resource_has_its_own_token_and_audience() {
    let Some(plan) = Plan::draw("each_resource_has_its_own_token_and_audience") else {
        return;
    };
    let resource =
        |name: &str| format!("scopes = [\"read\"]\nresource = \"https://api.example.test/{name}\"");
    let plan = ["opaque", "jwt", "jwt-rs256"]
        .into_iter()
        .fold(plan, |plan, name| {
            plan.token(name, "basic", &resource(name))
        });
    let mut world = plan.start().await;
    let mut seen = BTreeSet::new();
    for name in ["opaque", "jwt", "jwt-rs256"] {
        let mark = world.provider.mark().await;
        let answer = world.caller.get(name).await.unwrap();
        let url = format!("https://api.example.test/{name}");
        assert_eq!(world.provider.grants(mark).await[0]["resource"], json!(url));
        if name == "opaque" {
            assert!(!answer.access_token.contains('.'));
        } else {
            assert_eq!(claims(&answer.access_token)["aud"], json!(url));
        }
        assert!(
            seen.insert(answer.access_token),
            "two resources share a token"
        );
    }
}

#[tokio::test]
async fn the_refusal_of_an_unknown_resource_names_it() {
    let Some(plan) = Plan::draw("the_refusal_of_an_unknown_resource_names_it") else {
        return;
    };
    let plan = plan.token(
        "api",
        "basic",
        "resource = \"https://api.example.test/unknown\"",
    );
    let mut world = plan.start().await;
    let refused = world.caller.get("api").await.unwrap_err();
    assert_eq!(
        crate::support::client::reason(&refused),
        "INVALID_TARGET",
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_daemon_that_receives_sigterm_exits_with_success() {
    let Some(plan) = Plan::draw("a_daemon_that_receives_sigterm_exits_with_success") else {
        return;
    };
    let mut world = plan.token("api", "basic", SCOPES).start().await;
    world.caller.get("api").await.unwrap();
    let socket = world.site.socket();
    assert!(world.daemon.terminate().success());
    assert!(
        std::os::unix::net::UnixStream::connect(socket).is_err(),
        "a process still listens on the socket"
    );
}

/// The claims of a JWT, unverified.
fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a JWT has three parts");
    let bytes = URL_SAFE_NO_PAD.decode(payload).expect("in base64url");
    serde_json::from_slice(&bytes).expect("in JSON")
}
