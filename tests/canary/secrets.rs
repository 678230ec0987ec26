//! The life of a daemon, with a search after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::actor::need_root;
use crate::calls;
use crate::command_line::{Said, everything, paste};
use crate::issuer::BAD;
use crate::support::daemon::{Daemon, eventually};
use crate::sweep::{Memory, Sighting, Sweep};
use crate::world::{EACH_BAD, GOOD, World};

/// The secrets that may be in memory while in use, in plain form only.
const HELD: [&str; 4] = ["the client id", "the client secret", "the value", "a token"];

/// How often the memory is searched before a match counts as a leak. Each search takes most of a second.
const MOST_LOOKS: u32 = 120;

pub(crate) fn stay() -> Result<(), String> {
    need_root()?;
    runtime().block_on(live_and_search());
    Ok(())
}

/// For an idle connection the daemon keeps a copy of the last answer, but only until the connection's age limit.
pub(crate) fn go_with_old_connections() -> Result<(), String> {
    need_root()?;
    runtime().block_on(async {
        let world = World::build("10s").await;
        let daemon = Daemon::start(&world.site, &world.configure(&world.full()));
        let socket = world.site.socket();
        let idle = calls::connect(&socket).await;
        assert_eq!(
            calls::secret(&idle).await,
            world.canaries.value[0].as_bytes()
        );
        calls::good_tokens(&socket).await;
        take_away(&world, &mut Said::default());
        settle(
            &world.canaries.sweep(),
            daemon.pid(),
            "the connection reached its age limit",
            &|_| false,
        );
        drop(idle);
    });
    Ok(())
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

async fn live_and_search() {
    let world = World::build("1h").await;
    let sweep = world.canaries.sweep();
    let daemon = Daemon::start(&world.site, &world.configure(&world.full()));
    let (pid, mut said) = (daemon.pid(), Said::default());

    work(&world, &mut said).await;
    replace(&world, &mut said).await;
    settle(&sweep, pid, "all secrets were replaced", &|sighting| {
        HELD.contains(&sighting.canary.as_str()) && sighting.form.starts_with("plain")
    });
    let held: BTreeSet<_> = memory(&sweep, pid)
        .sightings
        .into_iter()
        .map(|at| at.canary)
        .collect();
    assert_eq!(
        held,
        BTreeSet::from(HELD.map(str::to_owned)),
        "control: the search finds the secrets in use"
    );

    // A rejected configuration changes nothing and leaves no copy; an empty one removes everything. For a connection that
    // stays open, the daemon keeps a copy of the last answer and nothing else.
    paste(&world, &mut said, || daemon.signal(Signal::SIGHUP));
    let idle = calls::connect(&world.site.socket()).await;
    assert_eq!(
        calls::secret(&idle).await,
        world.canaries.value[1].as_bytes()
    );
    take_away(&world, &mut said);
    settle(&sweep, pid, "the configuration was emptied", &|sighting| {
        sighting.canary == "the value" && sighting.form.starts_with("plain")
    });
    drop(idle);
    settle(&sweep, pid, "the last peer disconnected", &|_| false);

    clean(&world.around(&sweep, pid));
    search_core(&sweep, pid, world.site.path());
    let log = daemon.log();
    let records = log.lines().filter(|line| line.starts_with('{')).count();
    assert!(
        records > BAD.len() * EACH_BAD,
        "the daemon logged only {records} records"
    );
    assert!(daemon.terminate().success(), "{log}");
    clean(&world.around(&sweep, std::process::id()));
    clean(&said.search(&sweep));
}

fn clean(sightings: &[Sighting]) {
    assert!(sightings.is_empty(), "{}", list(sightings));
}

/// Exercises every operation with the first credential.
async fn work(world: &World, said: &mut Said) {
    let (socket, admin) = (world.site.socket(), world.site.admin_socket());
    let canaries = &world.canaries;
    let token = calls::good_tokens(&socket).await;
    assert!(token.starts_with(&canaries.token[0]));
    assert!(
        world.bait.served() >= 5 * GOOD,
        "the tokens came from the issuers"
    );
    said.note("an answer to a peer", calls::bad_tokens(&socket).await);
    calls::reject_and_revoke(&socket, &token, &canaries.junk).await;
    for socket in [&socket, &admin] {
        said.note(
            "an answer to junk",
            calls::malformed(socket, &canaries.junk),
        );
    }
    let value = calls::secret(&calls::connect(&socket).await).await;
    assert_eq!(value, canaries.value[0].as_bytes());
    assert!(calls::http(&socket, "/v1/secret/value").ends_with(&value));
    everything(world, said, &canaries.token[0]);
}

/// Replaces every secret: writes new values to the store, fetches them, and has the issuers issue other tokens.
async fn replace(world: &World, said: &mut Said) {
    let admin = world.site.admin_socket().display().to_string();
    // Twice: the daemon keeps the one version before the current one until its stale bound.
    for (client_secret, value) in [
        ("in between", "in between"),
        (
            world.canaries.client_secret[1].as_str(),
            world.canaries.value[1].as_str(),
        ),
    ] {
        world.site.put("clients/secret", client_secret);
        world.site.put("value", value);
        let refresh = ["refresh", "local:clients/secret", "value", "id"];
        said.run(&[&refresh[..], &["--admin-socket", &admin]].concat(), "");
    }
    world
        .bait
        .token
        .lock()
        .unwrap()
        .clone_from(&world.canaries.token[1]);
    let mut arguments: Vec<String> = (0..GOOD).map(|n| format!("good-{n}")).collect();
    arguments.splice(
        0..0,
        ["refresh".to_owned(), "--admin-socket".to_owned(), admin],
    );
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    said.run(&arguments, "");
    let socket = world.site.socket();
    let token = calls::good_tokens(&socket).await;
    assert!(token.starts_with(&world.canaries.token[1]));
    let value = calls::secret(&calls::connect(&socket).await).await;
    assert_eq!(value, world.canaries.value[1].as_bytes());
}

/// Reloads an empty configuration.
fn take_away(world: &World, said: &mut Said) {
    world.configure_bare();
    let admin = world.site.admin_socket().display().to_string();
    let output = said.run(&["reload", "--admin-socket", &admin], "");
    assert!(!output.is_empty(), "the reload reports its changes");
}

/// Searches nearly all memory of a running process.
pub(crate) fn memory(sweep: &Sweep, pid: u32) -> Memory {
    let memory = sweep.memory(pid).expect("root may read the memory");
    assert!(
        Path::new(&format!("/proc/{pid}/environ")).exists(),
        "the process is running"
    );
    assert!(
        memory.readable > 1024 * 1024 && memory.searched * 10 > memory.readable * 9,
        "{memory:?}"
    );
    memory
}

/// Waits until memory contains only the sightings that `may` permits.
fn settle(sweep: &Sweep, pid: u32, when: &str, may: &dyn Fn(&Sighting) -> bool) {
    let search = || {
        let mut found = memory(sweep, pid).sightings;
        found.retain(|sighting| !may(sighting));
        found
    };
    let at_once = search();
    let mut looks = 0;
    let mut gone = false;
    eventually(|| {
        looks += 1;
        gone = search().is_empty();
        gone || looks == MOST_LOOKS
    });
    println!("  when {when}, at once: {}", list(&at_once));
    assert!(gone, "when {when}, for good: {}", list(&search()));
    println!("  gone after {looks} searches");
}

/// Searches the core that a debugger running as root can take.
fn search_core(sweep: &Sweep, pid: u32, folder: &Path) {
    let prefix = folder.join("gcore");
    let made = Command::new("gcore")
        .arg("-o")
        .arg(&prefix)
        .arg(pid.to_string())
        .output();
    let core = folder.join(format!("gcore.{pid}"));
    if made.is_err() || !core.exists() {
        eprintln!("SKIP search of a core: gcore is missing or failed");
        return;
    }
    let sightings = sweep.files(&core, &|_| true);
    assert!(sightings.is_empty(), "{}", list(&sightings));
    fs::remove_file(core).unwrap();
}

/// Sightings, counted by what and where, fragments included.
pub(crate) fn list(sightings: &[Sighting]) -> String {
    let mut counts = BTreeMap::<String, usize>::new();
    for sighting in sightings {
        let place = sighting.place.split(" at ").next().unwrap_or_default();
        let form = sighting.form.split(" from ").next().unwrap_or_default();
        let what = format!("{} ({form}) in {place}", sighting.canary);
        *counts.entry(what).or_default() += 1;
    }
    if counts.is_empty() {
        return "nothing".to_owned();
    }
    let lines: Vec<_> = counts
        .iter()
        .map(|(what, count)| format!("\n    {count} × {what}"))
        .collect();
    lines.concat()
}
