//! The control: the search must find the secrets of a leaky program.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;

use crate::actor::{Actor, need_root, role};
use crate::aftermath::{allow_cores, cores_can_be_made};
use crate::leaky::VARIABLE;
use crate::secrets::{memory, runtime};
use crate::sweep::{Sighting, Sweep};
use crate::world::World;

pub(crate) fn caught() -> Result<(), String> {
    need_root()?;
    let runtime = runtime();
    let world = runtime.block_on(World::build("1h"));
    catch(&world);
    drop(runtime);
    Ok(())
}

fn catch(world: &World) {
    let canaries = &world.canaries;
    let sweep = canaries.sweep();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    allow_cores();
    let (url, ca) = world.issuer();
    let mut command = role("leaky", &[&url, ca.to_str().unwrap(), &canaries.pasted]);
    command
        .env(VARIABLE, &canaries.value[0])
        .current_dir(folder.path())
        .stderr(File::create(&log).unwrap());
    let mut leaky = Actor::start(command);
    leaky.say(&canaries.client_id);
    assert_eq!(leaky.ask(&canaries.client_secret[0]), "holds 50");
    let pid = leaky.pid();

    let held = names(&memory(&sweep, pid).sightings);
    assert!(
        held.is_superset(&set(&["an old token", "the old client secret"])),
        "{held:?}"
    );
    let around = names(&around(&sweep, pid, &log));
    // The token leaks through a derived `Debug`, the answer through an error, the rest through environment and arguments.
    let expected = [
        "an old token",
        "a bad answer",
        "the old value",
        "a pasted literal",
    ];
    assert!(around.is_superset(&set(&expected)), "{around:?}");
    core(&sweep, pid, folder.path());

    assert_eq!(leaky.ask("drop it"), "dropped");
    let residue = memory(&sweep, pid).sightings;
    println!(
        "  residue of the control: {}",
        crate::secrets::list(&residue)
    );
    let left = names(&residue);
    assert!(
        left.contains("an old token"),
        "the search covers freed memory: {left:?}"
    );

    leaky.say("crash");
    let status = leaky.reap();
    assert_eq!(status.signal(), Some(nix::libc::SIGABRT));
    if cores_can_be_made() {
        assert!(status.core_dumped(), "{status:?}");
    } else {
        eprintln!("SKIP the core of a crash: this machine writes no cores");
    }
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn names(sightings: &[Sighting]) -> BTreeSet<String> {
    sightings
        .iter()
        .map(|sighting| sighting.canary.clone())
        .collect()
}

fn around(sweep: &Sweep, pid: u32, log: &Path) -> Vec<Sighting> {
    let mut sightings = sweep.files(log, &|_| true);
    for name in ["environ", "cmdline"] {
        let path = format!("/proc/{pid}/{name}");
        sightings.extend(sweep.text(&path, &fs::read(&path).unwrap()));
    }
    sightings
}

/// A core taken by a debugger contains the secrets in use.
fn core(sweep: &Sweep, pid: u32, folder: &Path) {
    let made = Command::new("gcore")
        .arg("-o")
        .arg(folder.join("gcore"))
        .arg(pid.to_string())
        .output();
    let core = folder.join(format!("gcore.{pid}"));
    if made.is_ok() && core.exists() {
        let found = names(&sweep.files(&core, &|_| true));
        assert!(found.contains("an old token"), "{found:?}");
    } else {
        eprintln!("SKIP search of a core: gcore is missing or failed");
    }
}
