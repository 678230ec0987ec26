//! The life of a daemon, with a search at every turn.

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

/// What may be in memory while it is held, in its plain form and in no other.
const HELD: [&str; 4] = ["the client id", "the client secret", "the value", "a token"];

pub(crate) fn stay() -> Result<(), String> {
    need_root()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(live_and_search());
    Ok(())
}

async fn live_and_search() {
    let world = World::build().await;
    let sweep = world.canaries.sweep();
    let config = world.configure(&world.full());
    let daemon = Daemon::start(&world.site, &config);
    let pid = daemon.pid();
    let mut said = Said::default();
    let (socket, admin) = (world.site.socket(), world.site.admin_socket());

    // The old credential, at work.
    let token = calls::good_tokens(&socket).await;
    assert!(token.starts_with(&world.canaries.token[0]));
    assert!(world.bait.served() >= 5 * GOOD, "they came from the issuers");
    said.note("an answer to a peer", calls::bad_tokens(&socket).await);
    calls::reject_and_revoke(&socket, &token, &world.canaries.junk).await;
    for socket in [&socket, &admin] {
        said.note("an answer to junk", calls::malformed(socket, &world.canaries.junk));
    }
    let value = calls::secret(&calls::connect(&socket).await).await;
    assert_eq!(value, world.canaries.value[0].as_bytes());
    assert!(calls::http(&socket, "/v1/secret/value").ends_with(&value));
    everything(&world, &mut said, &world.canaries.token[0]);

    // Replaced at its source, and then everywhere: the old generation is nowhere.
    replace(&world, &mut said);
    let token = calls::good_tokens(&socket).await;
    assert!(token.starts_with(&world.canaries.token[1]));
    assert_eq!(calls::secret(&calls::connect(&socket).await).await, world.canaries.value[1].as_bytes());
    settle(&sweep, pid, "everything was replaced", &|sighting| {
        HELD.contains(&sighting.canary.as_str()) && sighting.form.starts_with("plain")
    });
    let held: BTreeSet<_> = memory(&sweep, pid).sightings.into_iter().map(|at| at.canary).collect();
    assert_eq!(held, BTreeSet::from(HELD.map(str::to_owned)), "the search finds what is held");

    // A configuration with mistakes in it changes nothing and is forgotten; one without anything ends it all, also for a
    // peer that keeps its connection.
    paste(&world, &mut said, || daemon.signal(Signal::SIGHUP));
    let idle = calls::connect(&socket).await;
    assert_eq!(calls::secret(&idle).await, world.canaries.value[1].as_bytes());
    world.configure_bare();
    let reload = ["reload", "--admin-socket", &admin.display().to_string()].map(str::to_owned);
    said.run(&reload.each_ref().map(String::as_str), "");
    settle(&sweep, pid, "everything was taken away", &|_| false);
    drop(idle);

    let around = world.around(&sweep, pid);
    assert!(around.is_empty(), "{}", list(&around));
    search_core(&sweep, pid, world.site.path());
    assert!(daemon.log_files().iter().all(|log| log.exists()));
    let events = daemon.log().lines().filter(|line| line.starts_with('{')).count();
    assert!(events > BAD.len() * EACH_BAD, "the daemon logged {events} records only");

    let log = daemon.log();
    assert!(daemon.terminate().success(), "{log}");
    let around = world.around(&sweep, std::process::id());
    assert!(around.is_empty(), "{}", list(&around));
    let told = said.search(&sweep);
    assert!(told.is_empty(), "{}", list(&told));
}

/// Puts new values into the store, has them fetched, and lets the issuers give other tokens.
fn replace(world: &World, said: &mut Said) {
    world.site.put("clients/secret", &world.canaries.client_secret[1]);
    world.site.put("value", &world.canaries.value[1]);
    world.bait.token.lock().unwrap().clone_from(&world.canaries.token[1]);
    let admin = world.site.admin_socket().display().to_string();
    said.run(&["refresh", "local:clients/secret", "value", "--admin-socket", &admin], "");
    let mut arguments: Vec<String> = (0..GOOD).map(|n| format!("good-{n}")).collect();
    arguments.splice(0..0, ["refresh".to_owned(), "--admin-socket".to_owned(), admin]);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    said.run(&arguments, "");
}

/// The memory of a living process, nearly all of it.
pub(crate) fn memory(sweep: &Sweep, pid: u32) -> Memory {
    let memory = sweep.memory(pid).expect("root may read it");
    assert!(Path::new(&format!("/proc/{pid}/environ")).exists(), "it is alive");
    assert!(memory.readable > 1024 * 1024 && memory.searched * 10 > memory.readable * 9, "{memory:?}");
    memory
}

/// Waits until nothing stands in memory that may not.
fn settle(sweep: &Sweep, pid: u32, when: &str, may: &dyn Fn(&Sighting) -> bool) {
    let search = || {
        let mut found = memory(sweep, pid).sightings;
        found.retain(|sighting| !may(sighting));
        found
    };
    let at_once = search();
    println!("  when {when}, at once: {}", list(&at_once));
    let clean = eventually(|| search().is_empty());
    assert!(clean, "when {when}: {}", list(&search()));
}

/// Searches what a debugger of root's can get out of the process.
fn search_core(sweep: &Sweep, pid: u32, folder: &Path) {
    let prefix = folder.join("gcore");
    let made = Command::new("gcore").arg("-o").arg(&prefix).arg(pid.to_string()).output();
    let core = folder.join(format!("gcore.{pid}"));
    if made.is_err() || !core.exists() {
        eprintln!("SKIP search of a core: there is no gcore, or it makes none");
        return;
    }
    let sightings = sweep.files(&core, &|_| true);
    assert!(sightings.is_empty(), "{}", list(&sightings));
    fs::remove_file(core).unwrap();
}

/// Sightings, counted by what and where.
pub(crate) fn list(sightings: &[Sighting]) -> String {
    let mut counts = BTreeMap::<String, usize>::new();
    for sighting in sightings {
        let place = sighting.place.split(" at ").next().unwrap_or_default();
        let what = format!("{} ({}) in {place}", sighting.canary, sighting.form);
        *counts.entry(what).or_default() += 1;
    }
    if counts.is_empty() {
        return "nothing".to_owned();
    }
    let lines: Vec<_> = counts.iter().map(|(what, count)| format!("\n    {count} × {what}")).collect();
    lines.concat()
}
