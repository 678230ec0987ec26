//! Each cause of a missing token has its own reason, the same in `check`, `status`, the log and the answer to the caller.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::node::{Node, run};
use crate::program::{BINARY, Finished, Program, claviger, finish};
use crate::table;

table![
    each_mistake_at_the_issuer_is_named_everywhere,
    a_private_address_in_metadata_is_named_with_the_key_that_allows_it,
    a_ca_that_cannot_be_read_is_named,
    a_revocation_says_what_the_issuer_did,
    check_warns_of_scopes_that_the_issuer_does_not_list,
    check_proves_a_token_by_a_real_request,
    what_an_issuer_says_reaches_operators_alone_and_without_secrets,
];

const METADATA: &str = "/.well-known/oauth-authorization-server/t";

/// An issuer that answers each path with what the test says, and 404 else.
pub(crate) struct Scripted {
    pub(crate) url: String,
    answers: Arc<Mutex<BTreeMap<String, String>>>,
    bodies: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/t", listener.local_addr().unwrap());
        let answers = Arc::<Mutex<BTreeMap<String, String>>>::default();
        let bodies = Arc::<Mutex<Vec<String>>>::default();
        let (known, seen) = (Arc::clone(&answers), Arc::clone(&bodies));
        // It ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                drop(serve(stream, &known, &seen));
            }
        });
        Self {
            url,
            answers,
            bodies,
        }
    }

    /// Answers `path` so from now on.
    pub(crate) fn answer(&self, path: &str, status: u16, more: &str, body: &str) -> &Self {
        let answer = format!(
            "HTTP/1.1 {status} X\r\n{more}content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
        self
    }

    /// Metadata with this issuer and these further fields.
    pub(crate) fn metadata(&self, issuer: &str, more: &str) -> &Self {
        let body = format!(r#"{{"issuer":"{issuer}"{more}}}"#);
        self.answer(METADATA, 200, "", &body)
    }

    /// Metadata that leads to this server, and an answer of its token endpoint.
    pub(crate) fn token(&self, status: u16, more: &str, body: &str) -> &Self {
        let endpoint = format!(r#","token_endpoint":"{}/token""#, self.url);
        self.metadata(&self.url, &endpoint)
            .answer("/t/token", status, more, body)
    }

    /// The bodies of the requests so far.
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.bodies.lock().unwrap().clone()
    }
}

fn serve(
    stream: TcpStream,
    answers: &Mutex<BTreeMap<String, String>>,
    bodies: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap_or(0);
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    bodies
        .lock()
        .unwrap()
        .push(String::from_utf8_lossy(&body).into_owned());
    let missing = "HTTP/1.1 404 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned();
    let answer = answers.lock().unwrap().get(&path).cloned();
    reader
        .into_inner()
        .write_all(answer.unwrap_or(missing).as_bytes())
}

/// A node whose issuer is `issuer`.
pub(crate) fn node_at(issuer: &Scripted) -> Node {
    let mut node = run(Node::new());
    let configuration = node.configuration();
    node.instead = Some(configuration.replace(&node.issuer.url(), &issuer.url));
    node
}

fn check(config: &Path) -> Finished {
    claviger(&["check", "--config", config.to_str().unwrap()])
}

fn ask(node: &Node, arguments: &[&str]) -> Finished {
    let socket = match arguments[0] {
        "status" => ["--admin-socket".into(), node.admin_socket()],
        _ => ["--socket".into(), node.socket()],
    };
    finish(Command::new(BINARY).args(arguments).args(socket), b"")
}

/// What a mistake is called and what it must say, in every place.
fn named_everywhere(issuer: &Scripted, reason: &str, facts: &[&str]) {
    let program = Program::on(node_at(issuer));
    let refused = ask(&program.node, &["token", "api", "--output", "json"]);
    assert_eq!(refused.code, Some(78), "{reason}: {refused:?}");
    let value: Value = serde_json::from_str(&refused.out).unwrap();
    assert_eq!(value["error"]["reason"], reason.to_ascii_uppercase());
    assert_eq!(value["error"]["retry_in"], Value::Null, "{reason}");
    assert!(!refused.err.contains("try again"), "{refused:?}");
    let status = ask(&program.node, &["status"]);
    // A text log quotes what has several words, and escapes quotes in it.
    let unquoted = |log: &str| log.replace("\\\"", "\"");
    let log = unquoted(&program.log_when(|log| {
        let log = unquoted(log);
        log.contains(reason) && facts.iter().all(|fact| log.contains(fact))
    }));
    for fact in facts {
        let places = [
            ("token", &refused.err),
            ("status", &status.out),
            ("log", &log),
        ];
        for (place, text) in places {
            assert!(text.contains(fact), "{reason} in {place}: {fact}\n{text}");
        }
    }
    assert!(log.contains(reason) && status.out.contains(reason), "{log}");
}

fn each_mistake_at_the_issuer_is_named_everywhere() -> Result<(), String> {
    let issuer = Scripted::start();
    let url = issuer.url.clone();
    let token = format!(r#","token_endpoint":"{url}/token""#);
    let slash = format!("{url}/");
    let at_check = |reason: &str, facts: &[&str]| {
        let config = node_at(&issuer);
        let checked = check(&config.write_configuration());
        assert_eq!(checked.code, Some(78), "{reason}: {checked:?}");
        assert!(checked.out.contains(reason), "{reason}: {}", checked.out);
        for fact in facts {
            assert!(checked.out.contains(fact), "{fact}: {}", checked.out);
        }
        named_everywhere(&issuer, reason, facts);
    };

    at_check("metadata_refused", &["HTTP 404"]);
    issuer.answer(
        METADATA,
        200,
        "content-type: text/html\r\n",
        "<!doctype html>",
    );
    at_check("html_page", &["HTML page"]);
    issuer.metadata(&slash, &token);
    let both = format!("`issuer` is {url}, the metadata says {slash}");
    at_check("issuer_mismatch", &[&both]);
    issuer.metadata("\\u001b[31mx\\\"\\n", &token);
    at_check("issuer_mismatch", &["the metadata says ?[31mx\"?"]);
    issuer.metadata(
        &url,
        r#","token_endpoint":"http://auth.example:81/token?x=y""#,
    );
    at_check(
        "insecure_endpoint",
        &["token_endpoint is at http://auth.example:81"],
    );
    issuer.metadata(&url, "");
    at_check("no_token_endpoint", &["`token_endpoint`"]);

    // Without a real request these are not seen.
    let refused = r#"{"error":"unauthorized_client"}"#;
    issuer.token(401, "", refused);
    named_everywhere(
        &issuer,
        "client_refused",
        &["check the secret in the backend", "allow the grant"],
    );
    issuer.token(400, "", refused);
    named_everywhere(&issuer, "unauthorized_client", &["Allow the grant"]);
    issuer.token(200, "", r#"{"access_token":"abcdefghijklmnopqrstuvwxyz"}"#);
    named_everywhere(
        &issuer,
        "missing_token_type",
        &["set `missing_token_type = "],
    );
    issuer.token(403, "", "{}");
    named_everywhere(&issuer, "refused", &["HTTP 403"]);
    issuer.token(200, "", "<html>");
    named_everywhere(&issuer, "html_page", &["HTML page"]);
    Ok(())
}

fn a_private_address_in_metadata_is_named_with_the_key_that_allows_it() -> Result<(), String> {
    let issuer = Scripted::start();
    issuer.metadata(&issuer.url, r#","token_endpoint":"https://10.1.2.3/token""#);
    named_everywhere(&issuer, "address_refused", &["10.1.2.3", "`dns.allow`"]);
    Ok(())
}

fn a_ca_that_cannot_be_read_is_named() -> Result<(), String> {
    let issuer = Scripted::start();
    let node = node_at(&issuer);
    let absent = node.configuration().replace(
        "[issuers.demo]\n",
        "[issuers.demo]\nca = \"/nonexistent/ca.pem\"\n",
    );
    let config = node.write("claviger.toml", &absent);
    let checked = check(&config);
    assert_eq!(checked.code, Some(78), "{checked:?}");
    assert!(checked.out.contains("/nonexistent/ca.pem"), "{checked:?}");
    let started = claviger(&["run", "--config", config.to_str().unwrap()]);
    assert_eq!(started.code, Some(78), "{started:?}");
    assert!(started.err.contains("/nonexistent/ca.pem"), "{started:?}");
    Ok(())
}

fn a_revocation_says_what_the_issuer_did() -> Result<(), String> {
    let issuer = Scripted::start();
    let endpoints = format!(
        r#","token_endpoint":"{0}/token","revocation_endpoint":"{0}/revoke""#,
        issuer.url
    );
    let token = r#"{"access_token":"abcdefghijklmnopqrstuvwxyz","token_type":"Bearer"}"#;
    issuer
        .metadata(&issuer.url, &endpoints)
        .answer("/t/token", 200, "", token);
    let program = Program::on(node_at(&issuer));
    let nothing = ask(&program.node, &["revoke", "api"]);
    assert_eq!(nothing.code, Some(0), "{nothing:?}");
    assert!(
        nothing.out.contains("no such token was cached"),
        "{nothing:?}"
    );
    let denied = ask(&program.node, &["revoke", "payroll"]);
    assert_eq!(denied.code, Some(77), "{denied:?}");
    for (status, body, code, outcome, reason) in [
        (200, "", 0, "revoked", Value::Null),
        (401, "", 78, "refused", "INVALID_CLIENT".into()),
        (500, "", 69, "refused", "UNAVAILABLE".into()),
        (
            400,
            r#"{"error":"unsupported_token_type"}"#,
            78,
            "unsupported",
            Value::Null,
        ),
    ] {
        issuer.answer("/t/revoke", status, "", body);
        assert_eq!(ask(&program.node, &["token", "api"]).code, Some(0));
        let revoked = ask(&program.node, &["revoke", "api", "--output", "json"]);
        assert_eq!(revoked.code, Some(code), "{revoked:?}");
        let value: Value = serde_json::from_str(&revoked.out).unwrap();
        assert_eq!(
            (&value["outcome"], &value["reason"]),
            (&outcome.into(), &reason)
        );
        assert_eq!(value["valid_until"].is_string(), code != 0, "{value}");
    }
    let log = program.log_when(|log| log.matches("revocation_failed").count() >= 3);
    assert!(log.contains("token_revoked"), "{log}");
    assert_eq!(log.matches("revocation_failed").count(), 3, "{log}");
    assert!(log.contains("HTTP 500"), "{log}");
    Ok(())
}

fn check_warns_of_scopes_that_the_issuer_does_not_list() -> Result<(), String> {
    let issuer = Scripted::start();
    let endpoint = format!(
        r#","token_endpoint":"{}/token","scopes_supported":["read:demo","wirte:demo"]"#,
        issuer.url
    );
    issuer.metadata(&issuer.url, &endpoint);
    let node = node_at(&issuer);
    let checked = check(&node.write_configuration());
    assert_eq!(checked.code, Some(0), "only a warning: {checked:?}");
    for line in [
        "! issuer demo: tokens.api requests scopes that the issuer's metadata does not list, so check their spelling: write:demo",
        "tokens.payroll requests scopes",
    ] {
        assert!(checked.out.contains(line), "{line}: {}", checked.out);
    }
    assert!(!checked.out.contains("tokens.wide"), "{}", checked.out);
    Ok(())
}

fn check_proves_a_token_by_a_real_request() -> Result<(), String> {
    let node = run(Node::new());
    let config = node.write_configuration();
    let check = |more: &[&str]| {
        claviger(&[&["check", "--config", config.to_str().unwrap()], more].concat())
    };
    let good = check(&["--token", "api"]);
    assert_eq!(good.code, Some(0), "{good:?}");
    assert!(
        good.out.contains("✓ token api: the issuer gave a token"),
        "{good:?}"
    );
    assert_eq!(node.issuer.requests(), 1, "one request");
    node.put_client_secret("not the secret");
    assert_eq!(check(&[]).code, Some(0), "not seen without a request");
    let wrong = check(&["--token", "api"]);
    assert_eq!(wrong.code, Some(78), "{wrong:?}");
    assert!(
        wrong.out.contains("✗ token api: invalid_client: "),
        "{wrong:?}"
    );
    let unknown = check(&["--token", "no-such"]);
    assert_eq!(unknown.code, Some(64), "{unknown:?}");
    assert_eq!(check(&["--token", "api", "--offline"]).code, Some(64));
    Ok(())
}

fn what_an_issuer_says_reaches_operators_alone_and_without_secrets() -> Result<(), String> {
    let issuer = Scripted::start();
    let mut node = node_at(&issuer);
    let posted = node
        .configuration()
        .replace("client_secret_basic", "client_secret_post");
    node.instead = Some(posted);
    let secrets = node.secrets();
    let refused = r#"{"error":"invalid_client"}"#;
    issuer.token(401, "", refused);
    let config = node.write_configuration();
    let ask_issuer = [
        "check",
        "--token",
        "api",
        "--config",
        config.to_str().unwrap(),
    ];
    claviger(&ask_issuer);
    // The issuer quotes the request that it got.
    let request = issuer.bodies().into_iter().rfind(|body| !body.is_empty());
    let request = request.unwrap();
    assert!(request.contains(&secrets[0]), "the control: {request}");
    let said = format!("MARKED {request} {}", secrets[0]);
    let body = serde_json::json!({ "error": "invalid_client", "error_description": said });
    issuer.token(401, "", &body.to_string());

    let checked = claviger(&ask_issuer);
    let program = Program::on(node);
    let refused = ask(&program.node, &["token", "api"]);
    let http = crate::wire::get(&program.node.socket(), "/v1/token/api");
    let status = ask(&program.node, &["status"]);
    let log = program.log_when(|log| log.contains("the issuer says"));
    for (place, text) in [
        ("check", &checked.out),
        ("status", &status.out),
        ("log", &log),
    ] {
        assert!(text.contains("the issuer says"), "{place}: {text}");
        assert!(
            text.contains("MARKED grant_type=client_credentials"),
            "{place}: {text}"
        );
        assert!(text.contains("[cut]"), "{place}: {text}");
    }
    let http = format!("{:?}", http.json());
    for (place, text) in [
        ("token", &refused.err),
        ("token", &refused.out),
        ("HTTP", &http),
    ] {
        assert!(!text.contains("MARKED"), "{place}: {text}");
    }
    for text in [&checked.out, &status.out, &log, &refused.err, &http] {
        for secret in &secrets {
            assert!(!text.contains(secret.get(..8).unwrap()), "{text}");
        }
    }
    Ok(())
}
