//! The real client against real servers on loopback: trust, pins, redirects, time and size limits.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData as _,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::tests::support::{
    Captured, SECRET, TOKEN, client_of, issuer_settings, scopes, token_settings,
};
use crate::{Endpoints, ErrorKind, Issuer, IssuerSettings, Revocation};
use claviger_backend::Secret;
use claviger_core::tokens::source::TokenSource as _;
use claviger_runtime::clock::SystemClock;

pub(crate) type Authority = CertifiedIssuer<'static, KeyPair>;

pub(crate) fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn intermediate(of: &Authority) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let name = rcgen::DnType::CommonName;
    params.distinguished_name.push(name, "intermediate");
    CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), of).unwrap()
}

fn pin(key: &KeyPair) -> [u8; 32] {
    let hash = digest(&SHA256, &key.subject_public_key_info());
    hash.as_ref().try_into().unwrap()
}

/// A certificate for loopback, and its key.
fn leaf(of: &Authority) -> (CertificateDer<'static>, KeyPair) {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, of);
    (certificate.unwrap().der().clone(), key)
}

/// What a server does with one connection.
#[derive(Clone)]
pub(crate) enum Behavior {
    /// Answers these bytes and closes.
    Answer(String),
    /// Answers these bytes, and then one more byte every 20 ms.
    Drip(String),
    /// Answers these bytes, and then zeros without end.
    Endless(String),
    /// Answers the first, and then the second without end.
    Flood(String, &'static str),
    /// Reads the request and closes.
    Hang,
    /// Reads the request and never answers.
    Silent,
}

/// A server on loopback that reads one request per connection and remembers it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    ca: tempfile::NamedTempFile,
}

impl Server {
    pub(crate) async fn clear(behavior: Behavior) -> Self {
        Self::start(behavior, None, &authority()).await
    }

    /// With a certificate of its own authority, whose bundle is `ca`.
    pub(crate) async fn secure(behavior: Behavior) -> (Self, [u8; 32]) {
        let ca = authority();
        let (certificate, key) = leaf(&ca);
        let pin = pin(&key);
        let server = Self::start(behavior, Some((vec![certificate], key)), &ca).await;
        (server, pin)
    }

    pub(crate) async fn start(
        behavior: Behavior,
        identity: Option<(Vec<CertificateDer<'static>>, KeyPair)>,
        ca: &Authority,
    ) -> Self {
        let bundle = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(bundle.path(), ca.pem()).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = identity.map(|(chain, key)| {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            let config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .unwrap();
            TlsAcceptor::from(Arc::new(config))
        });
        let server = Self {
            address,
            requests: Arc::default(),
            connections: Arc::default(),
            ca: bundle,
        };
        let (requests, connections) = (
            Arc::clone(&server.requests),
            Arc::clone(&server.connections),
        );
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let (acceptor, behavior) = (acceptor.clone(), behavior.clone());
                let requests = Arc::clone(&requests);
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(stream, &behavior, &requests).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, &behavior, &requests).await;
                            }
                        }
                    }
                });
            }
        });
        server
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn issuer(&self, scheme: &str) -> IssuerSettings {
        let mut settings = issuer_settings(&format!("{scheme}://{}", self.address));
        settings.endpoints = Endpoints {
            token: Some(format!("{scheme}://{}/token", self.address)),
            revocation: Some(format!("{scheme}://{}/revoke", self.address)),
        };
        settings.outbound.allow_loopback_http = scheme == "http";
        settings.outbound.ca = Some(self.ca.path().to_owned());
        settings
    }
}

/// Reads a request with its body, as far as its length is announced.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    behavior: &Behavior,
    requests: &Mutex<Vec<String>>,
) {
    let mut request = Vec::new();
    loop {
        let Ok(more @ 1..) = stream.read_buf(&mut request).await else {
            return;
        };
        let text = String::from_utf8_lossy(&request[request.len() - more..]).into_owned();
        let all = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = all.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.to_ascii_lowercase().lines().find_map(|line| {
            line.strip_prefix("content-length: ")
                .map(|length| length.parse::<usize>().unwrap())
        });
        if body.len() >= length.unwrap_or(0) {
            drop(text);
            requests.lock().unwrap().push(all);
            break;
        }
    }
    // The client may have closed the connection already.
    let (head, tail) = match behavior {
        Behavior::Answer(head)
        | Behavior::Drip(head)
        | Behavior::Endless(head)
        | Behavior::Flood(head, _) => (head.as_str(), behavior),
        Behavior::Hang => return,
        Behavior::Silent => return std::future::pending().await,
    };
    if stream.write_all(head.as_bytes()).await.is_err() {
        return;
    }
    match tail {
        Behavior::Drip(_) => {
            while stream.write_all(b" ").await.is_ok() && stream.flush().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Behavior::Flood(_, unit) => while stream.write_all(unit.as_bytes()).await.is_ok() {},
        Behavior::Endless(_) => while stream.write_all(&[b'0'; 4096]).await.is_ok() {},
        Behavior::Answer(_) | Behavior::Hang | Behavior::Silent => {
            drop(stream.shutdown().await);
        }
    }
}

fn http(status: &str, headers: &str, body: &str) -> Behavior {
    Behavior::Answer(format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
        body.len()
    ))
}

pub(crate) fn granted() -> Behavior {
    let body = format!(r#"{{"access_token":"{TOKEN}","token_type":"Bearer","expires_in":60}}"#);
    http("200 OK", "content-type: application/json\r\n", &body)
}

fn issuer(settings: IssuerSettings) -> Arc<Issuer> {
    Arc::new(Issuer::new(settings, Arc::new(SystemClock)).unwrap())
}

pub(crate) async fn obtain(settings: IssuerSettings) -> Result<(), ErrorKind> {
    let client = client_of(&issuer(settings), token_settings());
    let outcome = client.token(&scopes("read")).await;
    outcome.map(|_| ()).map_err(|error| error.kind)
}

#[tokio::test]
async fn a_request_is_a_plain_post_over_tls() {
    let (server, _) = Server::secure(granted()).await;
    assert_eq!(obtain(server.issuer("https")).await, Ok(()));
    let requests = server.requests();
    let [request] = requests.as_slice() else {
        panic!("one request, not {}", requests.len());
    };
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("post /token http/1.1\r\n"), "{head}");
    for header in [
        "content-type: application/x-www-form-urlencoded",
        "accept: application/json",
        "accept-encoding: identity",
        concat!("user-agent: claviger/", env!("CARGO_PKG_VERSION")),
        "authorization: basic ",
    ] {
        assert!(head.contains(&format!("\r\n{header}")), "{header}");
    }
    assert!(!head.contains("referer") && !head.contains("cookie"));
    assert!(body.starts_with("grant_type=client_credentials&scope=read"));
}

/// Accepts HTTP/2 over these versions of TLS, with a certificate of `ca`.
fn http2(ca: &Authority, versions: &[&'static rustls::SupportedProtocolVersion]) -> TlsAcceptor {
    let (certificate, key) = leaf(ca);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn issuers_may_speak_http2_over_tls_1_2() {
    let ca = authority();
    let acceptor = http2(&ca, &[&rustls::version::TLS12]);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = TokioIo::new(acceptor.accept(stream).await.unwrap());
        let service = service_fn(|request: hyper::Request<Incoming>| async move {
            assert_eq!(request.version(), hyper::Version::HTTP_2);
            let form = request.into_body().collect().await.unwrap().to_bytes();
            assert!(form.starts_with(b"grant_type=client_credentials"));
            let body = format!(r#"{{"access_token":"{TOKEN}","token_type":"Bearer"}}"#);
            hyper::Response::builder().body(Full::new(Bytes::from(body)))
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server.serve_connection(stream, service).await.unwrap();
    });
    let bundle = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(bundle.path(), ca.pem()).unwrap();
    let mut settings = issuer_settings(&format!("https://{address}"));
    settings.endpoints.token = Some(format!("https://{address}/token"));
    settings.outbound.ca = Some(bundle.path().to_owned());
    assert_eq!(obtain(settings).await, Ok(()));
}

#[tokio::test]
async fn a_bundle_is_the_only_trust() {
    let (server, _) = Server::secure(granted()).await;
    let (other, _) = Server::secure(granted()).await;
    let mut settings = server.issuer("https");
    settings.outbound.ca = Some(other.ca.path().to_owned());
    assert_eq!(obtain(settings.clone()).await, Err(ErrorKind::Untrusted));
    settings.outbound.ca = None;
    if let Ok(issuer) = Issuer::new(settings, Arc::new(SystemClock)) {
        let client = client_of(&Arc::new(issuer), token_settings());
        let kind = client.token(&scopes("read")).await.unwrap_err().kind;
        assert_eq!(kind, ErrorKind::Untrusted);
    }
    assert!(server.requests().is_empty(), "nothing left this process");
}

#[tokio::test]
async fn bundles_that_are_none_are_setup_errors() {
    let (server, _) = Server::secure(granted()).await;
    let empty = tempfile::NamedTempFile::new().unwrap();
    for (path, text) in [
        (
            PathBuf::from("/nonexistent/ca.pem"),
            "ca: /nonexistent/ca.pem: the CA bundle cannot be used".to_owned(),
        ),
        (
            empty.path().to_owned(),
            format!(
                "ca: {}: the CA bundle has no usable certificate",
                empty.path().display()
            ),
        ),
    ] {
        let mut settings = server.issuer("https");
        settings.outbound.ca = Some(path);
        let error = Issuer::new(settings, Arc::new(SystemClock)).unwrap_err();
        assert_eq!(error.to_string(), text);
    }
}

/// The issuer's `ca` and address policy apply to its resources as well, its pins do not.
#[tokio::test]
async fn resources_are_checked_like_the_issuer_but_without_its_pins() {
    let document = r#"{"resource":"https://another.example"}"#;
    let (server, _) = Server::secure(http("200 OK", "", document)).await;
    let (other, _) = Server::secure(granted()).await;
    let moved = http("302 Found", "Location: https://127.0.0.1/\r\n", "");
    let kind = async |settings: IssuerSettings, resource: String| {
        let issuer = issuer(settings);
        issuer.verify_resource(&resource).await.unwrap_err().kind
    };
    let mut settings = server.issuer("https");
    settings.outbound.pins = vec![[7; 32]];
    let here = |scheme: &str, host: &str| format!("{scheme}://{host}:{}/x", server.address.port());

    let read = kind(settings.clone(), here("https", "127.0.0.1")).await;
    assert_eq!(
        read,
        ErrorKind::ResourceMismatch,
        "read, and about another one"
    );
    let [request] = server.requests().try_into().unwrap();
    assert!(
        request.starts_with("GET /.well-known/oauth-protected-resource/x HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(!request.to_ascii_lowercase().contains("authorization"));

    let private = kind(settings.clone(), here("https", "localhost")).await;
    assert_eq!(private, ErrorKind::AddressRefused);
    let clear = kind(settings.clone(), here("http", "127.0.0.1")).await;
    assert_eq!(clear, ErrorKind::ResourceMismatch);
    assert_eq!(server.requests().len(), 1, "no other server got a request");

    settings.outbound.ca = Some(other.ca.path().to_owned());
    let untrusted = kind(settings, here("https", "127.0.0.1")).await;
    assert_eq!(untrusted, ErrorKind::Untrusted);

    let (redirecting, _) = Server::secure(moved).await;
    let resource = format!("https://{}", redirecting.address);
    let redirected = kind(redirecting.issuer("https"), resource).await;
    assert_eq!(redirected, ErrorKind::Redirect);
}

#[tokio::test]
async fn one_of_the_pins_must_be_there_after_the_ordinary_verification() {
    let (server, own) = Server::secure(granted()).await;
    for (pins, outcome) in [
        (vec![own], Ok(())),
        (vec![[7; 32], own], Ok(())),
        (vec![[7; 32]], Err(ErrorKind::PinMismatch)),
    ] {
        let mut settings = server.issuer("https");
        settings.outbound.pins = pins;
        assert_eq!(obtain(settings).await, outcome);
    }
    // A pin does not replace trust.
    let (other, _) = Server::secure(granted()).await;
    let mut settings = server.issuer("https");
    settings.outbound.pins = vec![own];
    settings.outbound.ca = Some(other.ca.path().to_owned());
    assert_eq!(obtain(settings).await, Err(ErrorKind::Untrusted));
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn intermediates_count_only_where_they_verify() {
    let root = authority();
    let good = intermediate(&root);
    let other = intermediate(&root);
    let (certificate, key) = leaf(&good);
    // The server sends the pinned but unrelated certificate along.
    let chain = vec![certificate, good.der().clone(), other.der().clone()];
    let server = Server::start(granted(), Some((chain, key)), &root).await;
    for (pinned, outcome) in [
        (&good, Ok(())),
        (&other, Err(ErrorKind::PinMismatch)),
        (&root, Err(ErrorKind::PinMismatch)),
    ] {
        let mut settings = server.issuer("https");
        settings.outbound.pins = vec![pin(pinned.key())];
        assert_eq!(obtain(settings).await, outcome);
    }
}

#[tokio::test]
async fn redirects_are_refused_and_their_target_gets_no_connection() {
    let (log, _guard) = Captured::start();
    let target = Server::clear(granted()).await;
    for status in ["301 x", "302 x", "303 x", "307 x", "308 x"] {
        let location = format!(
            "location: http://localhost:{}/secret-path?q=1\r\n",
            target.address.port()
        );
        let server = Server::clear(http(status, &location, "")).await;
        assert_eq!(
            obtain(server.issuer("http")).await,
            Err(ErrorKind::Redirect)
        );
        assert_eq!(server.requests().len(), 1);
    }
    assert_eq!(target.connections.load(Ordering::SeqCst), 0);
    let text = log.text();
    assert!(
        text.contains("from=\"127.0.0.1\"") && text.contains("to=\"localhost\""),
        "{text}"
    );
    assert!(!text.contains("secret-path"));
}

#[tokio::test]
async fn bodies_are_bounded_in_size_and_time() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let announced = format!("{head}content-length: 65537\r\n\r\n{{");
    let chunks = format!("{head}\r\n{{");
    for behavior in [
        Behavior::Answer(announced),
        Behavior::Endless(chunks.clone()),
    ] {
        let server = Server::clear(behavior).await;
        assert_eq!(
            obtain(server.issuer("http")).await,
            Err(ErrorKind::InvalidResponse)
        );
    }
    for behavior in [Behavior::Drip(chunks), Behavior::Silent] {
        let server = Server::clear(behavior).await;
        let mut settings = server.issuer("http");
        settings.outbound.timeout = Duration::from_millis(300);
        assert_eq!(obtain(settings).await, Err(ErrorKind::Timeout));
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn floods_around_the_body_are_bounded_too() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let body = format!(r#"{{"access_token":"{TOKEN}","token_type":"Bearer"}}"#);
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n");
    let whole = format!("{chunked}{:x}\r\n{body}\r\n0\r\n", body.len());
    for (what, behavior) in [
        (
            "interim answers",
            Behavior::Flood(String::new(), "HTTP/1.1 100 Continue\r\n\r\n"),
        ),
        ("headers", Behavior::Flood(head.to_owned(), "a: b\r\n")),
        (
            "one header",
            Behavior::Flood(format!("{head}a: "), "bbbbbbbbbbbbbbbb"),
        ),
        (
            "extensions of a chunk",
            Behavior::Flood(format!("{chunked}5;"), ";a=bbbbbbbbbbbb"),
        ),
        ("trailers", Behavior::Flood(whole, "a: bbbbbbbbbbbb\r\n")),
        (
            "empty chunks",
            Behavior::Flood(chunked.clone(), "1\r\n \r\n"),
        ),
    ] {
        let server = Server::clear(behavior).await;
        let settings = server.issuer("http");
        let kind = obtain(settings).await.unwrap_err();
        // Cut off by the count of bytes, or else by a limit of HTTP and then retried; never by time.
        let lost = ErrorKind::Unavailable {
            status: 0,
            retry_after: None,
        };
        let cut_off = kind == ErrorKind::InvalidResponse;
        assert!(cut_off || kind == lost, "{what}: {kind:?}");
        if what == "interim answers" {
            assert!(cut_off, "{kind:?}");
            assert_eq!(server.requests().len(), 1, "a flood is not retried");
        }
    }
}

#[tokio::test]
async fn interim_answers_over_http2_are_counted_too() {
    let ca = authority();
    let acceptor = http2(&ca, rustls::ALL_VERSIONS);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        // Empty SETTINGS.
        stream
            .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
            .await
            .unwrap();
        stream.read_exact(&mut [0; 24]).await.unwrap();
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            let length = usize::from(head[1]) << 8 | usize::from(head[2]);
            stream.read_exact(&mut vec![0; length]).await.unwrap();
            if head[3] == 1 {
                break;
            }
        }
        // HEADERS of the first stream: status 103, and nothing ends.
        let early_hints = [0, 0, 5, 1, 4, 0, 0, 0, 1, 8, 3, b'1', b'0', b'3'];
        let flood = early_hints.repeat(64);
        let mut sent = 0;
        while stream.write_all(&flood).await.is_ok() && stream.flush().await.is_ok() {
            sent += flood.len();
        }
        sent
    });
    let bundle = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(bundle.path(), ca.pem()).unwrap();
    let mut settings = issuer_settings(&format!("https://{address}"));
    settings.endpoints.token = Some(format!("https://{address}/token"));
    settings.outbound.ca = Some(bundle.path().to_owned());
    assert_eq!(obtain(settings).await, Err(ErrorKind::InvalidResponse));
    let sent = server.await.unwrap();
    // Beyond the count there is only what the sockets buffer.
    assert!((256 * 1024..16 * 1024 * 1024).contains(&sent), "{sent}");
}

#[tokio::test]
async fn a_flood_of_one_server_leaves_the_answer_of_another_alone() {
    let interim = Behavior::Flood(String::new(), "HTTP/1.1 100 Continue\r\n\r\n");
    let flooding = Server::clear(interim).await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut settings = flooding.issuer("http");
    settings.endpoints.token = Some(format!("http://{}/token", listener.local_addr().unwrap()));
    let client = client_of(&issuer(settings), token_settings());
    let (requested, seen) = tokio::sync::oneshot::channel();
    let (flooded, cut_off) = tokio::sync::oneshot::channel();
    let slow = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        requested.send(()).unwrap();
        cut_off.await.unwrap();
        let padding = "x".repeat(60 * 1024);
        let body =
            format!(r#"{{"access_token":"{TOKEN}","token_type":"Bearer","padding":"{padding}"}}"#);
        serve(stream, &http("200 OK", "", &body), &Mutex::default()).await;
    };
    let flood = async {
        seen.await.unwrap();
        let outcome = client.revoke(&Secret::from_text(TOKEN.to_owned())).await;
        assert_ne!(outcome, Revocation::Revoked);
        flooded.send(()).unwrap();
    };
    let wanted = scopes("read");
    let (issued, (), ()) = tokio::join!(client.token(&wanted), slow, flood);
    assert!(issued.is_ok(), "{issued:?}");
}

/// A proxy that opens one tunnel to `target`, and its address with the request line that it received.
async fn proxy(target: SocketAddr) -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let line = Arc::new(Mutex::new(String::new()));
    let seen = Arc::clone(&line);
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        *seen.lock().unwrap() = head.lines().next().unwrap().to_owned();
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut server = tokio::net::TcpStream::connect(target).await.unwrap();
        drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
    });
    (address, line)
}

#[tokio::test]
async fn a_proxy_tunnels_and_the_issuer_is_still_the_one_that_is_checked() {
    let (server, pin) = Server::secure(granted()).await;
    for (pin, outcome) in [(pin, Ok(())), ([0; 32], Err(ErrorKind::PinMismatch))] {
        let (address, line) = proxy(server.address).await;
        let mut settings = server.issuer("https");
        settings.outbound.pins = vec![pin];
        settings.outbound.proxy = Some(format!("http://{address}").parse().unwrap());
        // The proxy resolves the issuer's name, which no policy of this node sees.
        settings.endpoints.token = Some("https://localhost/token".to_owned());
        assert_eq!(obtain(settings).await, outcome);
        assert_eq!(*line.lock().unwrap(), "CONNECT localhost:443 HTTP/1.1");
    }
}

#[tokio::test]
async fn lost_connections_are_retried() {
    let server = Server::clear(Behavior::Hang).await;
    let lost = ErrorKind::Unavailable {
        status: 0,
        retry_after: None,
    };
    assert_eq!(obtain(server.issuer("http")).await, Err(lost));
    assert_eq!(server.requests().len(), 3);
    // The port is closed.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut settings = server.issuer("http");
    settings.endpoints.token = Some(format!("http://{}/token", listener.local_addr().unwrap()));
    drop(listener);
    assert_eq!(obtain(settings).await, Err(ErrorKind::ConnectionRefused));
}

#[tokio::test]
async fn names_must_resolve_to_allowed_addresses() {
    let (server, _) = Server::secure(granted()).await;
    let named = format!("https://localhost:{}/token", server.address.port());
    let mut settings = server.issuer("https");
    settings.endpoints.token = Some(named.clone());
    assert_eq!(
        obtain(settings.clone()).await,
        Err(ErrorKind::AddressRefused)
    );
    let client = client_of(&issuer(settings.clone()), token_settings());
    let error = client.token(&scopes("read")).await.unwrap_err();
    let fact = error.detail.fact.unwrap();
    assert!(fact.contains("127.0.0.1") || fact.contains("::1"), "{fact}");
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
    settings.outbound.dns.allow = vec!["127.0.0.1/32".parse().unwrap()];
    assert_eq!(obtain(settings.clone()).await, Ok(()));
    // In development the issuer may be localhost itself.
    settings.outbound.dns.allow = Vec::new();
    settings.issuer = format!("https://localhost:{}", server.address.port());
    assert_eq!(
        obtain(settings.clone()).await,
        Err(ErrorKind::AddressRefused)
    );
    settings.outbound.allow_loopback_http = true;
    assert_eq!(obtain(settings.clone()).await, Ok(()));
    settings.endpoints.token = Some("https://name.invalid/token".to_owned());
    assert_eq!(obtain(settings).await, Err(ErrorKind::NameNotResolved));
}

#[tokio::test]
async fn connections_are_kept_for_the_next_request() {
    let body = format!(r#"{{"access_token":"{TOKEN}","token_type":"Bearer"}}"#);
    let open = Behavior::Answer(format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
    // The server closes after each answer without saying so: the stale connection must not fail the next request.
    let server = Server::clear(open).await;
    let client = client_of(&issuer(server.issuer("http")), token_settings());
    for _ in 0..3 {
        client.token(&scopes("read")).await.unwrap();
    }
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn nothing_secret_is_logged_by_anything_at_any_level() {
    let (log, _guard) = Captured::start();
    let mut shown = String::new();
    let quoting = format!("{{\"error\":\"{TOKEN}\",\"error_description\":\"{SECRET}\"}}");
    for behavior in [
        granted(),
        http("400 x", "content-type: application/json\r\n", &quoting),
        http(
            "302 x",
            &format!("location: https://example.invalid/?{SECRET}\r\n"),
            "",
        ),
        http(
            "500 x",
            &format!("retry-after: {SECRET}\r\n"),
            &format!("<html>{SECRET}"),
        ),
        http("200 x", "content-encoding: gzip\r\n", SECRET),
        Behavior::Answer(format!("{SECRET}\r\n\r\n")),
        Behavior::Answer(format!("HTTP/1.1 200 x\r\n{SECRET}\r\n\r\n")),
        Behavior::Hang,
    ] {
        let (server, _) = Server::secure(behavior).await;
        let client = client_of(&issuer(server.issuer("https")), token_settings());
        match client.token(&scopes("read")).await {
            Ok(issued) => {
                write!(shown, "{issued:?}").unwrap();
                let revocation = client.revoke(&issued.access_token).await;
                assert_eq!(revocation, Revocation::Revoked);
            }
            Err(error) => write!(shown, "{error} {error:?}").unwrap(),
        }
        write!(shown, "{client:?}").unwrap();
        // Proof that the server got what must not be seen elsewhere.
        assert!(
            server
                .requests()
                .iter()
                .all(|request| request.contains("authorization: Basic"))
        );
    }
    let basic = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(format!("cl%3Aient:{SECRET}"))
    };
    for text in [shown, log.text()] {
        assert!(text.len() > 500);
        for secret in [SECRET, TOKEN, &basic] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
