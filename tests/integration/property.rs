//! A property test: for any set of rules, a peer receives over the socket only what a rule grants.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tonic::Code;

use crate::daemon::TestDaemon;
use crate::node::{Node, own_uid, run};
use crate::table;

table![nothing_is_granted_without_a_rule];

/// Names in the configuration, and names that differ from them slightly.
const TOKENS: [&str; 3] = ["api", "wide", "payroll"];
const STRANGE: [&str; 5] = ["API", "api ", "ap", "api2", "password"];

/// A rule: whether it matches this user, which tokens it grants, and whether it grants the secret.
type Rule = (bool, Vec<bool>, bool);

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let rule = (
        any::<bool>(),
        proptest::collection::vec(any::<bool>(), TOKENS.len()),
        any::<bool>(),
    );
    proptest::collection::vec(rule, 0..5)
}

/// The tokens that a rule grants.
fn given(rule: &Rule) -> Vec<&'static str> {
    TOKENS
        .into_iter()
        .zip(&rule.1)
        .filter(|(_, given)| **given)
        .map(|(name, _)| name)
        .collect()
}

fn written(rules: &[Rule]) -> String {
    let mut text = String::new();
    for rule in rules {
        let tokens = given(rule);
        if tokens.is_empty() && !rule.2 {
            continue;
        }
        let uid = if rule.0 { own_uid() } else { own_uid() + 4321 };
        text.push_str(&format!("[[allow]]\nuser = {uid}\n"));
        if !tokens.is_empty() {
            text.push_str(&format!("tokens = {tokens:?}\n"));
        }
        if rule.2 {
            text.push_str("secrets = [\"password\"]\n");
        }
    }
    text
}

fn nothing_is_granted_without_a_rule() -> Result<(), String> {
    run(async {
        let mut node = Node::new().await;
        node.limits = "requests_per_second = 10000\nrequest_burst = 100000".to_owned();
        let mut daemon = TestDaemon::on(node).await;
        // One connection for all rules: it must not keep earlier grants.
        let caller = daemon.caller().await;
        let admin = daemon.admin().await;
        let mut runner = TestRunner::new(Config {
            cases: 60,
            failure_persistence: None,
            ..Config::default()
        });
        let handle = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            let node = std::cell::RefCell::new(&mut daemon.node);
            runner.run(&rules(), |rules| {
                node.borrow_mut().rules = written(&rules);
                node.borrow().write_configuration();
                handle.block_on(async {
                    let reloaded = admin.clone().reload().await;
                    prop_assert!(reloaded.applied, "{reloaded:?}");
                    let mut caller = caller.clone();
                    let ours: Vec<&Rule> = rules.iter().filter(|rule| rule.0).collect();
                    for name in TOKENS.into_iter().chain(STRANGE) {
                        let expected = ours.iter().any(|rule| given(rule).contains(&name));
                        let token = caller.token(name).await;
                        prop_assert_eq!(token.is_ok(), expected, "{} by {:?}", name, &rules);
                        if let Err(status) = token {
                            prop_assert_eq!(status.code(), Code::PermissionDenied);
                        }
                    }
                    let secret = caller.secret("password").await;
                    prop_assert_eq!(secret.is_ok(), ours.iter().any(|rule| rule.2));
                    Ok(())
                })
            })
        })
        .unwrap();
        assert!(
            daemon.node.issuer.requests() <= 3,
            "each token is fetched once, despite the reloads"
        );
        daemon.stop().await;
    });
    Ok(())
}
