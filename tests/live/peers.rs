//! Callers as other users, in other languages and over other dialects.

use std::path::Path;
use std::process::Command;

use claviger_proto::v1::GetTokenResponse;
use prost::Message as _;
use serde_json::{Value, json};
use tonic::Code;

use crate::support::client::named;
use crate::support::user::{OTHER_STRANGER, STRANGER, command_as, own_uid};
use crate::support::{OrSkip as _, Skip, installed, rig, root};
use crate::world::{Plan, World};

/// The answer that `curl` received.
struct Answer {
    status: u32,
    headers: String,
    body: Vec<u8>,
}

/// Runs `curl` on the socket: `-i` prints the headers before the body.
fn curl(mut command: Command, socket: &Path, arguments: &[&str]) -> Answer {
    let output = command
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "40",
            "--noproxy",
            "*",
            "--include",
            "--unix-socket",
        ])
        .arg(socket)
        .args(arguments)
        .output()
        .expect("curl runs");
    assert!(
        output.status.success(),
        "curl: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let end = memchr::memmem::find(&output.stdout, b"\r\n\r\n").expect("the answer has headers");
    let headers = String::from_utf8_lossy(&output.stdout[..end]).to_lowercase();
    let status = headers
        .split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok());
    Answer {
        status: status.expect("the answer has a status line"),
        headers,
        body: output.stdout[end + 4..].to_vec(),
    }
}

fn own_curl() -> Result<Command, Skip> {
    match Command::new("curl").arg("--version").output() {
        Ok(_) => Ok(Command::new("curl")),
        Err(_) => Err(Skip::because("curl is not installed")),
    }
}

#[tokio::test]
async fn curl_gets_a_token_as_json() {
    let name = "curl_gets_a_token_as_json";
    let (Some(plan), Some(command)) = (Plan::draw(name), own_curl().or_skip(name)) else {
        return;
    };
    let mut world = plan
        .token("api", "basic", "scopes = [\"read\"]")
        .start()
        .await;
    let by_grpc = world.caller.get("api").await.unwrap();
    let answer = curl(
        command,
        &world.site.socket(),
        &[
            "-H",
            "claviger-request: true",
            "http://claviger/v1/token/api",
        ],
    );
    assert_eq!(answer.status, 200, "{}", answer.headers);
    assert!(
        answer.headers.contains("content-type: application/json"),
        "{}",
        answer.headers
    );
    assert!(
        answer.headers.contains("cache-control: no-store"),
        "{}",
        answer.headers
    );
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["access_token"], by_grpc.access_token.as_str());
    assert_eq!(body["token_type"], "Bearer");
}

#[tokio::test]
async fn an_operator_sees_the_checked_endpoints() {
    let name = "an_operator_sees_the_checked_endpoints";
    let (Some(plan), Some(_)) = (Plan::draw(name), own_curl().or_skip(name)) else {
        return;
    };
    let mut world = plan.token("api", "basic", "").start().await;
    let published = world.provider.metadata().await;
    let mark = world.provider.mark().await;
    let look = |world: &World| {
        let url = "http://claviger/.well-known/oauth-authorization-server/rig";
        let arguments = ["-H", "claviger-request: true", url];
        let answer = curl(Command::new("curl"), &world.site.admin_socket(), &arguments);
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        (answer.status, answer.headers, body)
    };
    let (status, headers, body) = look(&world);
    assert_eq!((status, &body["error"]), (503, &json!("NOT_READ_YET")));
    assert!(headers.contains("retry-after: 60"), "{headers}");
    assert_eq!(
        world.provider.requests(mark).await,
        0,
        "reading the metadata sends no request"
    );
    world.caller.get("api").await.unwrap();
    let mark = world.provider.mark().await;
    let (status, _, body) = look(&world);
    assert_eq!(status, 200, "{body}");
    for field in ["issuer", "token_endpoint", "revocation_endpoint"] {
        assert!(published[field].is_string(), "{field}");
        assert_eq!(body[field], published[field], "{field}");
    }
    let fields: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        [
            "claviger",
            "issuer",
            "revocation_endpoint",
            "token_endpoint",
            "token_endpoint_auth_methods_supported",
        ],
        "none of the {} other fields is shown",
        published.as_object().unwrap().len()
    );
    assert_eq!(world.provider.requests(mark).await, 0);
}

#[tokio::test]
async fn a_request_without_the_header_is_refused() {
    let name = "a_request_without_the_header_is_refused";
    let (Some(plan), Some(command)) = (Plan::draw(name), own_curl().or_skip(name)) else {
        return;
    };
    let mut world = plan.token("api", "basic", "").start().await;
    let answer = curl(
        command,
        &world.site.socket(),
        &["http://claviger/v1/token/api"],
    );
    assert_eq!(answer.status, 403, "{}", answer.headers);
    assert!(!String::from_utf8_lossy(&answer.body).contains("access_token"));
    let refused = world.caller.ask_without_header("api").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    assert_eq!(world.provider.requests(0).await, 0);
}

#[tokio::test]
async fn only_the_user_in_the_rule_gets_the_token() {
    let name = "only_the_user_in_the_rule_gets_the_token";
    let Some(plan) = Plan::draw(name) else {
        return;
    };
    let users =
        command_as(STRANGER, "curl").and_then(|one| Ok((one, command_as(OTHER_STRANGER, "curl")?)));
    let Some((stranger, other)) = users.or_skip(name) else {
        return;
    };
    let mut world = plan
        .token("api", "basic", "")
        .allow(STRANGER, "tokens = [\"api\"]")
        .start()
        .await;
    let socket = world.site.socket();
    let json = [
        "-H",
        "claviger-request: true",
        "http://claviger/v1/token/api",
    ];
    assert_eq!(curl(stranger, &socket, &json).status, 200);
    let mark = world.provider.mark().await;
    assert_eq!(curl(other, &socket, &json).status, 403);
    // Even the daemon's own user needs a rule.
    assert_ne!(own_uid(), STRANGER);
    let refused = world.caller.get("api").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    assert_eq!(world.provider.requests(mark).await, 0);
}

#[tokio::test]
async fn grpc_callers_are_identified_by_the_kernel() {
    let name = "grpc_callers_are_identified_by_the_kernel";
    let Some(plan) = Plan::draw(name) else {
        return;
    };
    let world = plan
        .token("api", "basic", "")
        .allow(STRANGER, "tokens = [\"api\"]")
        .start()
        .await;
    let message = named("api").encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let frame = world.site.path().join("run/frame");
    std::fs::write(&frame, [&[0], &length[..], &message].concat()).unwrap();
    let data = format!("@{}", frame.display());
    for (uid, allowed) in [(STRANGER, true), (OTHER_STRANGER, false)] {
        let Some(command) = command_as(uid, "curl").or_skip(name) else {
            return;
        };
        // Headers in which a peer claims another identity change nothing.
        let claim = format!("x-remote-uid: {STRANGER}");
        let answer = curl(
            command,
            &world.site.socket(),
            &[
                "--http2-prior-knowledge",
                "-H",
                "content-type: application/grpc",
                "-H",
                "te: trailers",
                "-H",
                "claviger-request: true",
                "-H",
                &claim,
                "--data-binary",
                &data,
                "http://claviger/claviger.v1.Tokens/GetToken",
            ],
        );
        assert_eq!(answer.status, 200, "{}", answer.headers);
        if allowed {
            let length = u32::from_be_bytes(answer.body[1..5].try_into().unwrap()) as usize;
            let token = GetTokenResponse::decode(&answer.body[5..5 + length]).unwrap();
            assert!(!token.access_token.is_empty());
        } else {
            assert!(
                answer.headers.contains("grpc-status: 7"),
                "{}",
                answer.headers
            );
            assert!(answer.body.is_empty());
        }
    }
}

/// The rig's Python, which has gRPC and the generated modules.
fn python() -> Result<Command, Skip> {
    installed("python")?;
    let mut command = Command::new(rig().join("venv/bin/python"));
    command.env("PYTHONPATH", rig().join("py"));
    Ok(command)
}

#[tokio::test]
async fn the_lines_of_python_in_the_readme_work() {
    let name = "the_lines_of_python_in_the_readme_work";
    let (Some(plan), Some(mut python)) = (Plan::draw(name), python().or_skip(name)) else {
        return;
    };
    let world = plan.token("billing-api", "basic", "").start().await;
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, rest) = readme
        .split_once("```python\n")
        .expect("the README has lines of Python");
    let (lines, _) = rest.split_once("```").expect("they end");
    let socket = world.site.socket();
    let shown = "unix:///run/claviger/broker.sock";
    assert!(lines.contains(shown));
    let lines = lines.replace(shown, &format!("unix://{}", socket.display()));
    let output = python.args(["-c", &lines]).output().expect("python runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.starts_with("Bearer ") && said.ends_with(" s left\n"),
        "{output:?}"
    );
}

/// The JSON report of a client that exits successfully.
fn said_by(client: &mut Command) -> Value {
    let output = client.output().expect("the client runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("the client prints JSON")
}

#[tokio::test]
async fn a_client_in_python_gets_a_token() {
    let name = "a_client_in_python_gets_a_token";
    let (Some(plan), Some(mut python)) = (Plan::draw(name), python().or_skip(name)) else {
        return;
    };
    let mut world = plan
        .token("api", "basic", "scopes = [\"read\", \"write\"]")
        .start()
        .await;
    python
        .arg(root().join("tests/live/client.py"))
        .arg(world.site.socket())
        .arg("api");
    let said = said_by(&mut python);
    let own = world.caller.get("api").await.unwrap();
    assert_eq!(said["fingerprint"], own.fingerprint.as_str());
    assert_eq!(said["length"], own.access_token.len());
    assert_eq!(said["token_type"], "Bearer");
    assert_eq!(said["scopes"], serde_json::json!(["read", "write"]));
    assert!(
        said["lifetime"].as_i64().is_some_and(|left| left > 500),
        "{said}"
    );
}

#[tokio::test]
async fn a_client_in_go_gets_a_token_and_reads_refusals() {
    let name = "a_client_in_go_gets_a_token_and_reads_refusals";
    let (Some(plan), Some(())) = (Plan::draw(name), installed("go-client").or_skip(name)) else {
        return;
    };
    let mut world = plan
        .token("api", "basic", "scopes = [\"read\", \"write\"]")
        .start()
        .await;
    let mut client = Command::new(rig().join("bin/go-client"));
    client
        .arg(world.site.socket())
        .args(["api", "no-such-token"])
        .env_clear();
    let said = said_by(&mut client);
    let own = world.caller.get("api").await.unwrap();
    assert_eq!(said["health"], "SERVING");
    assert_eq!(said["fingerprint"], own.fingerprint.as_str());
    assert_eq!(said["watched"], own.fingerprint.as_str());
    assert_eq!(said["length"], own.access_token.len());
    assert_eq!(said["token_type"], "Bearer");
    assert_eq!(said["scopes"], serde_json::json!(["read", "write"]));
    assert!(
        said["lifetime"].as_i64().is_some_and(|left| left > 500),
        "{said}"
    );
    for (refusal, reason, remedy) in [
        ("denied", "DENIED", "`claviger explain`"),
        ("unmeant", "NOT_FOR_CLAVIGER", "`claviger-request: true`"),
    ] {
        let refusal = &said[refusal];
        assert_eq!(refusal["code"], "PermissionDenied", "{said}");
        assert_eq!(refusal["reason"], reason, "{said}");
        let actual = refusal["remedy"].as_str().unwrap_or_default();
        assert!(actual.contains(remedy), "{said}");
    }
}

#[test]
fn the_readme_shows_the_tested_go_code() {
    let text = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let (readme, tested) = (text("README.md"), text("tests/live/go/main.go"));
    let shown = readme
        .split_once("```go\n")
        .and_then(|(_, rest)| rest.split_once("```"));
    let (shown, _) = shown.expect("the README has a section in Go");
    assert!(
        shown.contains("claviger-request") && tested.contains(shown),
        "the Go code in the README differs from tests/live/go/main.go:\n{shown}"
    );
}
