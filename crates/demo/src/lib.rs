//! `claviger demo`: shows all of claviger with an embedded issuer, in a few seconds.
//!
//! Owns the setup (`scene`: a folder with a sealed store, a key and a configuration), the issuer on loopback ([`issuer`]), and
//! the steps of the demo. It takes no shortcuts: the store is filled by `claviger file`, the daemon is a child process started
//! by `claviger run`, and each client is a separate process. The issuer is compiled in only for the demo and for tests; no
//! daemon ever starts it.

#![forbid(unsafe_code)]

mod error;
mod interruption;
pub mod issuer;
mod scene;

use std::io::Write;
use std::path::PathBuf;

use serde_json::Value;

pub use error::Error;
use interruption::Interruption;
use issuer::Issuer;
use scene::Scene;

/// Runs the demo; with `stay` the daemon keeps running until the demo is interrupted.
///
/// # Errors
/// If a step has an unexpected result: the demo is also a test of the whole system. In any case, the daemon and the folder are
/// removed.
pub fn run(stay: bool, executable: Option<PathBuf>, out: &mut dyn Write) -> Result<(), Error> {
    let executable = executable.ok_or(Error::NoExecutable)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Error::System("create a runtime", error))?;
    let interruption = Interruption::expected(runtime.handle())
        .map_err(|error| Error::System("listen for signals", error))?;
    let issuer = runtime.block_on(Issuer::start())?;
    play(stay, executable, &issuer, &interruption, out).map_err(|error| {
        // A signal to the whole group may end a step's process before that process has its own group.
        if interruption.comes_now() {
            Error::Interrupted
        } else {
            error
        }
    })
}

fn play(
    stay: bool,
    executable: PathBuf,
    issuer: &Issuer,
    interruption: &Interruption,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let mut scene = Scene::set(executable, issuer, interruption)?;
    let result = run_steps(&scene, issuer, interruption, out);
    if result.is_ok() && stay {
        remain(&scene, out)?;
        interruption.awaited();
    }
    scene.strike()?;
    result
}

fn run_steps(
    scene: &Scene,
    issuer: &Issuer,
    interruption: &Interruption,
    out: &mut dyn Write,
) -> Result<(), Error> {
    introduce(scene, issuer, out)?;
    first_token(scene, issuer, out)?;
    interruption.check()?;
    cached_token(scene, issuer, out)?;
    interruption.check()?;
    refusal(scene, out)?;
    interruption.check()?;
    status(scene, out)?;
    interruption.check()?;
    search(scene, out)?;
    writeln!(
        out,
        "\nThat is the whole idea: programs request a token by name, and the secret stays with the daemon.\nNext: the README's first configuration for your own issuer, and `claviger check --config FILE`."
    )?;
    Ok(())
}

fn introduce(scene: &Scene, issuer: &Issuer, out: &mut dyn Write) -> Result<(), Error> {
    writeln!(out, "claviger demo\n")?;
    writeln!(out, "1. The setup, in {}:", scene.folder().display())?;
    writeln!(
        out,
        "   · an OAuth issuer at {} that knows one client",
        issuer.url()
    )?;
    writeln!(out, "   · a sealed file with the client's secret")?;
    writeln!(
        out,
        "   · a daemon (pid {}) with this configuration:\n",
        scene.daemon_pid()
    )?;
    for line in scene.configuration().lines() {
        writeln!(out, "     {line}")?;
    }
    Ok(())
}

fn first_token(scene: &Scene, issuer: &Issuer, out: &mut dyn Write) -> Result<(), Error> {
    writeln!(
        out,
        "\n2. A program requests a token by its name:  claviger token demo-api"
    )?;
    let token = ask(scene, "demo-api")?;
    expect(&token, "freshness", "refreshed")?;
    writeln!(
        out,
        "   It gets a token that the daemon fetched with the secret ({}): {} characters, scope \"{}\", {} s left.",
        text(&token, "freshness"),
        text(&token, "access_token").len(),
        scopes(&token),
        token.get("expires_in").and_then(Value::as_u64).unwrap_or(0),
    )?;
    writeln!(
        out,
        "   Requests to the issuer so far: {}.",
        issuer.requests()
    )?;
    Ok(())
}

fn cached_token(scene: &Scene, issuer: &Issuer, out: &mut dyn Write) -> Result<(), Error> {
    writeln!(out, "\n3. Another program requests the same token:")?;
    let token = ask(scene, "demo-api")?;
    expect(&token, "freshness", "fresh")?;
    let requests = issuer.requests();
    if requests != 1 {
        return Err(Error::Unexpected(
            "a cached token was requested from the issuer again",
        ));
    }
    writeln!(
        out,
        "   It gets the cached token ({}). Requests to the issuer: still {requests}.",
        text(&token, "freshness"),
    )?;
    Ok(())
}

fn refusal(scene: &Scene, out: &mut dyn Write) -> Result<(), Error> {
    writeln!(
        out,
        "\n4. It requests a token that no rule allows it:  claviger token payroll-api"
    )?;
    let refused = scene.claviger(&["token", "payroll-api", "--socket", scene.socket()])?;
    if refused.status.code() != Some(77) {
        return Err(Error::Unexpected("the request should have been refused"));
    }
    for line in String::from_utf8_lossy(&refused.stderr).lines() {
        writeln!(out, "   {line}")?;
    }
    writeln!(
        out,
        "   An operator can see why:  claviger explain payroll-api --pid {}",
        std::process::id()
    )?;
    let pid = std::process::id().to_string();
    let explained = scene.claviger(&[
        "explain",
        "payroll-api",
        "--pid",
        &pid,
        "--admin-socket",
        scene.admin_socket(),
    ])?;
    for line in String::from_utf8_lossy(&explained.stdout).lines() {
        writeln!(out, "   {line}")?;
    }
    Ok(())
}

fn status(scene: &Scene, out: &mut dyn Write) -> Result<(), Error> {
    writeln!(out, "\n5. The operator's view:  claviger status\n")?;
    let status = scene.claviger(&["status", "--admin-socket", scene.admin_socket()])?;
    if !status.status.success() {
        return Err(Error::Unexpected("`claviger status` failed"));
    }
    for line in String::from_utf8_lossy(&status.stdout).lines() {
        writeln!(out, "   {line}")?;
    }
    Ok(())
}

fn search(scene: &Scene, out: &mut dyn Write) -> Result<(), Error> {
    writeln!(out, "\n6. Where is the secret? A search of the daemon's")?;
    for (place, hits) in scene.search()? {
        let found = match hits {
            None => "not readable, even by the daemon's own user".to_owned(),
            Some(hits) => format!("{hits} hits"),
        };
        writeln!(out, "   {place:<24}{found}")?;
        if hits.is_some_and(|hits| hits > 0) {
            return Err(Error::Leaked(place));
        }
    }
    Ok(())
}

fn remain(scene: &Scene, out: &mut dyn Write) -> Result<(), Error> {
    writeln!(
        out,
        "\nThe daemon keeps running. Try:\n  {program} token demo-api --socket {socket} --output json\n  curl --unix-socket {socket} -H 'claviger-request: true' http://claviger/v1/token/demo-api\n  {program} status --watch --admin-socket {admin}\n  {program} refresh --admin-socket {admin}\n  $EDITOR {config}; {program} reload --admin-socket {admin}\nCtrl-C ends it.",
        // The full path, so that the commands can be copied even if claviger is not installed.
        program = scene.executable().display(),
        socket = scene.socket(),
        admin = scene.admin_socket(),
        config = scene.configuration_file().display(),
    )?;
    Ok(out.flush()?)
}

/// Requests a token by a client process, and parses its output.
fn ask(scene: &Scene, name: &str) -> Result<Value, Error> {
    let answer = scene.claviger(&[
        "token",
        name,
        "--socket",
        scene.socket(),
        "--output",
        "json",
    ])?;
    if !answer.status.success() {
        return Err(Error::Refused(
            String::from_utf8_lossy(&answer.stderr).into_owned(),
        ));
    }
    serde_json::from_slice(&answer.stdout)
        .map_err(|_not_json| Error::Unexpected("`claviger token --output json` did not print JSON"))
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn scopes(value: &Value) -> String {
    let scopes = value
        .get("scopes")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    scopes
        .iter()
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join(" ")
}

fn expect(value: &Value, field: &str, wanted: &str) -> Result<(), Error> {
    if text(value, field) == wanted {
        return Ok(());
    }
    Err(Error::Unexpected(
        "a token did not have the expected freshness",
    ))
}
