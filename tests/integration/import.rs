//! `claviger import-env` moves the credentials of a `.env` file into a store.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::actor::{need_root, within_reach};
use crate::lent::ANNA;
use crate::node::{Node, run};
use crate::program::{BINARY, Finished, Program, claviger, finish};
use crate::table;

table![
    a_credential_moves_and_a_running_daemon_uses_it,
    a_dry_run_reports_everything_and_changes_nothing,
    a_wrong_secret_changes_nothing_and_has_a_remedy,
    remaining_variables_are_reported_as_text_and_as_json,
    check_reminds_until_the_secret_is_replaced,
    mistakes_have_their_exit_codes_and_remedies,
    another_users_file_is_refused_before_anything_happens,
    the_secret_is_not_visible_to_other_processes_during_the_import,
];

/// A node whose client's secret in the store is not the issuer's, and a file that has the right one.
fn outdated() -> (Node, PathBuf) {
    let node = run(Node::new());
    node.put_client_secret("an older one");
    let env = write(&node, &good(&node));
    (node, env)
}

fn secret(node: &Node) -> String {
    node.secrets().remove(0)
}

fn good(node: &Node) -> String {
    let (id, secret) = (node.issuer.client_id(), secret(node));
    format!("DEMO_CLIENT_ID={id}\nDEMO_CLIENT_SECRET='{secret}'\n")
}

fn write(node: &Node, text: &str) -> PathBuf {
    node.write("app.env", text)
}

fn import(node: &Node, more: &[&str]) -> Finished {
    let config = node.write_configuration();
    let env = node.path("app.env");
    let arguments = ["import-env", env.to_str().unwrap(), "--config"];
    let config = [config.to_str().unwrap()];
    let finished = claviger(&[&arguments[..], &config, more].concat());
    for hidden in node.secrets() {
        let said = [&finished.out, &finished.err];
        assert!(!said.iter().any(|said| said.contains(&hidden)), "{more:?}");
    }
    finished
}

fn imported(node: &Node, more: &[&str]) -> Value {
    let finished = import(node, &[more, &["--output", "json"]].concat());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    serde_json::from_str(&finished.out).unwrap()
}

/// The store's own list of the versions of the client's secret.
fn versions(node: &Node) -> String {
    let (store, key) = (node.path("store"), node.path("store.key"));
    let at = [
        "--store",
        store.to_str().unwrap(),
        "--key-file",
        key.to_str().unwrap(),
    ];
    claviger(&[&["file", "versions", "oauth/demo"], &at[..]].concat()).out
}

fn a_credential_moves_and_a_running_daemon_uses_it() -> Result<(), String> {
    let (node, env) = outdated();
    let program = Program::on(node);
    let node = &program.node;
    let (socket, admin) = (node.socket(), node.admin_socket());
    let (socket, admin) = (socket.to_str().unwrap(), admin.to_str().unwrap());
    let token = || claviger(&["token", "api", "--force-refresh", "--socket", socket]);
    assert_eq!(token().code, Some(78), "the daemon has the older one");

    let finished = import(node, &[]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(!env.exists());
    for word in [
        "DEMO_CLIENT_SECRET: line 2, 43 bytes\n",
        "local:oauth/demo: replaced, before version 2, now version 3\n",
        "app.env: removed",
        "claviger refresh",
    ] {
        assert!(finished.out.contains(word), "{word} in {}", finished.out);
    }
    let last = finished.out.lines().last().unwrap();
    assert!(
        last.starts_with("ROTATE NOW: local:oauth/demo#client_secret"),
        "{}",
        finished.out
    );
    assert_eq!(finished.err, "");

    let refreshed = claviger(&["refresh", "--admin-socket", admin]);
    assert_eq!(refreshed.code, Some(0), "{refreshed:?}");
    let token = token();
    assert_eq!(token.code, Some(0), "{token:?}");
    assert!(node.issuer.knows(token.out.trim_end()));
    Ok(())
}

fn a_dry_run_reports_everything_and_changes_nothing() -> Result<(), String> {
    let (node, env) = outdated();
    let before = versions(&node);
    let text = import(&node, &["--dry-run"]);
    assert_eq!(text.code, Some(0), "{text:?}");
    for word in [
        "nothing was changed",
        "DEMO_CLIENT_ID: line 1, 11 bytes\n",
        "client \"demo\", proved by token \"api\" of issuer \"demo\"",
        "local:oauth/demo: replaced, before version 2\n",
        "app.env: removed",
    ] {
        assert!(text.out.contains(word), "{word} in {}", text.out);
    }
    assert_eq!(text.err, "");
    let value = imported(&node, &["--dry-run", "--token", "wide"]);
    assert_eq!(value["dry_run"], true);
    assert_eq!(value["token"], "wide");
    assert_eq!(
        value["secrets"],
        json!([{ "secret": "local:oauth/demo", "change": "replaced", "before": "2", "version": null }])
    );
    assert_eq!(fs::read_to_string(env).unwrap(), good(&node));
    assert_eq!(versions(&node), before);
    assert_eq!(node.issuer.requests(), 0);
    Ok(())
}

fn a_wrong_secret_changes_nothing_and_has_a_remedy() -> Result<(), String> {
    let (node, env) = outdated();
    let before = versions(&node);
    let text = good(&node).replace(&secret(&node), "s3cret-that-is-wrong");
    write(&node, &text);
    for output in ["text", "json"] {
        let finished = import(&node, &["--output", output]);
        assert_eq!(finished.code, Some(78), "{finished:?}");
        assert_eq!(finished.out.contains("are unchanged"), output == "json");
        assert!(!finished.out.contains("s3cret-that-is-wrong"));
        for word in ["invalid_client", "→", "are unchanged"] {
            assert!(finished.err.contains(word), "{finished:?}");
        }
        assert!(!finished.err.contains("s3cret-that-is-wrong"));
    }
    assert_eq!(fs::read_to_string(env).unwrap(), text);
    assert_eq!(versions(&node), before);
    assert_eq!(node.issuer.requests(), 2, "each time one request");
    Ok(())
}

fn remaining_variables_are_reported_as_text_and_as_json() -> Result<(), String> {
    let (node, env) = outdated();
    let more = "PORT=1\nOAUTH_ENCRYPTION_KEY=k3y-value\np4sted-in-a-wrong-place=\n";
    // The last of those is no name, so nothing is done until it is fixed.
    write(&node, &format!("{}{more}", good(&node)));
    let finished = import(&node, &[]);
    assert!(
        finished.code == Some(64) && finished.err.contains("line 5"),
        "{finished:?}"
    );
    assert!(!finished.err.contains("p4sted"), "{finished:?}");
    let more = "PORT=1\nOAUTH_ENCRYPTION_KEY=k3y-value\np4sted_in_a_wrong_place=\n";
    write(&node, &format!("{}{more}", good(&node)));
    fs::set_permissions(&env, Permissions::from_mode(0o644)).unwrap();
    let dry = import(&node, &["--dry-run"]);
    let value = imported(&node, &[]);
    assert_eq!(value["file_is"], "rewritten");
    assert_eq!(value["marked"], true);
    assert_eq!(value["rotate_now"], "local:oauth/demo#client_secret");
    assert_eq!(value["variables"][1]["name"], "DEMO_CLIENT_SECRET");
    assert_eq!(fs::read_to_string(&env).unwrap(), more);
    assert_eq!(
        fs::metadata(&env).unwrap().permissions().mode() & 0o777,
        0o644
    );

    write(&node, &format!("{}{more}", good(&node)));
    let text = import(&node, &[]);
    for word in ["unchanged", "app.env: rewritten", "SSD"] {
        assert!(text.out.contains(word), "{word} in {}", text.out);
    }
    for said in [&dry.out, &text.out, &value.to_string()] {
        assert!(!said.contains("p4sted") && !said.contains("k3y"), "{said}");
    }
    Ok(())
}

fn check_reminds_until_the_secret_is_replaced() -> Result<(), String> {
    let (node, _env) = outdated();
    let check = |more: &[&str]| {
        let config = node.write_configuration();
        let finished = claviger(&[&["check", "--config", config.to_str().unwrap()], more].concat());
        assert_eq!(finished.code, Some(0), "{finished:?}");
        finished.out
    };
    let reminder = "! secret local:oauth/demo#client_secret: rotate it now";
    assert!(!check(&[]).contains("rotate"));
    imported(&node, &[]);
    let text = check(&[]);
    assert_eq!(text.matches(reminder).count(), 1, "{text}");
    assert_eq!(text.matches("rotate it now").count(), 1, "{text}");
    let value: Value = serde_json::from_str(&check(&["--output", "json"])).unwrap();
    let probes = value["probes"].as_array().unwrap();
    let marked = probes.iter().filter(|probe| !probe["rotate_now"].is_null());
    let marked: Vec<_> = marked.collect();
    assert_eq!(marked.len(), 1);
    assert_eq!(marked[0]["rotate_now"]["reason"], "lay_in_the_clear");
    assert!(
        marked[0]["rotate_now"]["since"]
            .as_str()
            .unwrap()
            .ends_with('Z')
    );
    node.put_client_secret("the next one");
    assert!(!check(&[]).contains("rotate"));
    Ok(())
}

fn mistakes_have_their_exit_codes_and_remedies() -> Result<(), String> {
    let (mut node, env) = outdated();
    let config = node.write_configuration();
    let missing = claviger(&[
        "import-env",
        "/no/such/.env",
        "--config",
        config.to_str().unwrap(),
    ]);
    assert!(
        missing.code == Some(66) && missing.err.contains("cannot be opened"),
        "{missing:?}"
    );
    let missing = claviger(&[
        "import-env",
        env.to_str().unwrap(),
        "--config",
        "/no/such/file",
    ]);
    assert_eq!(missing.code, Some(66), "{missing:?}");
    let usage = claviger(&["import-env"]);
    assert_eq!(usage.code, Some(64), "{usage:?}");
    for (text, more, code, word) in [
        ("A=1\ns3cret\n", &[] as &[&str], 64, "line 2"),
        ("A=1\nB='s3cret\n", &[], 64, "line 2"),
        ("A=1\nA=s3cret\n", &[], 64, "line 2"),
        ("A=1\n", &[], 64, "--prefix"),
        (
            "A_CLIENT_SECRET=1\nB_CLIENT_SECRET=1\n",
            &[],
            64,
            "A_CLIENT_SECRET, B_CLIENT_SECRET",
        ),
        ("CLIENT_SECRET=\n", &[], 64, "empty"),
        (
            "CLIENT_SECRET=1\n",
            &["--client", "other"],
            64,
            "clients: demo",
        ),
        (
            "CLIENT_SECRET=1\n",
            &["--token", "other"],
            64,
            "api, payroll, wide",
        ),
        (
            "CLIENT_SECRET=1\n",
            &["--prefix", "X_"],
            64,
            "does not set X_SECRET",
        ),
    ] {
        write(&node, text);
        let finished = import(&node, more);
        assert_eq!(finished.code, Some(code), "{text:?}: {finished:?}");
        assert!(finished.err.contains(word), "{text:?}: {finished:?}");
        assert!(!finished.err.contains("s3cret"), "{finished:?}");
        assert_eq!(finished.out, "");
        assert_eq!(fs::read_to_string(&env).unwrap(), text);
    }
    fs::rename(&env, node.path("real.env")).unwrap();
    symlink(node.path("real.env"), &env).unwrap();
    let link = import(&node, &[]);
    assert!(
        link.code == Some(64) && link.err.contains("symbolic link"),
        "{link:?}"
    );
    fs::remove_file(&env).unwrap();

    write(&node, &good(&node));
    node.put("oauth/demo", b"no object");
    let unfit = import(&node, &[]);
    assert!(
        unfit.code == Some(78) && unfit.err.contains("no JSON object"),
        "{unfit:?}"
    );
    node.more = "[clients.other]\nissuer = \"demo\"\nid = { literal = \"other\" }\n\
                 auth = { method = \"client_secret_basic\", secret = \"local:other\" }\n"
        .to_owned();
    let which = import(&node, &[]);
    assert!(
        which.code == Some(64) && which.err.contains("--client"),
        "{which:?}"
    );
    let tokenless = import(&node, &["--client", "other"]);
    assert!(
        tokenless.code == Some(64) && tokenless.err.contains("client \"other\": none"),
        "{tokenless:?}"
    );
    assert_eq!(node.issuer.requests(), 0);
    Ok(())
}

fn another_users_file_is_refused_before_anything_happens() -> Result<(), String> {
    need_root()?;
    let (node, env) = outdated();
    let config = node.write_configuration();
    fs::set_permissions(&config, Permissions::from_mode(0o644)).unwrap();
    let by_anna = || {
        let mut command = Command::new(within_reach(Path::new(BINARY)));
        std::os::unix::process::CommandExt::uid(&mut command, ANNA);
        let config = ["--config", config.to_str().unwrap()];
        command.arg("import-env").arg(&env).args(config);
        finish(&mut command, b"")
    };
    let denied = by_anna();
    assert!(
        denied.code == Some(77) && denied.err.contains("→"),
        "{denied:?}"
    );
    // She may read and write it, and still not remove it from another user's directory.
    fs::set_permissions(&env, Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(node.folder(), Permissions::from_mode(0o755)).unwrap();
    let denied = by_anna();
    assert!(
        denied.code == Some(77) && denied.err.contains("directory"),
        "{denied:?}"
    );
    assert_eq!(fs::read_to_string(&env).unwrap(), good(&node));
    assert_eq!(node.issuer.requests(), 0);
    Ok(())
}

/// While it waits for the issuer, the credential is neither in its arguments, nor in its environment, nor in a child.
fn the_secret_is_not_visible_to_other_processes_during_the_import() -> Result<(), String> {
    let (node, env) = outdated();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = node.configuration();
    let silent_url = format!("http://{}", silent.local_addr().unwrap());
    let config = node.write(
        "claviger.toml",
        &text.replace(&node.issuer.url(), &silent_url),
    );
    let child = Command::new(BINARY)
        .arg("import-env")
        .arg(&env)
        .arg("--config")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (connection, _) = silent.accept().unwrap();
    let process = PathBuf::from(format!("/proc/{}", child.id()));
    let read =
        |name: &str| String::from_utf8_lossy(&fs::read(process.join(name)).unwrap()).into_owned();
    for name in ["environ", "cmdline"] {
        let text = read(name);
        assert!(!text.is_empty(), "it is alive");
        assert!(!text.contains(&secret(&node)), "{name}");
    }
    assert!(
        read("cmdline").contains("import-env"),
        "control: the right process"
    );
    assert_eq!(
        read(&format!("task/{}/children", child.id())),
        "",
        "it starts no child"
    );
    drop((connection, silent));
    let finished = Finished::from(child.wait_with_output().unwrap());
    assert_eq!(finished.code, Some(69), "{finished:?}");
    assert!(!format!("{finished:?}").contains(&secret(&node)));
    assert_eq!(fs::read_to_string(&env).unwrap(), good(&node));
    assert_eq!(
        versions(&node).matches('\n').count(),
        3,
        "nothing is staged"
    );
    Ok(())
}
