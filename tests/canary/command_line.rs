//! What operators do, and what they are told.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::daemon::BINARY;
use crate::sweep::{Sighting, Sweep};
use crate::world::World;

/// Everything that commands printed, and that no secret may be in.
#[derive(Debug, Default)]
pub(crate) struct Said {
    outputs: Vec<(String, Vec<u8>)>,
}

impl Said {
    /// Takes note of an output.
    pub(crate) fn note(&mut self, what: &str, output: impl Into<Vec<u8>>) {
        self.outputs.push((what.to_owned(), output.into()));
    }

    /// Runs a command of the binary and takes note of what it says. Returns its output.
    pub(crate) fn run(&mut self, arguments: &[&str], input: &str) -> Vec<u8> {
        let output = claviger(arguments, input);
        self.note(&arguments.join(" "), output.clone());
        output
    }

    /// Searches all of it.
    pub(crate) fn search(&self, sweep: &Sweep) -> Vec<Sighting> {
        let outputs = self.outputs.iter();
        outputs.flat_map(|(what, text)| sweep.text(&format!("what `{what}` said"), text)).collect()
    }
}

/// Runs a command of the binary, and returns what it said on both outputs.
pub(crate) fn claviger(arguments: &[&str], input: &str) -> Vec<u8> {
    let mut child = Command::new(BINARY)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads nothing may have gone already.
    let _written = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    [output.stdout, output.stderr].concat()
}

/// Every command, for people and for programs. Those that are entitled to a secret must give it, and are not taken note of.
pub(crate) fn everything(world: &World, said: &mut Said, token: &str) {
    let path = |path: std::path::PathBuf| path.display().to_string();
    let (socket, admin) = (path(world.site.socket()), path(world.site.admin_socket()));
    let (store, key) = (path(world.site.store()), path(world.site.key()));
    let config = path(world.site.path().join("claviger.toml"));
    let pid = std::process::id().to_string();
    for output in ["text", "json"] {
        let mut run = |arguments: &[&str]| {
            said.run(&[arguments, &["--output", output]].concat(), "");
        };
        run(&["status", "--admin-socket", &admin]);
        run(&["check", "--config", &config]);
        run(&["check", "--config", &config, "--offline"]);
        for action in ["token", "revoke"] {
            run(&["explain", "good-0", "--action", action, "--pid", &pid, "--admin-socket", &admin]);
        }
        run(&["explain", "value", "--action", "secret", "--user", "0", "--admin-socket", &admin]);
        run(&["reload", "--admin-socket", &admin]);
        run(&["refresh", "--admin-socket", &admin]);
        run(&["refresh", "good-4", "in-error-0", "local:value", "--admin-socket", &admin]);
        run(&["token", "in-error-1", "--socket", &socket]);
        run(&["token", "not-configured", "--socket", &socket]);
        run(&["file", "list", "--store", &store, "--key-file", &key]);
        run(&["file", "versions", "value", "--store", &store, "--key-file", &key]);
        run(&["file", "get", "value", "--store", &store, "--key-file", &config]);
        run(&["file", "get", "not-there", "--store", &store, "--key-file", &key]);
        run(&["completions", "bash"]);
        run(&["man"]);
    }
    for arguments in [
        vec!["token", "good-5", "--socket", &socket],
        vec!["token", "good-5", "--socket", &socket, "--output", "json"],
    ] {
        let output = String::from_utf8(claviger(&arguments, "")).unwrap();
        assert!(output.contains(token), "{arguments:?} gives the token");
    }
    let get = ["file", "get", "value", "--store", &store, "--key-file", &key];
    let value = String::from_utf8(claviger(&get, "")).unwrap();
    assert!(value.contains(&world.canaries.value[0]), "{get:?} gives {value}");
}

/// Somebody pastes a secret into the configuration, in a right place and in one that is no TOML at all.
pub(crate) fn paste(world: &World, said: &mut Said, mut hang_up: impl FnMut()) {
    let admin = world.site.admin_socket().display().to_string();
    let config = world.site.path().join("claviger.toml").display().to_string();
    let pasted = &world.canaries.pasted;
    for mistake in [
        format!(
            "[clients.pasted]\nissuer = \"n0\"\nid = \"local:clients/id\"\n\
             auth = {{ method = \"client_secret_basic\", secret = \"{pasted}\" }}\n"
        ),
        format!("[secrets.pasted]\nreference = \"local:value\"\npassword = \"{pasted}\"\nrefresh = \"{pasted}\"\n"),
        format!("[secrets.pasted]\nreference = {pasted}\n"),
        format!("[secrets.{pasted}\nreference = \"{pasted}\n"),
    ] {
        world.configure(&format!("{}\n{mistake}", world.full()));
        hang_up();
        for output in ["text", "json"] {
            said.run(&["reload", "--admin-socket", &admin, "--output", output], "");
            said.run(&["check", "--config", &config, "--output", output], "");
        }
        let text = fs::read_to_string(&config).unwrap();
        assert!(text.contains(pasted), "the mistake is there to be found");
    }
}
