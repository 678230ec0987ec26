//! A credential's way out of a `.env` file, with a real authorization server to prove it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::Site;
use crate::support::daemon::BINARY;
use crate::support::oidc::AWKWARD_SECRET;
use crate::world::{Plan, World};

fn claviger(arguments: &[&str]) -> Output {
    let output = Command::new(BINARY).args(arguments).output();
    output.expect("the binary runs")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("our paths are UTF-8")
}

/// Runs the import of `env` for a client, proved by its token of the name `token`.
fn import(site: &Site, env: &Path, [client, token]: [&str; 2]) -> Output {
    let config = site.path().join("claviger.toml");
    let arguments = ["import-env", text(env), "--config", text(&config)];
    let said = claviger(&[&arguments[..], &["--client", client, "--token", token]].concat());
    for said in [&said.stdout, &said.stderr] {
        assert!(!String::from_utf8_lossy(said).contains(AWKWARD_SECRET));
    }
    said
}

/// A value in double quotes, as a person would write it whose secret has every kind of quote in it.
fn quoted(value: &str) -> String {
    let escape = |sign: char| match sign {
        '"' | '\\' | '$' | '`' => format!("\\{sign}"),
        other => other.to_string(),
    };
    format!("\"{}\"", value.chars().map(escape).collect::<String>())
}

fn write(site: &Site, lines: &str) -> PathBuf {
    let env = site.path().join("app.env");
    fs::write(&env, lines).expect("writable");
    env
}

/// The versions of a secret, as the store lists them.
fn versions(site: &Site, name: &str) -> Vec<u8> {
    let (store, key) = (site.store(), site.key());
    let at = ["--store", text(&store), "--key-file", text(&key)];
    claviger(&[&["file", "versions", name], &at[..]].concat()).stdout
}

/// Whether the daemon gets a token now, after it was told to look for new secrets.
fn daemon_gets(world: &World, token: &str) -> bool {
    let (socket, admin) = (world.site.socket(), world.site.admin_socket());
    let told = claviger(&[
        "refresh",
        "local:clients/awkward",
        "--admin-socket",
        text(&admin),
    ]);
    assert!(told.status.success(), "{told:?}");
    let got = claviger(&["token", token, "--socket", text(&socket)]);
    got.status.success()
}

#[tokio::test]
async fn a_right_credential_is_imported_and_used() {
    let Some(plan) = Plan::draw("a_right_credential_is_imported_and_used") else {
        return;
    };
    plan.site.put("clients/awkward", "an older secret");
    let world = plan.token("api", "odd", "").start().await;
    assert!(!daemon_gets(&world, "api"));
    let mark = world.provider.mark().await;
    let lines = format!(
        "# the app\nexport OAUTH_CLIENT_ID='cc:b&sic+2'\nOAUTH_CLIENT_SECRET={}\n",
        quoted(AWKWARD_SECRET)
    );
    let env = write(&world.site, &lines);
    let said = import(&world.site, &env, ["odd", "api"]);
    assert!(said.status.success(), "{said:?}");
    assert!(!env.exists());
    assert_eq!(world.provider.token_requests(mark).await, 1, "the proof");
    assert!(daemon_gets(&world, "api"));
    let grants = world.provider.grants(mark).await;
    let good = grants.iter().filter(|entry| entry["ev"] == "grant.success");
    assert_eq!((good.count(), grants.len()), (2, 2));
}

#[tokio::test]
async fn a_wrong_credential_is_refused_and_nothing_changes() {
    let Some(plan) = Plan::draw("a_wrong_credential_is_refused_and_nothing_changes") else {
        return;
    };
    let world = plan.token("api", "odd", "").start().await;
    assert!(daemon_gets(&world, "api"));
    let names = ["clients/odd-id", "clients/awkward"];
    let before = names.map(|name| versions(&world.site, name));
    let mark = world.provider.mark().await;
    let right = quoted(AWKWARD_SECRET);
    for (id, secret) in [("cc:b&sic+2", "'not-the-secret'"), ("unregistered", &right)] {
        let lines = format!("CLIENT_ID='{id}'\nCLIENT_SECRET={secret}\n");
        let env = write(&world.site, &lines);
        let said = import(&world.site, &env, ["odd", "api"]);
        assert_eq!(said.status.code(), Some(78), "{said:?}");
        let told = String::from_utf8_lossy(&said.stderr);
        assert!(told.contains("are unchanged"), "{told}");
        assert!(!told.contains("not-the-secret"), "{told}");
        assert_eq!(fs::read_to_string(&env).expect("it is there"), lines);
    }
    assert_eq!(world.provider.token_requests(mark).await, 2, "no retries");
    assert_eq!(names.map(|name| versions(&world.site, name)), before);
    assert!(daemon_gets(&world, "api"));
}
