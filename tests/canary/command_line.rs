//! Operators' commands and their output.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::daemon::BINARY;
use crate::sweep::{Sighting, Sweep};
use crate::world::World;

/// The output of all commands, which must not contain a secret.
#[derive(Debug, Default)]
pub(crate) struct Said {
    outputs: Vec<(String, Vec<u8>)>,
}

impl Said {
    /// Records an output.
    pub(crate) fn note(&mut self, what: &str, output: impl Into<Vec<u8>>) {
        self.outputs.push((what.to_owned(), output.into()));
    }

    /// Runs a command of the binary and records its output. Returns the output.
    pub(crate) fn run(&mut self, arguments: &[&str], input: &str) -> Vec<u8> {
        let output = claviger(arguments, input);
        self.note(&arguments.join(" "), output.clone());
        output
    }

    /// Whether any output contains `word`.
    fn heard(&self, word: &str) -> bool {
        let mut outputs = self.outputs.iter();
        outputs.any(|(_, text)| String::from_utf8_lossy(text).contains(word))
    }

    /// Searches all recorded output.
    pub(crate) fn search(&self, sweep: &Sweep) -> Vec<Sighting> {
        let outputs = self.outputs.iter();
        outputs
            .flat_map(|(what, text)| sweep.text(&format!("what `{what}` said"), text))
            .collect()
    }
}

/// Runs a command of the binary, and returns its standard output and error.
pub(crate) fn claviger(arguments: &[&str], input: &str) -> Vec<u8> {
    let mut child = Command::new(BINARY)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads no input may have exited already.
    let _written = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    [output.stdout, output.stderr].concat()
}

/// Runs every command, with text and JSON output, successful and failing. Commands that must print a secret are checked for
/// it, and not recorded.
pub(crate) fn everything(world: &World, said: &mut Said, token: &str) {
    let path = |path: PathBuf| path.display().to_string();
    let socket = format!("--socket {}", path(world.site.socket()));
    let admin = format!("--admin-socket {}", path(world.site.admin_socket()));
    let store = format!("--store {} --key-file", path(world.site.store()));
    let key = path(world.site.key());
    let config = path(world.site.path().join("claviger.toml"));
    let pid = std::process::id();
    for output in ["text", "json"] {
        for command in [
            format!("status {admin}"),
            format!("check --config {config}"),
            format!("check --config {config} --offline"),
            format!("explain good-0 --pid {pid} {admin}"),
            format!("explain good-0 --action revoke --pid {pid} {admin}"),
            format!("explain value --action secret --user 0 {admin}"),
            format!("reload {admin}"),
            format!("refresh {admin}"),
            format!("refresh good-4 in-error-0 local:value {admin}"),
            format!("token in-error-1 {socket}"),
            format!("token not-configured {socket}"),
            format!("file list {store} {key}"),
            format!("file versions value {store} {key}"),
            format!("file get value {store} {config}"),
            format!("file get not-there {store} {key}"),
            "completions bash".to_owned(),
            "man".to_owned(),
        ] {
            said.run(&words(&format!("{command} --output {output}")), "");
        }
    }
    work_on_stores(world, said);
    for (command, entitled) in [
        (format!("token good-5 {socket}"), token),
        (format!("token good-5 {socket} --output json"), token),
        (
            format!("file get value {store} {key}"),
            &world.canaries.value[0],
        ),
    ] {
        let output = String::from_utf8(claviger(&words(&command), "")).unwrap();
        assert!(output.contains(entitled), "{command} prints its secret");
    }
}

/// Commands that write to a store with a secret as input, successful and failing.
fn work_on_stores(world: &World, said: &mut Said) {
    let path = |path: PathBuf| path.display().to_string();
    let (store, key) = (
        format!("--store {} --key-file", path(world.site.store())),
        path(world.site.key()),
    );
    let config = path(world.site.path().join("claviger.toml"));
    let (value, phrased) = (&world.canaries.value[0], world.phrased());
    let (phrased_store, passphrase) = (path(world.phrased_store()), path(world.passphrase_file()));
    let spare = format!(
        "--store {} --generate-key",
        path(world.site.path().join("spare"))
    );
    for command in [
        format!(
            "file init {spare} {}",
            path(world.site.path().join("spare.key"))
        ),
        format!("file put extra {store} {key}"),
        format!("file put fields --field a {store} {key}"),
        format!("file put fields --field a --expect 7 {store} {key}"),
        format!("file put value --field a {store} {key}"),
        format!("file put value --new {store} {key}"),
        format!("file put extra --trim {store} {key}"),
        format!("file retire extra 1 {store} {key}"),
        format!("file retire extra 2 {store} {key}"),
        format!("file put id {store} {config}"),
        format!("file rekey {phrased} --new-passphrase-file {passphrase}"),
        format!("file rekey {store} {key} --new-passphrase-file {phrased_store}"),
        format!(
            "file rekey --store {phrased_store} --key-file {key} --new-passphrase-file {passphrase}"
        ),
        format!("file list {phrased}"),
    ] {
        said.run(&words(&command), value);
    }
    for word in [
        "created a store",
        "is now at version 2",
        "is destroyed",
        "re-encrypted",
    ] {
        assert!(said.heard(word), "control: some output contains: {word}");
    }
    import(world, said);
}

/// Imports the credential from a file into the backend repeatedly, with every kind of failure.
fn import(world: &World, said: &mut Said) {
    let env = world.site.path().join(".env");
    let config = world.site.path().join("claviger.toml");
    let canaries = &world.canaries;
    let (id, secret) = (&canaries.client_id, &canaries.client_secret[0]);
    let good = format!("CLIENT_ID='{id}'\nCLIENT_SECRET='{secret}'\n");
    let mut run = |text: &str, more: &str| {
        fs::write(&env, text).unwrap();
        let (env, config) = (env.display(), config.display());
        let command = format!("import-env {env} --config {config} --client n0 {more}");
        String::from_utf8(said.run(&words(&command), "")).unwrap()
    };
    for output in ["text", "json"] {
        for (more, is_moved) in [
            ("--token good-0 --dry-run", false),
            ("--token echoed-secret-0", false),
            ("--token in-error-0", false),
            ("--token status-500-0", false),
            ("--token good-0", true),
        ] {
            // With the secret already present there is nothing to write.
            world.site.put("clients/secret", "an older one");
            let printed = run(&good, &format!("{more} --output {output}"));
            assert_eq!(env.exists(), !is_moved, "{more}: {printed}");
        }
        let pasted = &canaries.pasted;
        for text in [
            format!("{good}{pasted}\n"),
            format!("{good}{pasted}=\n"),
            format!("{good}{pasted}=1\n{pasted}=2\n"),
            format!("{good}A='{pasted}\n"),
            format!("{good}A='{pasted}' {pasted}\n"),
            format!("CLIENT_ID='{id}'\nCLIENT_SECRET=${pasted}\n"),
        ] {
            run(&text, &format!("--token in-error-0 --output {output}"));
        }
        world.site.put("clients/secret", secret);
    }
    fs::remove_file(&env).unwrap();
}

pub(crate) fn words(command: &str) -> Vec<&str> {
    command.split_ascii_whitespace().collect()
}

/// Pastes a secret into the configuration, once as a value and once as invalid TOML.
pub(crate) fn paste(world: &World, said: &mut Said, mut hang_up: impl FnMut()) {
    let admin = world.site.admin_socket().display().to_string();
    let config = world
        .site
        .path()
        .join("claviger.toml")
        .display()
        .to_string();
    let pasted = &world.canaries.pasted;
    for mistake in [
        format!(
            "[clients.pasted]\nissuer = \"n0\"\nid = \"local:clients/id\"\n\
             auth = {{ method = \"client_secret_basic\", secret = \"{pasted}\" }}\n"
        ),
        format!(
            "[secrets.pasted]\nreference = \"local:value\"\npassword = \"{pasted}\"\nrefresh = \"{pasted}\"\n"
        ),
        format!("[secrets.pasted]\nreference = {pasted}\n"),
        format!("[secrets.{pasted}\nreference = \"{pasted}\n"),
    ] {
        world.configure(&format!("{}\n{mistake}", world.full()));
        hang_up();
        for output in ["text", "json"] {
            said.run(
                &["reload", "--admin-socket", &admin, "--output", output],
                "",
            );
            said.run(&["check", "--config", &config, "--output", output], "");
        }
        let text = fs::read_to_string(&config).unwrap();
        assert!(
            text.contains(pasted),
            "control: the configuration contains the literal"
        );
    }
}
