//! HTTP/1.1 and JSON, for programs without gRPC.

use std::io::Write as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::daemon::TestDaemon;
use crate::node::{Node, PASSWORD, own_uid, run};
use crate::program::{claviger, finish};
use crate::table;
use crate::wire::{Answer, ask, bounded, get, http, until_closed};

table![
    a_token_has_the_fields_of_oauth,
    a_secret_is_the_body,
    health_and_readiness_need_no_rule,
    readiness_names_the_token_that_fails,
    requests_and_their_statuses,
    a_request_that_names_another_server_is_refused,
    every_answer_forbids_storing_and_framing,
    refusals_have_retry_after,
    a_rejected_token_is_reported,
    one_connection_takes_many_requests,
    unusual_requests_are_answered_or_refused_completely,
    curl_gets_a_token,
];

/// Runs a conversation with a daemon without an effective rate limit.
fn with_daemon(talk: impl FnOnce(&TestDaemon) + Send) -> Result<(), String> {
    run(async {
        let mut node = Node::new().await;
        node.limits = "requests_per_second = 10000\nrequest_burst = 10000".to_owned();
        let daemon = TestDaemon::on(node).await;
        tokio::task::block_in_place(|| talk(&daemon));
        daemon.stop().await;
    });
    Ok(())
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("no {field}: {value}"))
}

fn a_token_has_the_fields_of_oauth() -> Result<(), String> {
    with_daemon(|daemon| {
        let socket = daemon.node.socket();
        let answer = get(&socket, "/v1/token/api");
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some("application/json"))
        );
        let token = answer.json();
        assert!(daemon.node.issuer.knows(text(&token, "access_token")));
        assert_eq!(text(&token, "token_type"), "Bearer");
        assert_eq!(text(&token, "scope"), "read:demo write:demo");
        assert_eq!(text(&token, "freshness"), "refreshed");
        assert!((3500..=3600).contains(&token["expires_in"].as_u64().unwrap()));
        let path = socket.to_str().unwrap();
        let command = claviger(&["token", "api", "--output", "json", "--socket", path]);
        let printed: Value = serde_json::from_str(&command.out).unwrap();
        for field in [
            "expires_at",
            "scopes",
            "token_type",
            "generation",
            "fingerprint",
        ] {
            assert_eq!(token[field], printed[field], "{field}");
        }
        assert_eq!(token["generation"], 1);
        assert!(!text(&token, "fingerprint").is_empty());
        let again = get(&socket, "/v1/token/api").json();
        assert_eq!(text(&again, "freshness"), "fresh");
        let narrow = get(&socket, "/v1/token/api?scope=read:demo&min_remaining=60").json();
        assert_eq!(text(&narrow, "scope"), "read:demo");
        let forced = get(&socket, "/v1/token/api?force_refresh=true").json();
        assert!(
            forced["generation"].as_u64() > token["generation"].as_u64(),
            "newer is larger"
        );
        assert_eq!(daemon.node.issuer.requests(), 3);
    })
}

fn a_secret_is_the_body() -> Result<(), String> {
    with_daemon(|daemon| {
        let answer = get(&daemon.node.socket(), "/v1/secret/password");
        assert_eq!((answer.status, answer.body.as_slice()), (200, PASSWORD));
        assert_eq!(
            answer.header("content-type"),
            Some("application/octet-stream")
        );
        assert_eq!(answer.header("claviger-freshness"), Some("fresh"));
        for header in ["claviger-version", "claviger-age", "claviger-lifetime-left"] {
            assert!(answer.header(header).is_some(), "{header}");
        }
    })
}

fn health_and_readiness_need_no_rule() -> Result<(), String> {
    with_daemon(|daemon| {
        for socket in [daemon.node.socket(), daemon.node.admin_socket()] {
            let health = ask(&socket, "GET /health HTTP/1.1");
            assert_eq!(
                (health.status, text(&health.json(), "status")),
                (200, "healthy")
            );
            assert_eq!(text(&health.json(), "oauth"), "unknown", "no request yet");
            assert!(health.json()["timestamp"].as_u64().is_some());
            let ready = ask(&socket, "GET /ready HTTP/1.1");
            assert_eq!(
                (ready.status, ready.json()),
                (200, json!({ "ready": true })),
                "no names without the header"
            );
        }
        let ready = get(&daemon.node.socket(), "/ready");
        assert_eq!(ready.json(), json!({ "ready": true }), "programs");
        let ready = get(&daemon.node.admin_socket(), "/ready");
        let tokens = json!({ "api": true, "payroll": true, "wide": true });
        assert_eq!(ready.json(), json!({ "ready": true, "tokens": tokens }));
        assert_eq!(
            daemon.node.issuer.requests(),
            0,
            "checking readiness sends no request to the issuer"
        );
        let socket = daemon.node.socket();
        assert_eq!(get(&socket, "/v1/token/api").status, 200);
        let admin = daemon.node.admin_socket();
        let health = ask(&admin, "GET /health HTTP/1.1").json();
        assert_eq!(text(&health, "oauth"), "connected");
        // Programs get a verdict that may be a second old.
        let health = || ask(&socket, "GET /health HTTP/1.1").json();
        while text(&health(), "oauth") == "unknown" {
            std::thread::yield_now();
        }
        assert_eq!(text(&health(), "oauth"), "connected");
    })
}

fn readiness_names_the_token_that_fails() -> Result<(), String> {
    run(async {
        let node = Node::new().await;
        node.put_client_secret("not the secret");
        let daemon = TestDaemon::on(node).await;
        let admin = daemon.node.admin_socket();
        let tokens = || {
            let answer = tokio::task::block_in_place(|| get(&admin, "/ready"));
            (answer.status, answer.json()["tokens"].clone())
        };
        let all = json!({ "api": true, "payroll": true, "wide": true });
        assert_eq!(tokens(), (200, all));
        let mut caller = daemon.caller().await;
        caller.scoped("api", &["read:demo"]).await.unwrap_err();
        let one = json!({ "api": false, "payroll": true, "wide": true });
        assert_eq!(tokens(), (503, one));
        assert!(!daemon.admin().await.status().await.unwrap().ready);
        let good = daemon.node.secrets().swap_remove(0);
        daemon.node.put_client_secret(&good);
        daemon
            .admin()
            .await
            .refresh(&["local:oauth/demo#client_secret"])
            .await;
        assert_eq!(tokens().0, 200, "a changed credential is tried at once");
        daemon.stop().await;
    });
    Ok(())
}

fn a_request_that_names_another_server_is_refused() -> Result<(), String> {
    with_daemon(|daemon| {
        for (target, hosts, status) in [
            ("/v1/token/api", "", 200),
            ("/v1/token/api", "host: claviger\n", 200),
            ("/v1/token/api", "host: localhost\n", 200),
            ("/v1/token/api", "host: localhost:80\n", 403),
            ("/v1/token/api", "host: evil.example\n", 403),
            ("/v1/token/api", "host: claviger\nhost: claviger\n", 403),
            ("http://claviger/v1/token/api", "host: claviger\n", 403),
            ("http://evil.example/health", "", 403),
            ("/health", "host: evil.example\n", 403),
        ] {
            let head = format!("GET {target} HTTP/1.1\n{hosts}claviger-request: true\n");
            let answers = http(
                &daemon.node.socket(),
                &format!("{head}connection: close\n\n"),
            );
            assert_eq!(answers[0].status, status, "{target} {hosts:?}");
        }
    })
}

fn requests_and_their_statuses() -> Result<(), String> {
    with_daemon(|daemon| {
        let socket = daemon.node.socket();
        let meant = "claviger-request: true";
        for (request, header, status, error) in [
            ("GET /v1/token/api", "", 403, "NOT_FOR_CLAVIGER"),
            (
                "GET /v1/token/api",
                "claviger-request: yes",
                403,
                "NOT_FOR_CLAVIGER",
            ),
            (
                "GET /v1/token/api",
                "claviger-request: true\norigin: null",
                403,
                "NOT_FOR_CLAVIGER",
            ),
            (
                "GET /v1/token/api",
                "claviger-request: true\nvia: 1.1 x",
                403,
                "NOT_FOR_CLAVIGER",
            ),
            (
                "GET /v1/token/api",
                "claviger-request: true\ncookie: a=b",
                403,
                "NOT_FOR_CLAVIGER",
            ),
            (
                "GET /v1/secret/password?version=1",
                meant,
                400,
                "INVALID_REQUEST",
            ),
            (
                "GET /v1/token/api?fingerprint=x",
                meant,
                400,
                "INVALID_REQUEST",
            ),
            ("GET /health?verbose", meant, 400, "INVALID_REQUEST"),
            ("GET /nothing", "", 403, "NOT_FOR_CLAVIGER"),
            ("GET /v1/token/payroll", meant, 403, "DENIED"),
            ("GET /v1/token/unknown", meant, 403, "DENIED"),
            ("GET /v1/secret/unknown", meant, 403, "DENIED"),
            (
                "GET /v1/token/api?scope=read:payroll",
                meant,
                400,
                "SCOPES_NOT_CONFIGURED",
            ),
            (
                "GET /v1/token/api?scope=a%22b",
                meant,
                400,
                "INVALID_REQUEST",
            ),
            (
                "GET /v1/token/api?min_remaining=7200",
                meant,
                409,
                "LIFETIME_TOO_SHORT",
            ),
            (
                "GET /v1/token/api?min_remaining=soon",
                meant,
                400,
                "INVALID_REQUEST",
            ),
            (
                "GET /v1/token/api?force_refresh=1",
                meant,
                400,
                "INVALID_REQUEST",
            ),
            (
                "GET /v1/token/api?scopes=read:demo",
                meant,
                400,
                "INVALID_REQUEST",
            ),
            ("GET /v1/token/%61pi", meant, 400, "INVALID_REQUEST"),
            ("GET /v1/token/", meant, 400, "INVALID_REQUEST"),
            ("GET /v1/secret/..%2fapi", meant, 400, "INVALID_REQUEST"),
            ("GET /v1/token/api/", meant, 404, "NOT_FOUND"),
            ("GET /v1/token/../secret/password", meant, 404, "NOT_FOUND"),
            ("GET //v1/token/api", meant, 404, "NOT_FOUND"),
            ("GET /v2/token/api", meant, 404, "NOT_FOUND"),
            ("GET /", meant, 404, "NOT_FOUND"),
            ("OPTIONS *", meant, 404, "NOT_FOUND"),
            ("POST /v1/token/api", meant, 405, "METHOD_NOT_ALLOWED"),
            ("PUT /v1/secret/password", meant, 405, "METHOD_NOT_ALLOWED"),
            ("DELETE /health", "", 405, "METHOD_NOT_ALLOWED"),
            (
                "GET /v1/token/api/rejected",
                meant,
                405,
                "METHOD_NOT_ALLOWED",
            ),
        ] {
            let head = format!("{request} HTTP/1.1\n{header}");
            let answer = ask(&socket, head.trim_end());
            let problem = answer.json();
            assert_eq!(
                (answer.status, text(&problem, "error")),
                (status, error),
                "{head}"
            );
            assert!(text(&problem, "remedy").len() > 10, "{head}: {problem}");
        }
        let wrong = ask(&socket, &format!("POST /v1/token/api HTTP/1.1\n{meant}"));
        assert_eq!(wrong.header("allow"), Some("GET"));
        let wrong = ask(
            &socket,
            &format!("GET /v1/token/api/rejected HTTP/1.1\n{meant}"),
        );
        assert_eq!(wrong.header("allow"), Some("POST"));
        let misplaced = get(&daemon.node.admin_socket(), "/v1/token/api");
        assert_eq!(
            (misplaced.status, text(&misplaced.json(), "error")),
            (404, "NOT_FOUND")
        );
        assert_eq!(
            daemon.node.issuer.requests(),
            1,
            "only the token that was too short-lived is replaced"
        );
    })
}

fn every_answer_forbids_storing_and_framing() -> Result<(), String> {
    with_daemon(|daemon| {
        let socket = daemon.node.socket();
        for path in [
            "/v1/token/api",
            "/v1/secret/password",
            "/v1/token/unknown",
            "/nothing",
            "/health",
        ] {
            let answer = get(&socket, path);
            for (name, value) in [
                ("cache-control", "no-store"),
                ("x-content-type-options", "nosniff"),
                ("x-frame-options", "DENY"),
                ("content-security-policy", "default-src 'none'"),
                ("referrer-policy", "no-referrer"),
            ] {
                assert_eq!(answer.header(name), Some(value), "{path}");
            }
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
        // A gRPC request over HTTP/1.1 gets these headers, too.
        for path in [
            "/claviger.v1.Tokens/GetToken",
            "/grpc.health.v1.Health/Check",
        ] {
            let head = format!(
                "POST {path} HTTP/1.1\nclaviger-request: true\ncontent-type: application/grpc"
            );
            let answer = ask(&socket, &head);
            assert_eq!(answer.status, 404, "{path}: {answer:?}");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        }
    })
}

fn refusals_have_retry_after() -> Result<(), String> {
    run(async {
        let mut node = Node::new().await;
        node.limits = "requests_per_second = 1\nrequest_burst = 1".to_owned();
        node.more = "[secrets.absent]\nreference = \"local:not/there\"\n".to_owned();
        node.rules.push_str(&format!(
            "[[allow]]\nuser = {}\nsecrets = [\"absent\"]\n",
            own_uid()
        ));
        let daemon = TestDaemon::on(node).await;
        let (absent, [denied, limited], ready) = tokio::task::block_in_place(|| {
            let socket = daemon.node.socket();
            let get = |path| get(&socket, path);
            (
                get("/v1/secret/absent"),
                [get("/v1/token/nothing"), get("/v1/token/nothing")],
                get("/ready"),
            )
        });
        let retry = |answer: &Answer| {
            answer
                .header("retry-after")
                .unwrap()
                .parse::<u64>()
                .unwrap()
        };
        assert_eq!(
            (absent.status, text(&absent.json(), "error")),
            (503, "NOT_FOUND")
        );
        assert!(retry(&absent) >= 1);
        assert_eq!(denied.status, 403);
        assert_eq!(
            (limited.status, text(&limited.json(), "error")),
            (429, "RATE_LIMITED")
        );
        assert!(retry(&limited) >= 1);
        assert_eq!(ready.status, 503);
        daemon.stop().await;
    });
    Ok(())
}

fn a_rejected_token_is_reported() -> Result<(), String> {
    with_daemon(|daemon| {
        let socket = daemon.node.socket();
        let first = get(&socket, "/v1/token/api").json();
        let report = |query: &str| {
            let path = format!("/v1/token/api/rejected{query}");
            ask(
                &socket,
                &format!("POST {path} HTTP/1.1\nclaviger-request: true"),
            )
        };
        for query in ["", "?", "?fingerprint=", "?www_authenticate=Bearer"] {
            let refused = report(query);
            assert_eq!(refused.status, 400, "{query}");
            assert!(text(&refused.json(), "remedy").contains("fingerprint"));
        }
        let named = format!("?fingerprint={}", text(&first, "fingerprint"));
        for (more, outcome) in [
            ("&http_status=403", "not_the_token"),
            (
                "&www_authenticate=Bearer+error%3D%22insufficient_scope%22",
                "not_the_token",
            ),
            (
                "&www_authenticate=Bearer+error%3D%22invalid_token%22",
                "dropped",
            ),
            ("", "superseded"),
        ] {
            let answer = report(&format!("{named}{more}")).json();
            assert_eq!(text(&answer, "outcome"), outcome, "{more}");
        }
        let second = get(&socket, "/v1/token/api").json();
        assert_ne!(second["access_token"], first["access_token"]);
    })
}

fn one_connection_takes_many_requests() -> Result<(), String> {
    with_daemon(|daemon| {
        let one = "GET /v1/token/api HTTP/1.1\nhost: claviger\nclaviger-request: true\n\n";
        let last = one.replace("\n\n", "\nconnection: close\n\n");
        // Pipelined requests are answered in order.
        let answers = http(&daemon.node.socket(), &format!("{}{last}", one.repeat(49)));
        assert_eq!(answers.len(), 50);
        assert!(answers.iter().all(|answer| answer.status == 200));
        assert_eq!(daemon.node.issuer.requests(), 1);
    })
}

fn unusual_requests_are_answered_or_refused_completely() -> Result<(), String> {
    with_daemon(|daemon| {
        let socket = daemon.node.socket();
        let meant = "host: claviger\nclaviger-request: true\nconnection: close";
        let get = "GET /v1/token/api HTTP/1.1";
        let many: String = (0..100).map(|number| format!("x-{number}: y\n")).collect();
        for (request, status) in [
            (
                "GET /v1/token/api HTTP/1.0\nclaviger-request: true\n\n".to_owned(),
                200,
            ),
            (
                format!("{get}\n{meant}\ntransfer-encoding: chunked\n\n3\nabc\n0\n\n"),
                200,
            ),
            (format!("{get}\n{meant}\ncontent-length: 3\n\nabc"), 200),
            (
                format!("{get}\n{meant}\nx: {}\n\n", "y".repeat(16 * 1024)),
                431,
            ),
            (format!("{get}\n{meant}\n{many}\n"), 431),
            (
                format!("GET /{} HTTP/1.1\n{meant}\n\n", "x".repeat(16 * 1024)),
                431,
            ),
            (format!("{get}\n{meant}\ncontent-length: -1\n\n"), 400),
            (format!("{get}\n{meant}\nbad header\n\n"), 400),
            (
                "\u{1}\u{2}\u{3} this is not a request in any protocol\n\n".to_owned(),
                400,
            ),
        ] {
            let answers = http(&socket, &request);
            assert_eq!(answers.len(), 1, "{request:.60}: {answers:?}");
            assert_eq!(answers[0].status, status, "{request:.60}");
        }
        // The daemon ignores an upgrade to HTTP/2.
        let upgrade = "connection: upgrade, http2-settings\nupgrade: h2c\nhttp2-settings: AAMAAABk";
        let request = format!("{get}\nhost: claviger\nclaviger-request: true\n{upgrade}\n\n");
        let mut stream = crate::wire::connect(&socket);
        stream
            .write_all(request.replace('\n', "\r\n").as_bytes())
            .unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        bounded(&stream);
        let answered = until_closed(&mut stream).unwrap();
        assert!(answered.starts_with(b"HTTP/1.1 200") || answered.is_empty());
    })
}

fn curl_gets_a_token() -> Result<(), String> {
    if Command::new("curl").arg("--version").output().is_err() {
        return Err("needs curl".to_owned());
    }
    with_daemon(|daemon| {
        let curl = |arguments: &[&str]| {
            let socket = daemon.node.socket();
            let mut command = Command::new("curl");
            command.args(["-sS", "--unix-socket", socket.to_str().unwrap()]);
            finish(
                command.args(arguments).arg("http://claviger/v1/token/api"),
                b"",
            )
        };
        let header = ["-H", "claviger-request: true"];
        let token: Value = serde_json::from_str(&curl(&header).out).unwrap();
        assert!(daemon.node.issuer.knows(text(&token, "access_token")));
        let over_http2 = curl(&["-H", "claviger-request: true", "--http2-prior-knowledge"]);
        let token: Value = serde_json::from_str(&over_http2.out).unwrap();
        assert_eq!(text(&token, "freshness"), "fresh");
        let refused = curl(&["--fail"]);
        assert_eq!(refused.code, Some(22), "{refused:?}");
    })
}
