//! A real authorization server: `oidc-provider` of npm, with faults and a log.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Skip;

/// The paths of its metadata: RFC 8414, then OpenID Connect.
pub const METADATA: [&str; 2] = [
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
];

/// The secret of the clients `cc-basic`, `cc:b&sic+2` and `cc-post`, with every character that an encoding can break.
pub const AWKWARD_SECRET: &str = r#"p+s s%2F:w&rd=~!*'()"<>[]{}|^`#@,;?/\.-_$"#;

/// Starting takes about a second, and longer on a loaded machine.
const START_LIMIT: Duration = Duration::from_mins(3);

/// A running server. Ends when dropped, or when this process exits.
#[derive(Debug)]
pub struct OidcProvider {
    child: Child,
    folder: TempDir,
    control: reqwest::Client,
    /// Its issuer identifier.
    pub issuer: String,
    /// What registration needs (RFC 7591).
    pub initial_access_token: String,
}

impl OidcProvider {
    /// Starts a server with TLS on a free port.
    pub fn start() -> Result<Self, Skip> {
        Self::launch(&[])
    }

    /// Starts a server that speaks plain HTTP.
    pub fn start_plain() -> Result<Self, Skip> {
        Self::launch(&["--http"])
    }

    fn launch(options: &[&str]) -> Result<Self, Skip> {
        let home = super::rig().join("oidc-provider");
        if !super::rig().join("oidc-provider.stamp").exists() {
            return Err(Skip::because("oidc-provider is not installed (`make rig`)"));
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let pki = folder.path().join("pki");
        let made = Command::new("bash")
            .arg(home.join("mkcerts.sh"))
            .arg(&pki)
            .output()
            .expect("bash runs");
        assert!(
            made.status.success(),
            "mkcerts.sh: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let errors = folder.path().join("stderr");
        let mut child = Command::new("node")
            .arg(home.join("as.mjs"))
            .args(["--lifeline", "--pki"])
            .arg(&pki)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&errors).expect("writable"))
            .spawn()
            .expect("node runs: the rig was installed with it");
        let ready = first_line(&mut child);
        let ready: Value = serde_json::from_str(&ready).unwrap_or_else(|_| {
            end(&mut child);
            panic!(
                "the server did not start: {}",
                fs::read_to_string(&errors).unwrap_or_default()
            )
        });
        let text = |key: &str| {
            ready[key]
                .as_str()
                .expect("the server's ready line has it")
                .to_owned()
        };
        let trusted = fs::read(pki.join("ca.pem")).expect("mkcerts.sh makes it");
        Ok(Self {
            child,
            folder,
            control: control_client(&trusted),
            issuer: text("issuer"),
            initial_access_token: text("initialAccessToken"),
        })
    }

    /// The path of one of its certificates: `ca.pem`, `evilca.pem`, …
    pub fn pki(&self, file: &str) -> PathBuf {
        self.folder.path().join("pki").join(file)
    }

    /// Changes knobs; see tests/README.md.
    pub async fn ctl(&self, knobs: Value) {
        let answer = self
            .control
            .post(format!("{}/__test/ctl", self.issuer))
            .body(knobs.to_string())
            .send()
            .await;
        let status = answer.expect("the control plane answers").status();
        assert!(status.is_success(), "the control plane answers {status}");
    }

    /// Sets the only fault.
    pub async fn fault(&self, fault: Value) {
        self.ctl(json!({ "faults": [fault] })).await;
    }

    /// Answers the next `times` requests to `/token` with this JSON and status 200.
    pub async fn reply_token(&self, times: u32, body: &str) {
        self.fault(json!({
            "path": "/token", "times": times, "status": 200,
            "headers": { "content-type": "application/json" }, "body": body,
        }))
        .await;
    }

    /// Registers a client (RFC 7591) with this access token, and returns the status.
    pub async fn register(&self, access_token: &str) -> u16 {
        let client = json!({ "redirect_uris": ["https://client.example.test/callback"] });
        let answer = self
            .control
            .post(format!("{}/reg", self.issuer))
            .header("content-type", "application/json")
            .bearer_auth(access_token)
            .body(client.to_string())
            .send()
            .await;
        answer.expect("the server answers").status().as_u16()
    }

    /// The metadata document as the server publishes it. The request is logged like every other.
    pub async fn metadata(&self) -> Value {
        let answer = self
            .control
            .get(format!("{}{}", self.issuer, METADATA[0]))
            .send()
            .await;
        let body = answer
            .expect("the server answers")
            .bytes()
            .await
            .expect("with a body");
        serde_json::from_slice(&body).expect("in JSON")
    }

    /// The log from entry `from` on.
    pub async fn log_from(&self, from: usize) -> Vec<Value> {
        let answer = self
            .control
            .get(format!("{}/__test/log?from={from}", self.issuer))
            .send()
            .await;
        let body = answer
            .expect("the control plane answers")
            .bytes()
            .await
            .expect("with a body");
        let log: Vec<Value> = serde_json::from_slice(&body).expect("in JSON");
        let harness: Vec<_> = log
            .iter()
            .filter(|entry| entry["kind"] == "harness_error")
            .collect();
        assert!(
            harness.is_empty(),
            "the test server itself failed: {harness:?}"
        );
        log
    }

    /// The current length of the log, for a later [`log_from`](Self::log_from).
    pub async fn mark(&self) -> usize {
        self.log_from(0).await.len()
    }

    /// How many requests arrived since `mark`, at any path.
    pub async fn requests(&self, mark: usize) -> usize {
        let log = self.log_from(mark).await;
        log.iter().filter(|entry| entry["kind"] == "http").count()
    }

    /// How many requests arrived at the token endpoint since `mark`.
    pub async fn token_requests(&self, mark: usize) -> usize {
        let log = self.log_from(mark).await;
        log.iter()
            .filter(|entry| entry["kind"] == "http" && entry["path"] == "/token")
            .count()
    }

    /// The outcomes of grants since `mark`: `grant.success` and `grant.error` entries.
    pub async fn grants(&self, mark: usize) -> Vec<Value> {
        let mut log = self.log_from(mark).await;
        log.retain(|entry| {
            entry["ev"]
                .as_str()
                .is_some_and(|event| event.starts_with("grant."))
        });
        log
    }
}

impl Drop for OidcProvider {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");
}

/// The first line that the child prints; empty if it exits or times out.
fn first_line(child: &mut Child) -> String {
    let output = child.stdout.take().expect("it is piped");
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(output).read_line(&mut line);
        send.send(read.map(|_| line).unwrap_or_default())
    });
    receive.recv_timeout(START_LIMIT).unwrap_or_default()
}

fn control_client(trusted: &[u8]) -> reqwest::Client {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(trusted) {
        roots.add(certificate.expect("PEM")).expect("a certificate");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()
        .expect("a client")
}
