//! Programs request, watch, report and revoke tokens.

use std::time::Duration;

use claviger_proto::v1::report_rejected_response::Outcome as Reported;
use claviger_proto::v1::revoke_token_response::Outcome as Revoked;
use claviger_proto::v1::{Freshness, GetTokenRequest, WatchTokenRequest};
use claviger_server::Limits;
use tonic::Code;

use crate::caller::{refusal, why, wish};
use crate::daemon::TestDaemon;
use crate::node::{Node, own_uid, run};
use crate::table;

table![
    a_token_is_fetched_once_and_has_all_fields,
    scopes_are_narrowed_by_rules_and_by_requests,
    an_unknown_name_gets_the_answer_of_a_forbidden_one,
    a_token_lives_as_long_as_requested,
    forced_renewals_are_limited,
    a_rejected_token_is_replaced_once,
    a_revoked_token_is_unknown_to_its_issuer,
    a_watch_delivers_each_newer_token,
    a_watch_ends_with_its_old_connection,
    a_watch_ends_when_its_rule_is_removed,
    a_thousand_callers_cost_one_request,
];

fn watched(name: &str) -> WatchTokenRequest {
    WatchTokenRequest {
        name: name.to_owned(),
        scopes: Vec::new(),
    }
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn a_token_is_fetched_once_and_has_all_fields() -> Result<(), String> {
    run(async {
        let daemon = TestDaemon::new().await;
        assert_eq!(
            daemon.node.issuer.requests(),
            0,
            "nothing is fetched before a request"
        );
        let first = daemon.caller().await.token("api").await.unwrap();
        assert_eq!(first.freshness(), Freshness::Refreshed);
        assert_eq!(first.token_type, "Bearer");
        assert_eq!(first.scopes, ["read:demo", "write:demo"]);
        assert_eq!(first.generation, 1);
        assert!(!first.fingerprint.is_empty() && !first.fingerprint.contains(&first.access_token));
        assert!(daemon.node.issuer.knows(&first.access_token));
        let left = first.lifetime_left.unwrap().seconds;
        assert!((3500..=3600).contains(&left), "{left}");
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let expires = u64::try_from(first.expires_at.unwrap().seconds).unwrap();
        assert!((now + 3500..=now + 3600).contains(&expires), "{expires}");

        // Over another connection, from the cache.
        let second = daemon.caller().await.token("api").await.unwrap();
        assert_eq!(second.freshness(), Freshness::Fresh);
        assert_eq!(second.access_token, first.access_token);
        assert_eq!(second.fingerprint, first.fingerprint);
        assert_eq!(daemon.node.issuer.requests(), 1);
        daemon.stop().await;
    });
    Ok(())
}

fn scopes_are_narrowed_by_rules_and_by_requests() -> Result<(), String> {
    run(async {
        let mut node = Node::new().await;
        node.rules = format!(
            "[[allow]]\nuser = {0}\ntokens = [\"api\"]\nscopes = [\"read:demo\"]\n\
             [[allow]]\nuser = {0}\ntokens = [\"wide\"]\n",
            own_uid()
        );
        let daemon = TestDaemon::on(node).await;
        let mut caller = daemon.caller().await;
        assert_eq!(
            caller.token("api").await.unwrap().scopes,
            ["read:demo"],
            "by the rule"
        );
        let narrower = caller.scoped("api", &["read:demo"]).await.unwrap();
        assert_eq!(narrower.scopes, ["read:demo"]);
        let denied = why(caller.scoped("api", &["write:demo"]).await);
        assert_eq!(
            denied,
            (Code::PermissionDenied, "DENIED".to_owned()),
            "beyond the rule"
        );
        let denied = why(caller.scoped("api", &["read:demo", "write:demo"]).await);
        assert_eq!(denied.0, Code::PermissionDenied, "in part beyond the rule");
        let beyond = why(caller.scoped("wide", &["read:payroll"]).await);
        assert_eq!(
            beyond,
            (Code::InvalidArgument, "SCOPES_NOT_CONFIGURED".to_owned())
        );
        let nonsense = why(caller.scoped("api", &["two words"]).await);
        assert_eq!(
            nonsense,
            (Code::InvalidArgument, "INVALID_REQUEST".to_owned())
        );
        assert_eq!(
            daemon.node.issuer.requests(),
            1,
            "refusals and repeated requests send nothing to the issuer"
        );
        daemon.stop().await;
    });
    Ok(())
}

fn an_unknown_name_gets_the_answer_of_a_forbidden_one() -> Result<(), String> {
    run(async {
        let daemon = TestDaemon::new().await;
        let mut caller = daemon.caller().await;
        let forbidden = refusal(caller.token("payroll").await);
        assert_eq!(forbidden.code, Code::PermissionDenied);
        for unknown in [
            "pay",
            "payroll2",
            "PAYROLL",
            "../payroll",
            "https://evil.example",
            "a b",
        ] {
            assert_eq!(refusal(caller.token(unknown).await), forbidden, "{unknown}");
            assert_eq!(
                refusal(caller.revoke(unknown).await),
                forbidden,
                "{unknown}"
            );
        }
        assert_eq!(why(caller.token("").await).0, Code::InvalidArgument);
        assert_eq!(
            why(caller.token(&"x".repeat(300)).await).0,
            Code::InvalidArgument
        );
        daemon.stop().await;
    });
    Ok(())
}

fn a_token_lives_as_long_as_requested() -> Result<(), String> {
    run(async {
        let daemon = TestDaemon::new().await;
        let mut caller = daemon.caller().await;
        let request = |left| GetTokenRequest {
            min_remaining: seconds(left),
            ..wish("api")
        };
        assert!(caller.ask(request(600)).await.is_ok());
        let cached = caller.ask(request(600)).await.unwrap();
        assert_eq!(
            cached.freshness(),
            Freshness::Fresh,
            "the cached one lives long enough"
        );
        let too_long = refusal(caller.ask(request(7200)).await);
        assert_eq!(too_long.code, Code::FailedPrecondition);
        assert_eq!(too_long.reason, "LIFETIME_TOO_SHORT");
        assert_eq!(too_long.retry, None, "waiting does not help");
        let negative = why(caller.ask(request(-1)).await);
        assert_eq!(
            negative,
            (Code::InvalidArgument, "INVALID_REQUEST".to_owned())
        );
        daemon.stop().await;
    });
    Ok(())
}

fn forced_renewals_are_limited() -> Result<(), String> {
    run(async {
        let daemon = TestDaemon::new().await;
        let mut caller = daemon.caller().await;
        let first = caller.token("api").await.unwrap();
        let forced = GetTokenRequest {
            force_refresh: true,
            ..wish("api")
        };
        let second = caller.ask(forced.clone()).await.unwrap();
        assert_ne!(second.access_token, first.access_token);
        assert_eq!(
            (second.freshness(), second.generation),
            (Freshness::Refreshed, 2)
        );
        let mut refused = None;
        for _ in 0..20 {
            if let Err(status) = caller.ask(forced.clone()).await {
                refused = Some(refusal(Err::<(), _>(status)));
            }
        }
        let refused = refused.expect("a limit");
        assert_eq!(refused.code, Code::ResourceExhausted);
        assert!(refused.retry.is_some());
        assert!(
            daemon.node.issuer.requests() < 15,
            "{}",
            daemon.node.issuer.requests()
        );
        assert!(
            caller.token("api").await.is_ok(),
            "the cached token is still served"
        );
        daemon.stop().await;
    });
    Ok(())
}

fn a_rejected_token_is_replaced_once() -> Result<(), String> {
    run(async {
        let daemon = TestDaemon::new().await;
        let mut caller = daemon.caller().await;
        let first = caller.token("api").await.unwrap();
        let report = caller.report("api", &first.fingerprint, 403).await;
        assert_eq!(
            report.unwrap(),
            Reported::NotTheToken,
            "only 401 rejects the token"
        );
        let nameless = why(caller.report("api", "", 401).await);
        assert_eq!(
            nameless,
            (Code::InvalidArgument, "INVALID_REQUEST".to_owned())
        );
        let report = caller.report("api", &first.fingerprint, 401).await;
        assert_eq!(report.unwrap(), Reported::Dropped);
        let second = caller.token("api").await.unwrap();
        assert_ne!(second.access_token, first.access_token);
        let report = caller.report("api", &first.fingerprint, 401).await;
        assert_eq!(report.unwrap(), Reported::Superseded);
        let report = caller.report("api", "hmac-sha256:made-up", 401).await;
        assert_eq!(report.unwrap(), Reported::Superseded);
        let same = caller.token("api").await.unwrap();
        assert_eq!(same.access_token, second.access_token);
        assert_eq!(daemon.node.issuer.requests(), 2);
        let forbidden = why(caller.report("payroll", &first.fingerprint, 401).await);
        assert_eq!(forbidden.0, Code::PermissionDenied);
        daemon.stop().await;
    });
    Ok(())
}

fn a_revoked_token_is_unknown_to_its_issuer() -> Result<(), String> {
    run(async {
        let daemon = TestDaemon::new().await;
        let mut caller = daemon.caller().await;
        assert_eq!(caller.revoke("api").await.unwrap(), Revoked::NothingHeld);
        let first = caller.token("api").await.unwrap();
        assert_eq!(caller.revoke("api").await.unwrap(), Revoked::Revoked);
        assert!(!daemon.node.issuer.knows(&first.access_token));
        let second = caller.token("api").await.unwrap();
        assert_ne!(second.access_token, first.access_token);
        assert_eq!(
            why(caller.revoke("payroll").await).0,
            Code::PermissionDenied
        );
        daemon.stop().await;
    });
    Ok(())
}

fn a_watch_delivers_each_newer_token() -> Result<(), String> {
    run(async {
        let daemon = TestDaemon::new().await;
        let mut watch = daemon.caller().await.watch("api").await;
        let first = watch.message().await.unwrap().unwrap();
        assert_eq!(first.generation, 1);
        let results = daemon.admin().await.refresh(&["api"]).await;
        assert!(
            results.iter().all(|result| result.ok && result.changed),
            "{results:?}"
        );
        let second = watch.message().await.unwrap().unwrap();
        assert_eq!(second.generation, 2);
        assert_ne!(second.access_token, first.access_token);
        assert!(daemon.node.issuer.knows(&second.access_token));
        daemon.stop().await;
    });
    Ok(())
}

fn a_watch_ends_with_its_old_connection() -> Result<(), String> {
    run(async {
        let young = |limits: &mut Limits| limits.connection_age = Duration::from_millis(300);
        let daemon = TestDaemon::with(Node::new().await, young).await;
        let mut caller = daemon.caller().await;
        let mut watch = caller.watch("api").await;
        assert!(watch.message().await.unwrap().is_some());
        assert!(
            watch.message().await.unwrap().is_none(),
            "the watch ends without an error"
        );
        assert!(
            caller.token("api").await.is_err(),
            "the connection is closed"
        );
        assert!(
            daemon.caller().await.token("api").await.is_ok(),
            "a new connection is served"
        );
        daemon.stop().await;
    });
    Ok(())
}

fn a_watch_ends_when_its_rule_is_removed() -> Result<(), String> {
    run(async {
        let mut daemon = TestDaemon::new().await;
        let mut caller = daemon.caller().await;
        let mut tokens = caller.watch("api").await;
        let mut secrets = caller.watch_secret("password").await.unwrap();
        assert!(tokens.message().await.unwrap().is_some());
        assert!(secrets.message().await.unwrap().is_some());
        daemon.node.rules = format!("[[allow]]\nuser = {}\ntokens = [\"wide\"]\n", own_uid());
        daemon.node.write_configuration();
        assert!(daemon.admin().await.reload().await.applied);
        daemon.node.put("password", b"not for this one");
        daemon.admin().await.refresh(&["api", "password"]).await;
        let stopping = (Code::Unavailable, "STOPPING".to_owned());
        assert_eq!(why(tokens.message().await), stopping);
        assert_eq!(why(secrets.message().await), stopping);
        let denied = (Code::PermissionDenied, "DENIED".to_owned());
        let again = caller.tokens.watch_token(watched("api")).await;
        assert_eq!(why(again), denied);
        assert_eq!(why(caller.watch_secret("password").await), denied);
        daemon.stop().await;
    });
    Ok(())
}

fn a_thousand_callers_cost_one_request() -> Result<(), String> {
    run(async {
        let mut node = Node::new().await;
        node.limits = "streams = 64\nin_flight = 64".to_owned();
        let daemon = TestDaemon::on(node).await;
        let mut callers = Vec::new();
        for _ in 0..32 {
            callers.push(daemon.caller().await);
        }
        let mut asking = tokio::task::JoinSet::new();
        for number in 0..1000 {
            let mut caller = callers[number % callers.len()].clone();
            asking.spawn(async move { caller.token("api").await.unwrap().access_token });
        }
        let tokens: std::collections::HashSet<String> =
            asking.join_all().await.into_iter().collect();
        assert_eq!(tokens.len(), 1);
        assert_eq!(daemon.node.issuer.requests(), 1);
        daemon.stop().await;
    });
    Ok(())
}
