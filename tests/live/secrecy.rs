//! Secrets where they must not be.

use crate::support::OrSkip as _;
use crate::support::canary::Canary;
use crate::support::client::named;
use crate::support::daemon::eventually;
use crate::support::oidc::AWKWARD_SECRET;
use crate::world::Plan;

#[tokio::test]
async fn no_secret_shows_around_the_daemon() {
    let Some(plan) = Plan::draw("no_secret_shows_around_the_daemon") else {
        return;
    };
    let plan = plan
        .token("good", "basic", "")
        .token("bad", "wrong", "")
        .token("post", "post", "");
    let mut world = plan.start().await;
    let mut canaries = vec![
        ("the client secret", Canary::new(AWKWARD_SECRET)),
        (
            "the wrong client secret",
            Canary::new("this-is-not-the-client-secret"),
        ),
    ];
    for name in ["good", "post"] {
        let token = world.caller.get(name).await.unwrap().access_token;
        canaries.push(("an access token", Canary::new(&token)));
    }
    world.caller.get("bad").await.unwrap_err();
    world.caller.get("not-configured").await.unwrap_err();
    // Everything the daemon and the store keep lies below this folder: sockets, configuration, sealed records, logs.
    let places = [world.site.path()];
    for (what, canary) in &canaries {
        let found = canary.sightings(world.daemon.pid(), &places);
        assert!(found.is_empty(), "{what} was found: {found:?}");
    }
    assert!(
        world.daemon.log_files().iter().all(|log| log.exists()),
        "there are no logs to search"
    );
    let site = world.site;
    assert!(world.daemon.terminate().success());
    for (what, canary) in &canaries {
        let found = canary.sightings(std::process::id(), &[site.path()]);
        assert!(found.is_empty(), "{what} was left behind: {found:?}");
    }
}

#[tokio::test]
async fn a_replaced_token_leaves_the_memory() {
    let name = "a_replaced_token_leaves_the_memory";
    let Some(plan) = Plan::draw(name) else {
        return;
    };
    let mut world = plan.token("api", "basic", "").start().await;
    let old = world.caller.get("api").await.unwrap();
    let pid = world.daemon.pid();
    let canary = Canary::new(&old.access_token);
    // While it is held it is there: the search finds what there is to find.
    let Some(held) = canary.count_in_memory(pid).or_skip(name) else {
        return;
    };
    assert!(
        held > 0,
        "a held token is nowhere in memory, so the search proves nothing"
    );
    let mut wish = named("api");
    wish.force_refresh = true;
    let new = world.caller.ask(wish).await.unwrap();
    assert_ne!(new.access_token, old.access_token);
    drop(world.caller);
    let wiped = eventually(|| canary.count_in_memory(pid) == Ok(0));
    assert!(
        wiped,
        "the old token still stands in {:?} places",
        canary.count_in_memory(pid)
    );
}
