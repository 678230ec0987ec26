//! The subcommands as a shell runs them: arguments and standard input in, text or JSON and an exit code out.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::error::Error as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, UNIX_EPOCH};

use clap::{CommandFactory as _, Parser};
use serde_json::Value;
use tempfile::TempDir;

use super::*;

#[derive(Debug, Parser)]
#[command(name = "claviger file")]
struct Line {
    #[command(subcommand)]
    command: FileCommand,
}

/// A directory, and a shell in it.
struct Shell {
    home: TempDir,
    /// The answers to prompts, in order; `None` if input is not a terminal.
    typed: Option<RefCell<VecDeque<&'static str>>>,
    out_is_terminal: bool,
}

/// The result of a command.
#[derive(Debug)]
struct Done {
    out: Vec<u8>,
    result: Result<(), Error>,
}

impl Done {
    fn ok(self) -> String {
        self.result.unwrap();
        String::from_utf8(self.out).unwrap()
    }

    fn json(self) -> Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// Asserts the exit code and returns the message with its causes.
    fn failed(self, code: u8) -> String {
        assert!(self.out.is_empty(), "nothing is printed");
        let error = self.result.unwrap_err();
        assert_eq!(error.exit().code(), code, "{error}");
        let mut said = error.to_string();
        let mut next = error.source();
        while let Some(source) = next {
            said = format!("{said}: {source}");
            next = source.source();
        }
        said
    }
}

impl Shell {
    fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            typed: None,
            out_is_terminal: false,
        }
    }

    /// A shell with a store at `s` and its key at `k`.
    fn with_store() -> Self {
        let shell = Self::new();
        shell.run("init --store s --generate-key k", "").ok();
        shell
    }

    fn typing(mut self, answers: &[&'static str]) -> Self {
        self.typed = Some(RefCell::new(answers.iter().copied().collect()));
        self
    }

    /// Runs a line, in which `s`, `k` and `k2` are paths in the shell's directory.
    fn run(&self, line: &str, input: impl AsRef<[u8]>) -> Done {
        self.run_as(line, input, false)
    }

    /// Runs a line on the store at `s` with the key `k`.
    fn on(&self, line: &str, input: impl AsRef<[u8]>) -> Done {
        self.run(&format!("{line} --store s --key-file k"), input)
    }

    fn run_as(&self, line: &str, input: impl AsRef<[u8]>, json: bool) -> Done {
        let words = line.split(' ').map(|word| match word {
            "s" | "k" | "k2" | "p" => self.home.path().join(word).display().to_string(),
            other => other.to_owned(),
        });
        let words = std::iter::once("claviger file".to_owned()).chain(words);
        let command = Line::try_parse_from(words).unwrap().command;
        let mut out = Vec::new();
        let result = run(
            command,
            &mut Console {
                input: &mut input.as_ref(),
                input_is_terminal: self.typed.is_some(),
                out: &mut out,
                out_is_terminal: self.out_is_terminal,
                ask: &mut |_question| {
                    let typed = self.typed.as_ref().unwrap().borrow_mut().pop_front();
                    Ok(Secret::from_text(typed.unwrap().to_owned()))
                },
            },
            json,
        );
        Done { out, result }
    }

    fn private_file(&self, name: &str, text: &str) {
        let path = self.home.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn a_secret_goes_in_and_comes_out_byte_for_byte() {
    let shell = Shell::with_store();
    let said = shell.on("put a/b", "one\n\n").ok();
    assert_eq!(
        said,
        "a/b is now at version 1; its value ends in a newline, which --trim strips\n"
    );
    assert_eq!(shell.on("get a/b", "").ok(), "one\n\n");
    assert_eq!(
        shell.on("put a/b --trim", "two\r\n").ok(),
        "a/b is now at version 2\n\
         A running daemon uses it after `claviger refresh`, or when it next fetches the value.\n"
    );
    assert_eq!(shell.on("get a/b", "").ok(), "two");
    assert_eq!(shell.on("get a/b --version 1", "").ok(), "one\n\n");
    let bytes = [0, 0xff, b'\n', 0xfe];
    shell.on("put binary", bytes).ok();
    assert_eq!(shell.on("get binary", "").out, bytes);
}

#[test]
fn what_is_stored_is_listed_for_people_and_for_programs() {
    let shell = Shell::with_store();
    assert!(shell.on("list", "").ok().contains("claviger file put"));
    for value in ["one", "two"] {
        shell.on("put oauth/billing", value).ok();
    }
    shell.on("put x", "y").ok();
    shell.on("retire oauth/billing 1", "").ok();
    let list = shell.on("list", "").ok();
    let mut lines = list.lines();
    assert_eq!(
        lines.next(),
        Some("NAME           CURRENT  VERSIONS  CHANGED")
    );
    assert!(
        lines
            .next()
            .unwrap()
            .starts_with("oauth/billing  2        2         20")
    );
    assert!(
        lines
            .next()
            .unwrap()
            .starts_with("x              1        1         20")
    );
    let versions = shell.on("versions oauth/billing", "").ok();
    let columns = versions.lines().map(|line| {
        let mut words = line.split_whitespace();
        (words.next().unwrap(), words.next().unwrap())
    });
    assert_eq!(
        columns.collect::<Vec<_>>(),
        [("VERSION", "STATE"), ("1", "retired"), ("2", "current")]
    );
    let at = "--store s --key-file k";
    let list = shell.run_as(&format!("list {at}"), "", true).json();
    assert_eq!(list[0]["name"], "oauth/billing");
    assert_eq!(list[0]["versions"], 2);
    let versions = shell
        .run_as(&format!("versions oauth/billing {at}"), "", true)
        .json();
    assert_eq!(versions[0]["state"], "retired");
    assert!(versions[1]["created"].as_str().unwrap().ends_with('Z'));
    let got = shell.run_as(&format!("get x {at}"), "", true).json();
    assert_eq!((&got["value"], &got["version"]), (&"y".into(), &"1".into()));
}

#[test]
fn one_field_is_edited_and_the_others_stay() {
    let shell = Shell::with_store();
    shell.on("put c", r#"{"client_id":"me","n":1.50}"#).ok();
    shell
        .on("put c --field client_secret --trim", "s3cret\n")
        .ok();
    assert_eq!(
        shell.on("get c", "").ok(),
        r#"{"client_id":"me","n":1.50,"client_secret":"s3cret"}"#
    );
    assert_eq!(shell.on("get c --field client_secret", "").ok(), "s3cret");
    assert_eq!(shell.on("get c --field n", "").ok(), "1.50");
    let said = shell.on("put c --field client_secret", "").failed(64);
    assert!(said.contains("empty"), "{said}");
    let said = shell
        .on("put c --field client_secret --trim", "\n")
        .failed(64);
    assert!(said.contains("empty"), "{said}");
    assert_eq!(shell.on("get c --field client_secret", "").ok(), "s3cret");
    shell.on("put new --field f", "x").ok();
    assert_eq!(shell.on("get new", "").ok(), r#"{"f":"x"}"#);
    shell.on("put plain", "text").ok();
    shell.on("put plain --field f", "x").failed(64);
    shell.on("get plain --field f", "").failed(64);
    shell.on("get c --field absent", "").failed(66);
    shell.on("put c --field f", [0xff]).failed(64);
}

#[test]
fn a_put_is_refused_after_another_write() {
    let shell = Shell::with_store();
    shell.on("put a --new", "one").ok();
    let said = shell.on("put a --new", "x").failed(73);
    assert_eq!(
        said,
        "a exists already, at version 1; leave --new out to write its next version"
    );
    shell.on("put a --expect 1", "two").ok();
    let said = shell.on("put a --expect 1", "x").failed(73);
    assert_eq!(
        said,
        "another process wrote first; version 2 is current now"
    );
    shell.on("put b --expect 1", "x").failed(66);
    shell.on("put j", "{}").ok();
    shell.on("put j --field f --expect 1", "x").ok();
    shell.on("put j --field f --expect 1", "y").failed(73);
    shell.on("put j --field f --new", "y").failed(73);
    shell.on("put k3 --field f --expect 1", "y").failed(66);
    assert_eq!(shell.on("get j", "").ok(), r#"{"f":"x"}"#);
}

#[test]
fn a_terminal_sees_a_secret_only_if_asked_to() {
    let mut shell = Shell::with_store();
    shell.on("put a", "value").ok();
    shell.out_is_terminal = true;
    let said = shell.on("get a", "").failed(64);
    assert!(said.contains("--reveal"), "{said}");
    assert_eq!(shell.on("get a --reveal", "").ok(), "value\n");
}

#[test]
fn a_person_is_asked_for_passphrase_and_value() {
    let long = "correct horse battery";
    let shell = Shell::new().typing(&[long, long, long, "typed value", long]);
    shell.run("init --store s", "").ok();
    shell.run("put a --store s", "not read").ok();
    assert_eq!(shell.run("get a --store s", "").ok(), "typed value");
    let shell = Shell::new().typing(&[long, "something else"]);
    shell.run("init --store s", "").failed(64);
    let shell = Shell::new().typing(&["short", "short"]);
    let said = shell.run("init --store s", "").failed(78);
    assert_eq!(
        said,
        "the passphrase has 5 bytes; a new store needs 12 or more"
    );
    assert!(!shell.home.path().join("s").exists(), "nothing was made");
    let said = Shell::new().run("init --store s", "").failed(64);
    assert!(said.contains("--key-file or --passphrase-file"), "{said}");
}

#[test]
fn a_rekey_changes_what_opens_the_store() {
    let shell = Shell::with_store();
    shell.on("put a", "value").ok();
    let said = shell.on("rekey --generate-key k2", "").ok();
    assert!(said.starts_with("1 secrets at "), "{said}");
    let said = shell.on("get a", "").failed(78);
    assert!(said.contains("this key does not open the store"), "{said}");
    assert_eq!(shell.run("get a --store s --key-file k2", "").ok(), "value");
    shell.private_file("p", "correct horse battery\n");
    shell
        .run("rekey --store s --key-file k2 --new-passphrase-file p", "")
        .ok();
    assert_eq!(
        shell.run("get a --store s --passphrase-file p", "").ok(),
        "value"
    );
    shell.run("get a --store s --key-file k2", "").failed(78);
}

#[test]
fn a_key_is_taken_away_again_when_nothing_was_sealed_with_it() {
    let shell = Shell::with_store();
    shell.run("init --store s --generate-key k2", "").failed(73);
    assert!(!shell.home.path().join("k2").exists());
    shell.run("init --store s --generate-key k", "").failed(73);
    shell.on("rekey --generate-key k", "").failed(73);
    shell.on("put a", "the first key still opens it").ok();
}

#[test]
fn mistakes_have_their_exit_codes_and_remedies() {
    let shell = Shell::new();
    shell.private_file("k", "AAAA\n");
    let said = shell.run("list --store s --key-file k", "").failed(66);
    assert!(said.contains("claviger file init --store"), "{said}");
    let said = shell.run("init --store s --key-file k", "").failed(78);
    assert!(said.contains("holds 3 bytes"), "{said}");
    let shell = Shell::with_store();
    shell.on("put a", "").failed(64);
    shell.on("put a", vec![b'x'; 64 * 1024 + 1]).failed(64);
    shell.on("put a", vec![b'x'; 64 * 1024]).ok();
    let said = shell.on("get absent", "").failed(66);
    assert!(
        said.contains("secret absent; `claviger file list`"),
        "{said}"
    );
    shell.on("put oauth/billing", "x").ok();
    for line in [
        "get oauth/biling",
        "versions Oauth/Billing",
        "retire oauth/biling 1",
    ] {
        let said = shell.on(line, "").failed(66);
        assert!(said.ends_with("did you mean oauth/billing?"), "{said}");
    }
    let said = shell.on("get a --version 9", "").failed(66);
    assert!(said.contains("claviger file versions"), "{said}");
    let said = shell.on("retire a 1", "").failed(64);
    assert!(said.contains("is current"), "{said}");
    shell.run("list --store s --key-file k2", "").failed(66);
    let mode = |name: &str, mode| {
        let path = shell.home.path().join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("k", 0o644);
    let said = shell.on("list", "").failed(77);
    assert!(said.contains("chmod 600"), "{said}");
    mode("k", 0o600);
    mode("s", 0o755);
    let said = shell.on("list", "").failed(77);
    assert!(said.contains("chmod 700"), "{said}");
}

#[test]
fn no_failure_repeats_the_value() {
    let shell = Shell::with_store();
    let marker = "canary-7f3a";
    shell.on("put a", format!("[\"{marker}\"]")).ok();
    shell.on("put j", format!("{{\"f\":\"{marker}\"")).ok();
    for done in [
        shell.on("put a --field f", marker),
        shell.on("put j --field f", marker),
        shell.on("get j --field f", ""),
        shell.on("put a --new", marker),
        shell.on("put a", marker.repeat(10_000)),
    ] {
        let error = done.result.unwrap_err();
        let said = format!("{error} {error:?} {:?}", error.source());
        assert!(!said.contains(marker), "{said}");
    }
}

#[test]
fn the_arguments_are_consistent_and_the_help_teaches() {
    Line::command().debug_assert();
    for line in [
        "init --store s --generate-key k --key-file k",
        "list --store s --key-file k --passphrase-file p",
        "put a --store s --new --expect 1",
        "rekey --store s --generate-key a --new-key-file b",
        "put ../a --store s",
        "put a value --store s",
        "list",
    ] {
        let words = std::iter::once("claviger file").chain(line.split(' '));
        assert!(Line::try_parse_from(words).is_err(), "{line}");
    }
    for command in Line::command().get_subcommands_mut() {
        let help = command.render_long_help().to_string();
        assert!(command.get_about().is_some());
        let examples = help.contains("Example");
        let listing = ["list", "versions"].contains(&command.get_name());
        assert!(examples || listing, "{}", command.get_name());
    }
}

#[test]
fn times_are_written_as_rfc_3339_says() {
    for (seconds, expected) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (951_868_800, "2000-03-01T00:00:00Z"),
        (1_767_225_599, "2025-12-31T23:59:59Z"),
        (1_767_225_600, "2026-01-01T00:00:00Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
    ] {
        assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
    }
}
