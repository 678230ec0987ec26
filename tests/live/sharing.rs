//! Many callers of one token cause few requests to the issuer.

use std::collections::BTreeSet;

use claviger_proto::v1::Freshness;
use claviger_proto::v1::report_rejected_response::Outcome;
use serde_json::json;
use tokio::task::JoinSet;
use tonic::Code;

use crate::support::Caller;
use crate::support::client::{named, reason, seconds};
use crate::world::Plan;

#[tokio::test]
async fn five_hundred_callers_of_a_cold_token_cause_one_request() {
    let Some(plan) = Plan::draw("five_hundred_callers_of_a_cold_token_cause_one_request") else {
        return;
    };
    let world = plan.token("api", "basic", "").start().await;
    world
        .provider
        .fault(json!({ "path": "/token", "times": 1, "mode": "delay", "delayMs": 1000 }))
        .await;
    let mark = world.provider.mark().await;
    let mut calls = JoinSet::new();
    for _ in 0..10 {
        let caller = Caller::connect(&world.site.socket()).await;
        for _ in 0..50 {
            let mut caller = caller.clone();
            calls.spawn(async move { caller.get("api").await });
        }
    }
    let answers = calls.join_all().await;
    let tokens: BTreeSet<_> = answers
        .into_iter()
        .map(|answer| answer.unwrap().access_token)
        .collect();
    assert_eq!(tokens.len(), 1, "callers of one fetch got different tokens");
    assert_eq!(world.provider.token_requests(mark).await, 1);
}

#[tokio::test]
async fn a_fetch_continues_when_its_first_caller_disconnects() {
    let Some(plan) = Plan::draw("a_fetch_continues_when_its_first_caller_disconnects") else {
        return;
    };
    let mut world = plan.token("api", "basic", "").start().await;
    world
        .provider
        .fault(json!({ "path": "/token", "times": 1, "mode": "delay", "delayMs": 2000 }))
        .await;
    let mark = world.provider.mark().await;
    let hurried = world
        .caller
        .ask_within(named("api"), std::time::Duration::from_millis(300))
        .await;
    assert!([Code::DeadlineExceeded, Code::Cancelled].contains(&hurried.unwrap_err().code()));
    world.caller.get("api").await.unwrap();
    assert_eq!(world.provider.token_requests(mark).await, 1);
}

#[tokio::test]
async fn a_hundred_reports_about_one_token_cause_one_renewal() {
    let Some(plan) = Plan::draw("a_hundred_reports_about_one_token_cause_one_renewal") else {
        return;
    };
    let mut world = plan.token("api", "basic", "").start().await;
    let mark = world.provider.mark().await;
    let first = world.caller.get("api").await.unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let (mut caller, fingerprint) = (world.caller.clone(), first.fingerprint.clone());
        calls.spawn(async move {
            let outcome = caller
                .report_rejected("api", &fingerprint)
                .await
                .unwrap()
                .outcome();
            (outcome, caller.get("api").await.unwrap().access_token)
        });
    }
    let (outcomes, tokens): (Vec<_>, BTreeSet<_>) = calls.join_all().await.into_iter().unzip();
    assert!(outcomes.contains(&Outcome::Dropped), "{outcomes:?}");
    assert!(
        outcomes
            .iter()
            .all(|outcome| [Outcome::Dropped, Outcome::Superseded].contains(outcome)),
        "{outcomes:?}"
    );
    assert!(
        tokens.len() == 1 && !tokens.contains(&first.access_token),
        "the rejected token was served again"
    );
    assert_eq!(world.provider.token_requests(mark).await, 2);

    let late = world
        .caller
        .report_rejected("api", &first.fingerprint)
        .await
        .unwrap();
    assert_eq!(late.outcome(), Outcome::Superseded);
    assert!(tokens.contains(&world.caller.get("api").await.unwrap().access_token));
    assert_eq!(world.provider.token_requests(mark).await, 2);
}

#[tokio::test]
async fn a_caller_that_needs_more_time_gets_a_newer_token() {
    let Some(plan) = Plan::draw("a_caller_that_needs_more_time_gets_a_newer_token") else {
        return;
    };
    let mut world = plan.token("api", "basic", "").start().await;
    let mark = world.provider.mark().await;
    world.provider.ctl(json!({ "accessTokenTtl": 600 })).await;
    let first = world.caller.get("api").await.unwrap();
    let mut wish = named("api");
    wish.min_remaining = Some(seconds(60));
    assert_eq!(
        world.caller.ask(wish.clone()).await.unwrap().access_token,
        first.access_token
    );
    // All but one second of its lifetime: after that second only a new token is long enough.
    wish.min_remaining = Some(seconds(599));
    let mut answer = world.caller.ask(wish.clone()).await.unwrap();
    for _ in 0..100_000 {
        if answer.generation > first.generation {
            break;
        }
        answer = world.caller.ask(wish.clone()).await.unwrap();
    }
    assert!(answer.generation > first.generation, "{answer:?}");
    assert_eq!(world.provider.token_requests(mark).await, 2);
    // A lifetime longer than the issuer's tokens have is refused without a request.
    wish.min_remaining = Some(seconds(601));
    let refused = world.caller.ask(wish).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "LIFETIME_TOO_SHORT")
    );
    assert_eq!(world.provider.token_requests(mark).await, 2);
}

#[tokio::test]
async fn forced_renewals_are_limited() {
    let Some(mut plan) = Plan::draw("forced_renewals_are_limited") else {
        return;
    };
    plan.issuer_lines.clear(); // back to the default of 10 requests a minute
    let mut world = plan.token("api", "basic", "").start().await;
    let mark = world.provider.mark().await;
    let mut last = None;
    for _ in 0..11 {
        let mut wish = named("api");
        wish.force_refresh = true;
        last = Some(world.caller.ask(wish).await);
    }
    let requests = world.provider.token_requests(mark).await;
    assert!(
        (1..=10).contains(&requests),
        "{requests} requests in a minute"
    );
    match last.expect("eleven calls were made") {
        Ok(answer) => assert_ne!(answer.freshness(), Freshness::Refreshed),
        Err(refused) => {
            assert_eq!(refused.code(), Code::ResourceExhausted);
            assert!(
                ["RENEWAL_LIMITED", "ISSUER_LIMITED", "RATE_LIMITED"]
                    .contains(&reason(&refused).as_str())
            );
        }
    }
    // A request without a forced renewal is still served.
    world.caller.get("api").await.unwrap();
}
