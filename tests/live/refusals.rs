//! Issuers and answers that the daemon must not trust.

use std::io::ErrorKind;
use std::net::TcpListener;

use serde_json::{Value, json};
use tonic::Code;

use crate::support::Daemon;
use crate::support::client::reason;
use crate::support::daemon::NotReady;
use crate::support::oidc::{METADATA, OidcProvider};
use crate::world::{Plan, World};

/// An attacker's listener, to which the daemon must not send a secret.
struct Thief(TcpListener);

impl Thief {
    fn lurk() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("settable");
        Self(listener)
    }

    fn address(&self) -> String {
        self.0.local_addr().expect("it is bound").to_string()
    }

    /// Fails if a connection arrived.
    fn assert_lonely(&self) {
        let visit = self.0.accept().map(|(_, from)| from);
        assert!(
            visit
                .as_ref()
                .is_err_and(|error| error.kind() == ErrorKind::WouldBlock),
            "a connection arrived: {visit:?}"
        );
    }
}

/// Answers every request for metadata with `metadata`.
async fn publish(provider: &OidcProvider, metadata: &Value) {
    let faults: Vec<_> = METADATA
        .iter()
        .map(|path| {
            json!({
                "path": path, "times": 1000, "status": 200,
                "headers": { "content-type": "application/json" }, "body": metadata.to_string(),
            })
        })
        .collect();
    provider.ctl(json!({ "faults": faults })).await;
}

#[tokio::test]
async fn a_rejected_secret_is_not_sent_again() {
    let Some(plan) = Plan::draw("a_rejected_secret_is_not_sent_again") else {
        return;
    };
    let mut world = plan.token("api", "wrong", "").start().await;
    let mark = world.provider.mark().await;
    let refused = world.caller.get("api").await.unwrap_err();
    assert_eq!(reason(&refused), "INVALID_CLIENT", "{refused:?}");
    assert_eq!(world.provider.token_requests(mark).await, 1);
    for _ in 0..1000 {
        let refused = world.caller.get("api").await.unwrap_err();
        // Refusals use up the caller's rate budget, so later refusals may state that reason.
        assert!(
            ["INVALID_CLIENT", "RATE_LIMITED"].contains(&reason(&refused).as_str()),
            "{refused:?}"
        );
    }
    let requests = world.provider.token_requests(mark).await;
    assert!(
        requests <= 3,
        "{requests} requests with a secret that the issuer rejected"
    );
}

#[tokio::test]
async fn plain_http_to_an_issuer_is_a_configuration_error() {
    let Some(plan) = Plan::draw_plain("plain_http_to_an_issuer_is_a_configuration_error") else {
        return;
    };
    let plan = plan.token("api", "basic", "");
    assert!(plan.issuer.starts_with("http://"));
    let NotReady { status, log } =
        Daemon::try_start(&plan.site, &plan.configure()).expect_err("the daemon must not start");
    assert_eq!(status.and_then(|status| status.code()), Some(78), "{log}");
    assert!(
        log.contains("issuers.rig"),
        "the message names no position in the file:\n{log}"
    );
    assert!(!plan.site.socket().exists());
    assert_eq!(plan.provider.requests(0).await, 0);
}

#[tokio::test]
async fn a_server_under_another_authority_is_refused() {
    let Some(mut plan) = Plan::draw("a_server_under_another_authority_is_refused") else {
        return;
    };
    plan.ca = plan.provider.pki("evilca.pem");
    let mut world = plan.token("api", "basic", "").start().await;
    let refused = world.caller.get("api").await.unwrap_err();
    assert_eq!(reason(&refused), "UNTRUSTED", "{refused:?}");
    assert_eq!(world.provider.requests(0).await, 0);
}

#[tokio::test]
async fn metadata_of_another_issuer_is_refused() {
    let Some(plan) = Plan::draw("metadata_of_another_issuer_is_refused") else {
        return;
    };
    let mut metadata = plan.provider.metadata().await;
    metadata["issuer"] = json!("https://issuer.example.test");
    publish(&plan.provider, &metadata).await;
    assert_refused(
        plan.token("api", "basic", "").start().await,
        "ISSUER_MISMATCH",
    )
    .await;
}

#[tokio::test]
async fn a_token_endpoint_without_tls_is_refused() {
    let Some(plan) = Plan::draw("a_token_endpoint_without_tls_is_refused") else {
        return;
    };
    let thief = Thief::lurk();
    let mut metadata = plan.provider.metadata().await;
    metadata["token_endpoint"] = json!(format!("http://{}/token", thief.address()));
    publish(&plan.provider, &metadata).await;
    assert_refused(
        plan.token("api", "basic", "").start().await,
        "INSECURE_ENDPOINT",
    )
    .await;
    thief.assert_lonely();
}

async fn assert_refused(mut world: World, expected: &str) {
    let refused = world
        .caller
        .get("api")
        .await
        .expect_err("the request must be refused");
    assert_eq!(reason(&refused), expected, "{refused:?}");
    assert_eq!(world.provider.token_requests(0).await, 0);
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let Some(plan) = Plan::draw("a_redirect_is_never_followed") else {
        return;
    };
    let plan = ["t301", "t302", "t303", "t307", "t308"]
        .into_iter()
        .fold(plan, |plan, name| plan.token(name, "basic", ""));
    let mut world = plan.start().await;
    let thief = Thief::lurk();
    for status in [301, 302, 303, 307, 308] {
        let location = format!("https://{}/token", thief.address());
        let headers = json!({ "location": location });
        world
            .provider
            .fault(json!({ "path": "/token", "times": 1000, "status": status, "headers": headers }))
            .await;
        let refused = world.caller.get(&format!("t{status}")).await.unwrap_err();
        assert_eq!(reason(&refused), "REDIRECT", "{status}: {refused:?}");
        thief.assert_lonely();
    }
}

#[tokio::test]
async fn an_unknown_name_is_refused_like_a_forbidden_one() {
    let Some(plan) = Plan::draw("an_unknown_name_is_refused_like_a_forbidden_one") else {
        return;
    };
    let plan = plan.token("mine", "basic", "").token("other", "basic", "");
    let plan = plan.allow(crate::support::user::own_uid(), "tokens = [\"mine\"]");
    let mut world = plan.start().await;
    let other = world.caller.get("other").await.unwrap_err();
    let unknown = world.caller.get("no-such-token").await.unwrap_err();
    assert_eq!(other.code(), Code::PermissionDenied, "{other:?}");
    assert_eq!(
        (unknown.code(), unknown.message()),
        (other.code(), other.message())
    );
    assert_eq!(reason(&unknown), reason(&other));
    assert_eq!(world.provider.requests(0).await, 0);
}
