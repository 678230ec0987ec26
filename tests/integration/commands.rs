//! The command line, as people and scripts use it.

use std::fs::{File, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::actor::{Actor, need_root, role, within_reach};
use crate::lent::{ANNA, Lent};
use crate::node::{Node, own_uid, run};
use crate::program::{BINARY, Finished, Program, claviger, finish};
use crate::table;

table![
    every_command_explains_itself,
    usage_errors_have_their_own_exit_code,
    a_token_is_printed_for_people_and_for_programs,
    refusals_have_exit_codes_and_remedies,
    status_lists_cached_tokens_without_secrets,
    explain_decides_as_a_request_would,
    refresh_and_reload_report_what_they_did,
    check_finds_what_the_daemon_would,
    without_a_daemon_every_command_says_how_to_start_one,
    an_impostor_receives_no_request,
    a_store_is_filled_and_read_back,
    a_closed_output_causes_no_panic,
    commands_without_json_output_say_so,
];

/// A command against a daemon's sockets.
fn against(node: &Node, arguments: &[&str]) -> Finished {
    let socket = match arguments[0] {
        "token" | "revoke" => ["--socket".into(), node.socket()],
        _ => ["--admin-socket".into(), node.admin_socket()],
    };
    finish(Command::new(BINARY).args(arguments).args(socket), b"")
}

/// The same, as JSON.
fn json(node: &Node, arguments: &[&str]) -> Value {
    let finished = against(node, &[arguments, &["--output", "json"]].concat());
    serde_json::from_str(&finished.out).unwrap_or_else(|_| panic!("not JSON: {finished:?}"))
}

fn every_command_explains_itself() -> Result<(), String> {
    let help = claviger(&["--help"]);
    assert_eq!(help.code, Some(0));
    let file = claviger(&["file", "--help"]);
    for (parent, help) in [(&[] as &[&str], help), (&["file"], file)] {
        let list = help
            .out
            .split("Commands:")
            .nth(1)
            .unwrap()
            .split("\n\n")
            .next()
            .unwrap();
        let words = list
            .lines()
            .filter_map(|line| line.split_ascii_whitespace().next());
        let commands: Vec<&str> = words.filter(|word| *word != "help").collect();
        assert!(commands.len() > 5, "{commands:?}");
        for command in commands {
            let finished = claviger(&[parent, &[command, "--help"]].concat());
            assert_eq!(finished.code, Some(0), "{command}");
            assert!(
                finished.out.contains("Usage: claviger"),
                "{command}: {}",
                finished.out
            );
            assert_eq!(finished.err, "", "{command}");
        }
    }
    assert!(claviger(&["--version"]).out.starts_with("claviger "));
    assert!(claviger(&["man"]).out.contains(".TH claviger"));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            claviger(&["completions", shell]).out.contains("claviger"),
            "{shell}"
        );
    }
    Ok(())
}

fn usage_errors_have_their_own_exit_code() -> Result<(), String> {
    for arguments in [
        &[] as &[&str],
        &["no-such-command"],
        &["token"],
        &["token", "a", "b"],
        &["token", "a", "--min-remaining", "soon"],
        &["status", "--output", "xml"],
        &["explain", "api"],
        &["explain", "api", "--pid", "1", "--user", "2"],
        &["completions", "no-shell"],
    ] {
        let finished = claviger(arguments);
        assert_eq!(finished.code, Some(64), "{arguments:?}: {finished:?}");
        assert_eq!(finished.out, "", "{arguments:?}");
        assert!(!finished.err.is_empty());
    }
    Ok(())
}

fn a_token_is_printed_for_people_and_for_programs() -> Result<(), String> {
    let program = Program::on(run(Node::new()));
    let text = against(&program.node, &["token", "api"]);
    assert_eq!(text.code, Some(0), "{text:?}");
    let token = text.out.trim_end();
    assert!(
        program.node.issuer.knows(token),
        "the token alone, and a line end"
    );
    let json = json(&program.node, &["token", "api", "--scope", "read:demo"]);
    assert_eq!(json["scopes"], serde_json::json!(["read:demo"]));
    for field in [
        "access_token",
        "token_type",
        "expires_in",
        "expires_at",
        "freshness",
        "generation",
        "fingerprint",
    ] {
        assert!(!json[field].is_null(), "{field}");
    }
    let forced = against(&program.node, &["token", "api", "--force-refresh"]);
    assert_ne!(forced.out, text.out);
    Ok(())
}

fn refusals_have_exit_codes_and_remedies() -> Result<(), String> {
    let mut node = run(Node::new());
    node.put_client_secret("not the secret");
    node.limits = "requests_per_second = 1000\nrequest_burst = 1000".to_owned();
    let program = Program::on(node);
    for (arguments, code, word) in [
        (&["token", "payroll"] as &[&str], 77, "DENIED"),
        (&["token", "no-such"], 77, "DENIED"),
        (&["token", "api", "--scope", "a b"], 64, "INVALID_REQUEST"),
        (
            &["token", "api", "--scope", "read:payroll"],
            64,
            "SCOPES_NOT_CONFIGURED",
        ),
        (&["token", "api"], 78, "INVALID_CLIENT"),
        (&["refresh", "no-such"], 64, "could not be refreshed"),
        (&["refresh", "api"], 78, "could not be refreshed"),
        (
            &["explain", "api", "--pid", "4194303"],
            64,
            "INVALID_REQUEST",
        ),
    ] {
        let finished = against(&program.node, arguments);
        assert_eq!(finished.code, Some(code), "{arguments:?}: {finished:?}");
        assert!(finished.err.contains(word), "{arguments:?}: {finished:?}");
        for secret in program.node.secrets() {
            assert!(!finished.err.contains(&secret) && !finished.out.contains(&secret));
        }
    }
    let denied = against(&program.node, &["token", "payroll"]);
    assert!(denied.err.contains("→ Ask an operator"), "{denied:?}");
    assert_eq!(denied.out, "");
    let mistake = against(&program.node, &["token", "api"]);
    assert!(!mistake.err.contains("try again"), "{mistake:?}");
    let denied = against(&program.node, &["token", "payroll", "--output", "json"]);
    let value: Value = serde_json::from_str(&denied.out).unwrap();
    let error = &value["error"];
    assert_eq!(
        (&error["reason"], &error["exit"]),
        (&"DENIED".into(), &77.into())
    );
    assert!(!denied.err.is_empty(), "{denied:?}");
    Ok(())
}

fn status_lists_cached_tokens_without_secrets() -> Result<(), String> {
    let program = Program::on(run(Node::new()));
    let token = against(&program.node, &["token", "api"]).out;
    let text = against(&program.node, &["status"]);
    assert_eq!(text.code, Some(0), "{text:?}");
    for word in [
        "ready",
        "api",
        "local:oauth/demo#client_secret",
        "file backend",
        "no core dumps",
    ] {
        assert!(text.out.contains(word), "{word} in {}", text.out);
    }
    let json = json(&program.node, &["status"]);
    assert_eq!(json["ready"], true);
    assert_eq!(json["pid"], program.pid());
    let api = json["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .find(|token| token["name"] == "api");
    assert_eq!(api.unwrap()["entries"][0]["upstream_requests"], 1);
    assert!(json["protections"].as_array().unwrap().len() >= 5);
    for hidden in program
        .node
        .secrets()
        .iter()
        .map(String::as_str)
        .chain([token.trim_end()])
    {
        assert!(!text.out.contains(hidden) && !json.to_string().contains(hidden));
    }
    Ok(())
}

fn explain_decides_as_a_request_would() -> Result<(), String> {
    let mut node = run(Node::new());
    node.rules
        .push_str("[[allow]]\nunit = \"billing.service\"\ntokens = [\"payroll\"]\n");
    let program = Program::on(node);
    let own = std::process::id().to_string();
    let text = against(&program.node, &["explain", "api", "--pid", &own]);
    assert!(
        text.code == Some(0) && text.out.contains("allowed"),
        "{text:?}"
    );
    let denied = against(&program.node, &["explain", "payroll", "--pid", &own]);
    assert!(
        denied.code == Some(77) && denied.out.contains("denied"),
        "{denied:?}"
    );
    let unit = json(
        &program.node,
        &["explain", "payroll", "--unit", "billing.service"],
    );
    assert_eq!(
        (&unit["allowed"], &unit["rule"]),
        (&Value::Bool(true), &Value::from(2))
    );
    let typo = json(&program.node, &["explain", "payrol", "--user", "42001"]);
    assert_eq!(
        typo["reason"],
        "the configuration has no token \"payrol\"; did you mean \"payroll\"?"
    );
    let secret = ["explain", "api", "--action", "secret", "--user", "1"];
    assert_eq!(
        json(&program.node, &secret)["reason"],
        "the configuration has no secret \"api\""
    );
    let overflow = json(&program.node, &["explain", "api", "--user", "65534"]);
    assert_eq!(overflow["allowed"], false);
    let reason = overflow["reason"].as_str().unwrap();
    assert!(reason.starts_with("UNIDENTIFIED: "), "{reason}");
    let user = json(&program.node, &["explain", "payroll", "--user", "42001"]);
    assert_eq!(user["allowed"], false);
    assert_eq!(
        user["rules"].as_array().unwrap().len(),
        2,
        "how each rule compares"
    );
    Ok(())
}

fn refresh_and_reload_report_what_they_did() -> Result<(), String> {
    let mut program = Program::on(run(Node::new()));
    against(&program.node, &["token", "api"]);
    let text = against(&program.node, &["refresh"]);
    assert!(
        text.code == Some(0) && text.out.contains("renewed"),
        "{text:?}"
    );
    let named = json(&program.node, &["refresh", "api"]);
    assert_eq!(named["results"][0]["changed"], true, "{named}");
    let issuer = json(&program.node, &["refresh", "--issuer", "demo"]);
    let results = issuer["results"].as_array().unwrap();
    assert_eq!(results.len(), 1, "nothing else: {issuer}");
    assert_eq!(
        (&results[0]["name"], &results[0]["ok"]),
        (&"demo".into(), &true.into()),
        "{issuer}"
    );
    let unknown = against(&program.node, &["refresh", "--issuer", "api"]);
    assert_eq!(unknown.code, Some(64), "{unknown:?}");
    let status = json(&program.node, &["status"]);
    assert_eq!(status["issuers"][0]["metadata_stale"], false, "{status}");
    let refreshes = &status["server"]["operations"][1];
    assert_eq!(refreshes["operation"], "refresh", "{status}");
    assert!(refreshes["answered"].as_u64() > Some(0), "{status}");

    let same = against(&program.node, &["reload"]);
    assert!(
        same.code == Some(0) && same.out.contains("Nothing differs"),
        "{same:?}"
    );
    program.node.rules.push_str(&format!(
        "[[allow]]\nuser = {}\ntokens = [\"payroll\"]\n",
        own_uid()
    ));
    program.node.write_configuration();
    let dry = against(&program.node, &["reload", "--dry-run"]);
    assert!(
        dry.out.contains("can be applied") && dry.out.contains("allow: changed"),
        "{dry:?}"
    );
    // Drains the notifications, as a service manager would, so that more fit.
    assert!(program.hear("READY=1"));
    let dry = json(&program.node, &["reload", "--dry-run"]);
    assert_eq!(
        (&dry["valid"], &dry["applied"], &dry["dry_run"]),
        (&true.into(), &false.into(), &true.into())
    );
    assert_eq!(
        against(&program.node, &["token", "payroll"]).code,
        Some(77),
        "not yet"
    );
    assert_eq!(json(&program.node, &["reload"])["applied"], true);
    assert_eq!(against(&program.node, &["token", "payroll"]).code, Some(0));
    program
        .node
        .write("claviger.toml", "mode = \"wrong\"\nmore = 1");
    let refused = against(&program.node, &["reload"]);
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(
        refused.err.contains("claviger.toml:1: mode")
            && refused.err.contains("claviger.toml:2: more"),
        "{refused:?}"
    );
    let refused = json(&program.node, &["reload"]);
    assert!(
        refused["problems"].as_array().unwrap().len() > 1,
        "{refused}"
    );
    let first = refused["problems"][0].as_str().unwrap();
    assert!(
        first.contains("claviger.toml:1: mode: "),
        "where it is: {first}"
    );
    Ok(())
}

fn check_finds_what_the_daemon_would() -> Result<(), String> {
    let node = run(Node::new());
    let config = node.write_configuration();
    let check = |more: &[&str]| {
        claviger(&[&["check", "--config", config.to_str().unwrap()], more].concat())
    };
    let good = check(&[]);
    assert!(
        good.code == Some(0) && good.out.contains("is valid"),
        "{good:?}"
    );
    let good = check(&["--output", "json"]);
    let value: Value = serde_json::from_str(&good.out).unwrap();
    assert_eq!(value["valid"], true);
    assert!(
        value["probes"]
            .as_array()
            .unwrap()
            .iter()
            .all(|probe| probe["ok"] == true)
    );
    assert_eq!(node.issuer.requests(), 0, "no token is requested");
    node.put("oauth/demo", b"{\"client_id\": \"x\"}");
    let missing = check(&[]);
    let wanted = "client_secret: the value has no such field";
    assert!(
        missing.code == Some(78) && missing.out.contains(wanted),
        "{missing:?}"
    );
    assert!(missing.err.contains("not be ready"), "{missing:?}");
    node.put(
        "oauth/demo",
        b"{\"client_id\": \"x\", \"client_secret\": \"changeme\"}",
    );
    let placeholder = check(&[]);
    assert!(
        placeholder.code == Some(78) && placeholder.out.contains("placeholder"),
        "{placeholder:?}"
    );
    assert_eq!(check(&["--offline"]).code, Some(0));
    let key = node.path("store.key");
    std::fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let broken = check(&["--output", "json"]);
    let value: Value = serde_json::from_str(&broken.out).unwrap();
    assert_eq!((broken.code, &value["valid"]), (Some(78), &true.into()));
    let probe = &value["probes"][0];
    assert_eq!(
        (&probe["subject"], &probe["ok"]),
        (&"backend local".into(), &false.into())
    );
    assert!(
        probe["detail"].as_str().unwrap().contains("chmod 600"),
        "{probe}"
    );
    assert!(broken.err.contains("would not start"), "{broken:?}");
    std::fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let unreachable = node
        .configuration()
        .replace(&node.issuer.url(), "http://127.0.0.1:9");
    node.write("claviger.toml", &unreachable);
    node.put_client_secret("a better secret");
    let alone = check(&[]);
    assert!(
        alone.code == Some(69) && alone.out.contains("✗ issuer demo: connection_refused: "),
        "{alone:?}"
    );
    assert!(alone.err.contains("when a token is requested"), "{alone:?}");
    let absent = unreachable.replace(
        "[issuers.demo]\n",
        "[issuers.demo]\nca = \"/nonexistent.pem\"\n",
    );
    node.write("claviger.toml", &absent);
    let unreadable = check(&[]);
    assert!(
        unreadable.code == Some(78) && unreadable.err.contains("would not start"),
        "{unreadable:?}"
    );
    node.write("claviger.toml", "mode = 5\n[tokens.x]\ngrnat = 1\n");
    let bad = check(&["--output", "json"]);
    let value: Value = serde_json::from_str(&bad.out).unwrap();
    assert!(
        bad.code == Some(78) && value["problems"].as_array().unwrap().len() > 2,
        "{bad:?}"
    );
    let first = value["problems"][0].as_str().unwrap();
    assert!(
        first.contains("claviger.toml:1: mode: "),
        "where it is: {first}"
    );
    let missing = claviger(&["check", "--config", "/no/such/file"]);
    assert_eq!(missing.code, Some(66), "{missing:?}");
    Ok(())
}

fn without_a_daemon_every_command_says_how_to_start_one() -> Result<(), String> {
    let node = run(Node::new());
    for arguments in [
        &["token", "api"] as &[&str],
        &["revoke", "api"],
        &["status"],
        &["explain", "api", "--user", "1"],
        &["refresh"],
        &["reload"],
    ] {
        let finished = against(&node, arguments);
        assert_eq!(finished.code, Some(69), "{arguments:?}: {finished:?}");
        assert!(
            finished.err.contains("no daemon is listening"),
            "{finished:?}"
        );
        assert!(
            finished.err.contains("systemctl start claviger"),
            "{finished:?}"
        );
    }
    Ok(())
}

fn an_impostor_receives_no_request() -> Result<(), String> {
    need_root()?;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let socket = folder.path().join("broker.sock");
    let socket = socket.to_str().unwrap();
    let mut impostor = Actor::start(role("squat", &[socket, &ANNA.to_string()]));
    assert_eq!(impostor.hear(), "listening");
    for arguments in [
        ["token", "api", "--socket", socket].as_slice(),
        &["status", "--admin-socket", socket],
    ] {
        let finished = claviger(arguments);
        assert_eq!(finished.code, Some(77), "{finished:?}");
        assert!(finished.err.contains("served by uid 42001"), "{finished:?}");
    }
    // The error for a user that may not connect to the admin socket names its owner and mode.
    let program = Program::on(run(Node::new()));
    let admin = program.node.admin_socket();
    let mut command = Command::new(within_reach(Path::new(BINARY)));
    std::os::unix::process::CommandExt::uid(&mut command, ANNA);
    let finished = finish(
        command.args(["status", "--admin-socket", admin.to_str().unwrap()]),
        b"",
    );
    let locked = "run/admin belongs to user root and group root, with mode 0700";
    assert!(
        finished.code == Some(77) && finished.err.contains(locked),
        "{finished:?}"
    );
    assert!(finished.err.contains("user 42001 may not"), "{finished:?}");
    drop(Lent::by(ANNA, &program.node.socket()));
    program.signal(Signal::SIGTERM);
    Ok(())
}

fn a_store_is_filled_and_read_back() -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (store, key) = (path("store"), path("key"));
    let file = |arguments: &[&str], input: &[u8]| {
        let mut command = Command::new(BINARY);
        command
            .arg("file")
            .args(arguments)
            .args(["--store", &store]);
        if arguments[0] != "init" {
            command.args(["--key-file", &key]);
        }
        finish(&mut command, input)
    };
    assert_eq!(file(&["init", "--generate-key", &key], b"").code, Some(0));
    assert_eq!(
        file(&["init", "--generate-key", &key], b"").code,
        Some(73),
        "an existing store is never overwritten"
    );
    assert!(Path::new(&key).exists());
    assert_eq!(file(&["put", "a/b"], b"value\n").code, Some(0));
    let got = file(&["get", "a/b"], b"");
    assert_eq!((got.code, got.out.as_str()), (Some(0), "value\n"));
    let listed = file(&["list", "--output", "json"], b"");
    assert!(
        listed.out.contains("a/b") && !listed.out.contains("value"),
        "{listed:?}"
    );
    assert!(file(&["versions", "a/b"], b"").out.contains('1'));
    let missing = file(&["get", "no/such"], b"");
    assert!(
        missing.code == Some(66) && !missing.err.is_empty(),
        "{missing:?}"
    );
    Ok(())
}

fn a_closed_output_causes_no_panic() -> Result<(), String> {
    let commands: &[&[&str]] = &[
        &["--help"],
        &["token", "--help"],
        &["man"],
        &["completions", "bash"],
        &["completions", "fish"],
    ];
    for arguments in commands {
        let run = |out: File| {
            let mut command = Command::new(BINARY);
            command.args(*arguments).stdin(Stdio::null());
            Finished::from(command.stdout(out).output().unwrap())
        };
        let full = run(File::options().write(true).open("/dev/full").unwrap());
        assert_eq!(full.code, Some(71), "{arguments:?}: {full:?}");
        assert!(full.err.contains("cannot write"), "{arguments:?}: {full:?}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let closed = run(File::from(OwnedFd::from(writer)));
        assert_eq!(closed.code, Some(0), "{arguments:?}: {closed:?}");
        assert_eq!(closed.err, "", "{arguments:?}: the reader had enough");
    }
    Ok(())
}

fn commands_without_json_output_say_so() -> Result<(), String> {
    let demo = cfg!(feature = "demo").then_some(&["demo"] as &[&str]);
    let others = [&["run"] as &[&str], &["man"], &["completions", "zsh"]];
    for arguments in demo.into_iter().chain(others) {
        let finished = claviger(&[arguments, &["--output", "json"]].concat());
        assert_eq!(finished.code, Some(64), "{arguments:?}: {finished:?}");
        assert_eq!(finished.out, "", "{arguments:?}");
    }
    Ok(())
}
