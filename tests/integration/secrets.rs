//! Secrets, served to programs with a rule for them.

use claviger::testing::file_store::{Expected, FileSettings, FileStore, StoreKey};
use claviger_backend::Secret;
use claviger_proto::v1::Freshness;
use tonic::Code;

use crate::caller::{refusal, why};
use crate::daemon::TestDaemon;
use crate::node::{Node, PASSWORD, own_uid, run};
use crate::table;

table![
    a_secret_arrives_byte_for_byte,
    a_secret_needs_a_rule,
    a_watch_delivers_each_newer_version,
    a_fixed_credential_is_used_at_once,
    a_refused_credential_is_read_again_before_the_caller_fails,
    a_credential_that_the_issuer_does_not_know_gives_way_to_the_one_before,
    refreshing_a_token_reads_its_credential_first,
    a_recreated_store_is_read_again,
];

fn a_secret_arrives_byte_for_byte() -> Result<(), String> {
    run(async {
        let daemon = TestDaemon::new().await;
        let secret = daemon.caller().await.secret("password").await.unwrap();
        assert_eq!(secret.value, PASSWORD);
        assert_eq!(
            (secret.generation, secret.freshness()),
            (1, Freshness::Fresh)
        );
        assert!(!secret.version.is_empty());
        assert!(secret.lifetime_left.unwrap().seconds > 0);
        assert!(secret.confirmed_at.is_some() && secret.age.is_some());
        daemon.stop().await;
    });
    Ok(())
}

fn a_secret_needs_a_rule() -> Result<(), String> {
    run(async {
        let mut node = Node::new().await;
        node.rules = format!("[[allow]]\nuser = {}\ntokens = [\"api\"]\n", own_uid());
        let daemon = TestDaemon::on(node).await;
        let mut caller = daemon.caller().await;
        let denied = refusal(caller.secret("password").await);
        assert_eq!(denied.code, Code::PermissionDenied);
        assert_eq!(refusal(caller.secret("no-such-secret").await), denied);
        assert_eq!(
            refusal(caller.secret("local:password").await),
            denied,
            "no references"
        );
        assert_eq!(refusal(caller.watch_secret("password").await), denied);
        assert!(
            caller.token("api").await.is_ok(),
            "control: the rule grants the token"
        );
        daemon.stop().await;
    });
    Ok(())
}

fn a_watch_delivers_each_newer_version() -> Result<(), String> {
    run(async {
        let daemon = TestDaemon::new().await;
        let mut caller = daemon.caller().await;
        let mut watch = caller.watch_secret("password").await.unwrap();
        let first = watch.message().await.unwrap().unwrap();
        assert_eq!(first.value, PASSWORD);
        daemon.node.put("password", b"second");
        let results = daemon.admin().await.refresh(&["password"]).await;
        assert!(results.iter().any(|result| result.changed), "{results:?}");
        let second = watch.message().await.unwrap().unwrap();
        assert_eq!(
            (second.value.as_slice(), second.generation),
            (b"second".as_slice(), 2)
        );
        assert_ne!(second.version, first.version);
        assert_eq!(caller.secret("password").await.unwrap().value, b"second");
        let unknown = daemon.admin().await.refresh(&["no-such"]).await;
        assert!(
            !unknown[0].ok && unknown[0].error == "unknown",
            "{unknown:?}"
        );
        daemon.stop().await;
    });
    Ok(())
}

fn a_fixed_credential_is_used_at_once() -> Result<(), String> {
    run(async {
        let daemon = TestDaemon::new().await;
        let mut caller = daemon.caller().await;
        daemon.spoil_client_secret().await;
        assert_eq!(why(caller.token("api").await).1, "INVALID_CLIENT");
        let good = daemon.node.secrets().swap_remove(0);
        daemon.node.put_client_secret(&good);
        daemon
            .admin()
            .await
            .refresh(&["local:oauth/demo#client_secret"])
            .await;
        // The credential changed, so the backoff of the failed one ends.
        assert!(caller.token("api").await.is_ok());
        assert_eq!(
            daemon.node.issuer.requests(),
            3,
            "both wrong ones, then the good one; tokens without a request are not fetched"
        );
        daemon.stop().await;
    });
    Ok(())
}

fn a_refused_credential_is_read_again_before_the_caller_fails() -> Result<(), String> {
    run(async {
        let node = Node::new().await;
        node.put_client_secret("wrong");
        let daemon = TestDaemon::on(node).await;
        let good = daemon.node.secrets().swap_remove(0);
        daemon.node.put_client_secret(&good);
        assert!(daemon.caller().await.token("api").await.is_ok());
        assert_eq!(daemon.node.issuer.requests(), 2);
        daemon.stop().await;
    });
    Ok(())
}

fn a_credential_that_the_issuer_does_not_know_gives_way_to_the_one_before() -> Result<(), String> {
    run(async {
        let daemon = TestDaemon::new().await;
        daemon.node.put_client_secret("not known yet");
        let results = daemon.admin().await.refresh(&[]).await;
        assert!(results.iter().any(|result| result.changed), "{results:?}");
        let mut caller = daemon.caller().await;
        let first = caller.token("api").await.unwrap();
        assert_eq!(daemon.node.issuer.requests(), 2);
        // The token counts as good: it is not renewed over and over to try the newest credential.
        for _ in 0..20 {
            let next = caller.token("api").await.unwrap();
            assert_eq!(next.access_token, first.access_token);
        }
        assert_eq!(daemon.node.issuer.requests(), 2);
        daemon.stop().await;
    });
    Ok(())
}

fn refreshing_a_token_reads_its_credential_first() -> Result<(), String> {
    run(async {
        let node = Node::new().await;
        node.put_client_secret("wrong");
        let daemon = TestDaemon::on(node).await;
        let mut caller = daemon.caller().await;
        assert_eq!(why(caller.token("api").await).1, "INVALID_CLIENT");
        let good = daemon.node.secrets().swap_remove(0);
        daemon.node.put_client_secret(&good);
        let results = daemon.admin().await.refresh(&["api"]).await;
        assert!(results[0].ok && results[0].changed, "{results:?}");
        assert!(caller.token("api").await.is_ok());
        assert_eq!(daemon.node.issuer.requests(), 2);
        daemon.stop().await;
    });
    Ok(())
}

fn a_recreated_store_is_read_again() -> Result<(), String> {
    run(async {
        let daemon = TestDaemon::new().await;
        let mut caller = daemon.caller().await;
        daemon.spoil_client_secret().await;
        assert_eq!(why(caller.token("api").await).1, "INVALID_CLIENT");
        assert_eq!(caller.secret("password").await.unwrap().value, PASSWORD);

        // The same versions of the same secrets, in the same directory, with other values.
        let store = daemon.node.path("store");
        std::fs::remove_dir_all(&store).unwrap();
        let settings = FileSettings {
            directory: store,
            key: StoreKey::KeyFile(daemon.node.path("store.key")),
        };
        let anew = FileStore::init(settings).unwrap();
        let good = daemon.node.secrets().swap_remove(0);
        for (name, value) in [
            ("oauth/demo", "the oldest"),
            ("oauth/demo", "older"),
            ("oauth/demo", &*daemon.node.client(&good)),
            ("password", "another"),
            ("more", "so that the store is not an older copy"),
        ] {
            let value = Secret::from_text(value.to_owned());
            anew.put(&name.parse().unwrap(), &value, &Expected::Anything)
                .unwrap();
        }
        daemon.admin().await.refresh(&[]).await;
        assert!(caller.token("api").await.is_ok());
        let secret = caller.secret("password").await.unwrap();
        assert_eq!(
            (secret.value.as_slice(), secret.generation),
            (b"another".as_slice(), 2)
        );
        daemon.stop().await;
    });
    Ok(())
}
