//! Calls of peers: every allowed one, and malformed ones.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use claviger_proto::v1::secrets_client::SecretsClient;
use claviger_proto::v1::tokens_client::TokensClient;
use claviger_proto::v1::{
    GetSecretRequest, ReportRejectedRequest, RevokeTokenRequest, WatchTokenRequest,
};
use claviger_proto::{REQUEST_HEADER, REQUEST_HEADER_VALUE};
use hyper_util::rt::TokioIo;
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};

use crate::issuer::BAD;
use crate::support::Caller;
use crate::support::client::{named, reason};
use crate::world::{EACH_BAD, GOOD};

/// How long a peer waits until the daemon closes a connection.
const PATIENCE: Duration = Duration::from_secs(20);

/// A gRPC channel that serves several services.
pub(crate) async fn connect(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move {
            tokio::net::UnixStream::connect(socket)
                .await
                .map(TokioIo::new)
        }
    });
    let endpoint = Endpoint::from_static("http://claviger");
    endpoint.connect_with_connector(connector).await.unwrap()
}

fn meant<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = MetadataValue::from_static(REQUEST_HEADER_VALUE);
    request.metadata_mut().insert(REQUEST_HEADER, value);
    request
}

/// Reads the secret `value`.
pub(crate) async fn secret(channel: &Channel) -> Vec<u8> {
    let request = meant(GetSecretRequest {
        name: "value".to_owned(),
    });
    SecretsClient::new(channel.clone())
        .get_secret(request)
        .await
        .unwrap()
        .into_inner()
        .value
}

/// Requests every good token, renews each five times, watches one, and returns the text of the last.
pub(crate) async fn good_tokens(socket: &Path) -> String {
    let mut caller = Caller::connect(socket).await;
    let channel = connect(socket).await;
    let mut tokens = TokensClient::new(channel.clone());
    let watch = WatchTokenRequest {
        name: "good-0".to_owned(),
        scopes: Vec::new(),
    };
    let mut watch = tokens.watch_token(meant(watch)).await.unwrap().into_inner();
    let mut last = String::new();
    for round in 0..5 {
        for n in 0..GOOD {
            let mut wish = named(&format!("good-{n}"));
            wish.force_refresh = round > 0;
            let answer = caller.ask(wish).await.unwrap();
            assert_ne!(
                answer.access_token, last,
                "each renewal returns a new token"
            );
            last = answer.access_token;
        }
    }
    let followed = watch.message().await.unwrap().unwrap();
    assert!(!followed.access_token.is_empty());
    last
}

/// Requests every bad token at once, and returns the errors that the peers received.
pub(crate) async fn bad_tokens(socket: &Path) -> String {
    let mut tasks = Vec::new();
    for kind in BAD {
        let caller = Caller::connect(socket).await;
        for n in 0..EACH_BAD {
            let mut caller = caller.clone();
            tasks.push(tokio::spawn(async move {
                let name = format!("{kind}-{n}");
                let status = caller.get(&name).await.expect_err(&name);
                format!("{name}: {} {status} {status:?}\n", reason(&status))
            }));
        }
    }
    let mut answers = String::new();
    for task in tasks {
        answers.push_str(&task.await.unwrap());
    }
    answers
}

/// Reports a token with junk in every text field, then revokes it.
pub(crate) async fn reject_and_revoke(socket: &Path, token: &str, junk: &str) {
    let mut tokens = TokensClient::new(connect(socket).await);
    for fingerprint in [junk, token] {
        let report = ReportRejectedRequest {
            name: "good-1".to_owned(),
            fingerprint: fingerprint.to_owned(),
            http_status: 401,
            www_authenticate: format!(
                "Bearer error=\"invalid_token\", scope=\"{junk}\", realm=\"{token}\""
            ),
            ..ReportRejectedRequest::default()
        };
        tokens.report_rejected(meant(report)).await.unwrap();
    }
    for name in ["good-2", "good-3"] {
        let wish = RevokeTokenRequest {
            name: name.to_owned(),
            scopes: Vec::new(),
        };
        tokens.revoke_token(meant(wish)).await.unwrap();
    }
}

/// Sends a request over HTTP/1.1, and returns the raw answer.
pub(crate) fn http(socket: &Path, path: &str) -> Vec<u8> {
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: claviger\r\n{REQUEST_HEADER}: {REQUEST_HEADER_VALUE}\r\nconnection: close\r\n\r\n"
    );
    send(socket, head.as_bytes(), false)
}

/// Sends bytes and reads until the daemon closes the connection. With `ends`, closes the sending direction first, after which
/// the daemon may close without an answer.
fn send(socket: &Path, bytes: &[u8], ends: bool) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The daemon may close the connection before everything is sent.
    let _sent = stream.write_all(bytes);
    if ends {
        let _half = stream.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer);
    answer
}

/// Sends twenty malformed calls of each kind, with junk in them. Returns the daemon's answers.
pub(crate) fn malformed(socket: &Path, junk: &str) -> Vec<u8> {
    let mut answers = Vec::new();
    for n in 0..20_usize {
        for call in calls(n, junk) {
            answers.extend(send(socket, &call, true));
            answers.push(b'\n');
        }
    }
    answers
}

fn calls(n: usize, junk: &str) -> Vec<Vec<u8>> {
    let meant = format!("{REQUEST_HEADER}: {REQUEST_HEADER_VALUE}\r\n");
    let grpc = format!("{meant}content-type: application/grpc\r\nte: trailers\r\n");
    let mut calls = vec![junk.as_bytes().to_vec(), frames(n, junk)];
    let api = "GET /v1/token/good-0";
    for (line, headers, body) in [
        (&*format!("GET /{junk}"), &*meant, ""),
        (&format!("{api}?{junk}={junk}"), &meant, ""),
        (&format!("{api}?scope={junk}%22"), &meant, ""),
        (&format!("{api}?min_remaining={junk}"), &meant, ""),
        (&format!("{api}{}", junk.repeat(8)), &meant, ""),
        (api, &format!("authorization: Bearer {junk}\r\n"), ""),
        (api, &format!("{meant}origin: https://{junk}\r\n"), ""),
        (api, &format!("{meant}bad header {junk}\r\n"), ""),
        (
            "POST /v1/secret/value",
            &meant,
            &*format!("{{\"value\": \"{junk}\""),
        ),
        (
            "POST /claviger.v1.Tokens/GetToken",
            &grpc,
            &format!("\0\0\0\0\x30{junk}"),
        ),
        (&format!("POST /claviger.v1.Tokens/{junk}"), &grpc, junk),
    ] {
        let length = body.len();
        let call = format!(
            "{line} HTTP/1.1\r\nhost: claviger\r\n{headers}content-length: {length}\r\n\r\n{body}"
        );
        calls.push(call.into_bytes());
    }
    calls
}

/// A preface, settings, and a frame of the `n`-th type with junk in it.
fn frames(n: usize, junk: &str) -> Vec<u8> {
    let mut frames = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0".to_vec();
    frames.push(u8::try_from(junk.len()).unwrap());
    frames.push(u8::try_from(n).unwrap());
    frames.extend_from_slice(b"\x04\0\0\0\x01");
    frames.extend_from_slice(junk.as_bytes());
    frames
}
