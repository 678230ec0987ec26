//! Searches for leaked secrets.

use std::fs;
use std::process::{Command, Stdio};

use aws_lc_rs::{hkdf, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use claviger_kernel::{Backing, SecretPages};

use crate::support::canary::{Canary, count_readable, hexadecimal};
use crate::support::client::named;
use crate::support::daemon::{BINARY, eventually};
use crate::support::oidc::AWKWARD_SECRET;
use crate::support::user::own_uid;
use crate::support::{Daemon, OrSkip as _, Site, Skip};
use crate::world::Plan;

#[tokio::test]
async fn no_secret_leaks_around_the_daemon() {
    let Some(plan) = Plan::draw("no_secret_leaks_around_the_daemon") else {
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
    // All files of the daemon and the store are below this folder: sockets, configuration, sealed records, logs.
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
        assert!(found.is_empty(), "{what} leaked: {found:?}");
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
    // Control: the search finds a token in use.
    let Some(held) = canary.count_in_memory(pid).or_skip(name) else {
        return;
    };
    assert!(
        held > 0,
        "control failed: the search does not find a cached token"
    );
    let mut wish = named("api");
    wish.force_refresh = true;
    let new = world.caller.ask(wish).await.unwrap();
    assert_ne!(new.access_token, old.access_token);
    drop(world.caller);
    let wiped = eventually(|| canary.count_in_memory(pid) == Ok(0));
    assert!(
        wiped,
        "the old token is still in memory {:?} times",
        canary.count_in_memory(pid)
    );
}

/// The keys of a store in every form that the daemon handles: the file's text, the key in it, and the keys that the documented
/// format derives from it.
fn keys_of(site: &Site) -> Vec<(&'static str, Vec<u8>)> {
    let text = fs::read_to_string(site.key()).expect("readable");
    let root = STANDARD.decode(text.trim()).expect("base64");
    let generation = fs::read_to_string(site.store().join("current")).expect("readable");
    let generation = site.store().join(generation.trim());
    let header = fs::read(generation.join("header")).expect("readable");
    let derived = |purpose: &[u8]| {
        let mut key = vec![0; 32];
        hkdf::Salt::new(hkdf::HKDF_SHA256, &header)
            .extract(&root)
            .expand(&[purpose], hkdf::HKDF_SHA256)
            .and_then(|expanded| expanded.fill(&mut key))
            .expect("computable");
        key
    };
    let names = derived(b"claviger file: names");
    let hashed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &names), b"motto");
    let digits = hexadecimal(hashed.as_ref());
    assert!(
        generation.join(format!("{digits}.index")).exists(),
        "control failed: the store derives its keys in another way"
    );
    vec![
        ("the text of the key file", text.trim().into()),
        ("the key", root.clone()),
        ("the key of records", derived(b"claviger file: records")),
        ("the key of names", names),
    ]
}

/// Whether root may read other processes' memory, and the kernel has memory that root may not read.
fn can_show_secret_memory() -> Result<(), Skip> {
    if own_uid() != 0 {
        return Err(Skip::because("needs root"));
    }
    let pages = SecretPages::filled(1, |_bytes| ()).map_err(|error| error.to_string());
    match pages.map(|pages| pages.backing()) {
        Ok(Backing::SecretMemory) => Ok(()),
        Ok(Backing::LockedMemory) => Err(Skip::because("needs memfd_secret")),
        Err(error) => Err(Skip::because(error)),
    }
}

#[tokio::test]
async fn root_does_not_find_the_keys_of_the_store() {
    let name = "root_does_not_find_the_keys_of_the_store";
    let Some(()) = can_show_secret_memory().or_skip(name) else {
        return;
    };
    let site = Site::new();
    site.put("motto", "a value that the daemon reads with its keys");
    let keys = keys_of(&site);
    let counted =
        |pid, wanted: &[u8]| count_readable(pid, wanted).expect("root may read the memory");

    let config = site.configure(&format!(
        "[secrets.motto]\nreference = \"local:motto\"\n\n[[allow]]\nuser = {}\nsecrets = [\"motto\"]\n",
        own_uid()
    ));
    let daemon = Daemon::start(&site, &config);
    let socket = site.socket();
    let marker = socket.to_str().expect("our paths are UTF-8").as_bytes();
    assert!(
        counted(daemon.pid(), marker) > 0,
        "control: the search finds data that is not secret"
    );
    let maps = fs::read_to_string(format!("/proc/{}/maps", daemon.pid())).expect("readable");
    assert!(maps.contains("secretmem"), "no secret pages:\n{maps}");
    for (what, key) in &keys {
        assert_eq!(counted(daemon.pid(), key), 0, "{what} was found");
    }

    // Control: a command has the same keys on its heap while it waits for input.
    let mut waiting = Command::new(BINARY)
        .args(["file", "put", "other", "--store"])
        .arg(site.store())
        .arg("--key-file")
        .arg(site.key())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let found: Vec<_> = keys[2..]
        .iter()
        .map(|(_, key)| eventually(|| counted(waiting.id(), key) > 0))
        .collect();
    drop(waiting.stdin.take());
    waiting.wait().expect("it is our child");
    assert_eq!(found, [true, true], "control: keys on the heap are found");
}
