//! Both sockets through `grpcurl`, which learns the services of claviger only by reflection.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::{OrSkip as _, installed, rig, root};
use crate::world::Plan;

/// Adds the request header to every request, those of reflection included.
const MEANT: [&str; 2] = ["-H", "claviger-request: true"];
/// Adds the request header only to the requests of reflection.
const MEANT_BY_REFLECTION: [&str; 2] = ["-reflect-header", "claviger-request: true"];

/// Runs `grpcurl` on a socket, with `flags` before its path and `call` after it. Needs no `-authority`: on a unix socket it
/// sends `localhost`, as every client in Go does.
fn grpcurl(socket: &Path, flags: &[&str], call: &[&str]) -> Output {
    Command::new(rig().join("bin/grpcurl"))
        .args(["-plaintext", "-unix", "-max-time", "40", "-format-error"])
        .args(flags)
        .arg(socket)
        .args(call)
        .env_clear()
        .output()
        .expect("grpcurl runs")
}

/// The output of a successful call.
fn said(output: Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}

/// The answer of a call, as JSON.
fn answer(output: Output) -> Value {
    serde_json::from_str(&said(output)).expect("it prints JSON")
}

/// The status of a refused call, with the details that reflection let it decode.
fn refusal(output: &Output) -> Value {
    // The exit status is 64 plus the gRPC code.
    let text = String::from_utf8_lossy(&output.stderr);
    let status: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"));
    assert_eq!(
        output.status.code().map(i64::from),
        status["code"].as_i64().map(|code| code + 64)
    );
    status
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[tokio::test]
async fn both_sockets_describe_themselves() {
    let name = "both_sockets_describe_themselves";
    let (Some(plan), Some(())) = (Plan::draw(name), installed("grpcurl").or_skip(name)) else {
        return;
    };
    let world = plan.token("api", "basic", "").start().await;
    for (socket, services, methods) in [
        (
            world.site.socket(),
            &[
                "claviger.v1.Secrets",
                "claviger.v1.Tokens",
                "grpc.health.v1.Health",
            ][..],
            &[
                ("claviger.v1.Tokens", "GetToken"),
                ("claviger.v1.Tokens", "WatchToken"),
                ("claviger.v1.Tokens", "ReportRejected"),
                ("claviger.v1.Tokens", "RevokeToken"),
                ("claviger.v1.Secrets", "GetSecret"),
                ("grpc.health.v1.Health", "Check"),
            ][..],
        ),
        (
            world.site.admin_socket(),
            &["claviger.v1.Admin", "grpc.health.v1.Health"],
            &[
                ("claviger.v1.Admin", "Status"),
                ("claviger.v1.Admin", "Explain"),
                ("claviger.v1.Admin", "Refresh"),
                ("claviger.v1.Admin", "Reload"),
            ],
        ),
    ] {
        assert_eq!(lines(&said(grpcurl(&socket, &MEANT, &["list"]))), services);
        for (service, method) in methods {
            let described = said(grpcurl(&socket, &MEANT, &["describe", service]));
            assert!(
                described.contains(&format!("rpc {method} (")),
                "{described}"
            );
        }
        // Reflection, too, requires the request header.
        let unmeant = grpcurl(&socket, &[], &["list"]);
        let complaint = String::from_utf8_lossy(&unmeant.stderr).into_owned();
        assert!(
            !unmeant.status.success() && complaint.contains("claviger-request: true"),
            "{complaint}"
        );
    }
    let request = said(grpcurl(
        &world.site.socket(),
        &MEANT,
        &["describe", "claviger.v1.GetTokenRequest"],
    ));
    assert!(request.contains("string name = 1;"), "{request}");
}

#[tokio::test]
async fn grpcurl_gets_a_token() {
    let name = "grpcurl_gets_a_token";
    let (Some(plan), Some(())) = (Plan::draw(name), installed("grpcurl").or_skip(name)) else {
        return;
    };
    let mut world = plan
        .token("api", "basic", "scopes = [\"read\", \"write\"]")
        .start()
        .await;
    let got = answer(grpcurl(
        &world.site.socket(),
        &[
            &MEANT[..],
            &["-d", r#"{"name": "api", "scopes": ["read"]}"#],
        ]
        .concat(),
        &["claviger.v1.Tokens/GetToken"],
    ));
    let wish = claviger_proto::v1::GetTokenRequest {
        name: "api".to_owned(),
        scopes: vec!["read".to_owned()],
        ..Default::default()
    };
    let own = world.caller.ask(wish).await.unwrap();
    assert_eq!(got["accessToken"], own.access_token.as_str());
    assert_eq!(got["fingerprint"], own.fingerprint.as_str());
    assert_eq!(got["scopes"], json!(["read"]));
    assert_eq!(got["tokenType"], "Bearer");
}

#[tokio::test]
async fn grpcurl_reads_the_reason_and_the_remedy() {
    let name = "grpcurl_reads_the_reason_and_the_remedy";
    let (Some(plan), Some(())) = (Plan::draw(name), installed("grpcurl").or_skip(name)) else {
        return;
    };
    let world = plan.token("api", "basic", "").start().await;
    let socket = world.site.socket();
    for (header, token, reason, remedy) in [
        (
            MEANT_BY_REFLECTION,
            "api",
            "NOT_FOR_CLAVIGER",
            "send the header `claviger-request: true`",
        ),
        (MEANT, "no-such-token", "DENIED", "`claviger explain`"),
    ] {
        let data = json!({ "name": token }).to_string();
        let status = refusal(&grpcurl(
            &socket,
            &[&header[..], &["-d", &data]].concat(),
            &["claviger.v1.Tokens/GetToken"],
        ));
        assert_eq!(status["code"], 7, "{status}");
        let detail = &status["details"][0];
        assert_eq!(
            detail["@type"], "type.googleapis.com/google.rpc.ErrorInfo",
            "{status}"
        );
        assert_eq!(detail["reason"], reason, "{status}");
        assert_eq!(detail["domain"], "claviger", "{status}");
        let actual = detail["metadata"]["remedy"].as_str().unwrap_or_default();
        assert!(actual.contains(remedy), "{status}");
    }
    assert_eq!(world.provider.requests(0).await, 0);
}

#[tokio::test]
async fn grpcurl_asks_for_health_and_status() {
    let name = "grpcurl_asks_for_health_and_status";
    let (Some(plan), Some(())) = (Plan::draw(name), installed("grpcurl").or_skip(name)) else {
        return;
    };
    let world = plan.token("api", "basic", "").start().await;
    for socket in [world.site.socket(), world.site.admin_socket()] {
        // Health needs no header; only reflection does.
        let health = answer(grpcurl(
            &socket,
            &MEANT_BY_REFLECTION,
            &["grpc.health.v1.Health/Check"],
        ));
        assert_eq!(health, json!({ "status": "SERVING" }));
    }
    let status = answer(grpcurl(
        &world.site.admin_socket(),
        &MEANT,
        &["claviger.v1.Admin/Status"],
    ));
    assert_eq!(status["pid"], world.daemon.pid(), "{status}");
    assert_eq!(status["ready"], true, "{status}");
    assert_eq!(status["tokens"][0]["name"], "api", "{status}");
    assert_eq!(
        status["issuers"][0]["issuer"],
        world.provider.issuer.as_str(),
        "{status}"
    );
    let protos = root().join("proto").display().to_string();
    let misplaced = refusal(&grpcurl(
        &world.site.admin_socket(),
        &[
            &MEANT[..],
            &[
                "-import-path",
                &protos,
                "-proto",
                "claviger/v1/tokens.proto",
            ],
        ]
        .concat(),
        &["claviger.v1.Tokens/GetToken"],
    ));
    assert_eq!(misplaced["code"], 12, "{misplaced}");
}
