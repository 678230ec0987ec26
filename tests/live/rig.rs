//! The rig itself, on which the other tests depend.

use serde_json::json;

use crate::support::oidc::METADATA;
use crate::support::user::{OTHER_STRANGER, STRANGER, command_as};
use crate::support::{OidcProvider, OrSkip as _};

#[tokio::test]
async fn the_server_logs_requests_and_injects_faults() {
    let name = "the_server_logs_requests_and_injects_faults";
    let Some(provider) = OidcProvider::start().or_skip(name) else {
        return;
    };
    assert!(provider.issuer.starts_with("https://127.0.0.1:"));
    assert_eq!(provider.mark().await, 0);
    assert_eq!(
        provider.metadata().await["issuer"],
        provider.issuer.as_str()
    );
    let log = provider.log_from(0).await;
    assert_eq!((log.len(), &log[0]["path"]), (1, &json!(METADATA[0])));

    assert_eq!(provider.register("not-the-token").await, 401);
    assert_eq!(provider.register(&provider.initial_access_token).await, 201);
    provider
        .fault(json!({ "path": "/reg", "times": 1, "status": 418 }))
        .await;
    assert_eq!(provider.register(&provider.initial_access_token).await, 418);
    assert_eq!(provider.register(&provider.initial_access_token).await, 201);
    assert_eq!(
        (provider.requests(1).await, provider.token_requests(1).await),
        (4, 0)
    );
    assert!(provider.grants(0).await.is_empty());
}

#[tokio::test]
async fn two_servers_are_two_issuers() {
    let name = "two_servers_are_two_issuers";
    let (Some(one), Some(other)) = (
        OidcProvider::start().or_skip(name),
        OidcProvider::start_plain().or_skip(name),
    ) else {
        return;
    };
    assert_ne!(one.issuer, other.issuer);
    assert!(other.issuer.starts_with("http://127.0.0.1:"));
    other.metadata().await;
    assert_eq!((one.mark().await, other.mark().await), (0, 1));
}

#[test]
fn a_command_runs_as_another_user() {
    let name = "a_command_runs_as_another_user";
    for uid in [STRANGER, OTHER_STRANGER] {
        let Some(mut command) = command_as(uid, "id").or_skip(name) else {
            return;
        };
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            said.starts_with(&format!("uid={uid} gid={uid}"))
                && said.trim().ends_with(&format!("groups={uid}")),
            "{said}"
        );
    }
}
