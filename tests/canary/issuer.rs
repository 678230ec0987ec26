//! An issuer with TLS. Its good answers carry a canary in the token, its bad ones in every field that could leak.
//!
//! The requested scope selects the answer; see [`BAD`].

use std::convert::Infallible;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer as Authority, KeyPair, SanType};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// The scopes that receive a bad answer, with a canary in it.
pub(crate) const BAD: [&str; 13] = [
    "object-token",
    "list-token",
    "wrong-types",
    "truncated",
    "not-utf8",
    "status-500",
    "status-503",
    "in-error",
    "echoed-secret",
    "html",
    "redirect",
    "unusable-token",
    "twice",
];

/// The canaries in the issuer's answers.
#[derive(Debug)]
pub(crate) struct Bait {
    /// The prefix of every good token.
    pub(crate) token: Mutex<String>,
    /// The canary in the bad answers.
    pub(crate) bad: String,
    served: AtomicUsize,
}

impl Bait {
    pub(crate) fn new(token: &str, bad: &str) -> Arc<Self> {
        Arc::new(Self {
            token: Mutex::new(token.to_owned()),
            bad: bad.to_owned(),
            served: AtomicUsize::new(0),
        })
    }

    /// How many good tokens were issued.
    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }
}

/// A running issuer. Its tasks end with their runtime.
#[derive(Debug)]
pub(crate) struct Issuer {
    address: SocketAddr,
    /// The certificate that the daemon's configuration trusts.
    pub(crate) ca: PathBuf,
}

impl Issuer {
    /// Starts an issuer that speaks HTTP/2, or only HTTP/1.1, and writes its certificate below `folder`.
    pub(crate) async fn start(folder: &Path, http2: bool, bait: &Arc<Bait>) -> Self {
        let (config, authority) = tls(http2);
        let ca = folder.join(if http2 { "ca-2.pem" } else { "ca-1.pem" });
        fs::write(&ca, authority).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (acceptor, bait) = (TlsAcceptor::from(Arc::new(config)), Arc::clone(bait));
        tokio::spawn(async move {
            while let Ok((stream, _address)) = listener.accept().await {
                let (acceptor, bait) = (acceptor.clone(), Arc::clone(&bait));
                tokio::spawn(async move {
                    // The issuer ignores a client that disconnects.
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service =
                        service_fn(move |request| answer(Arc::clone(&bait), address, request));
                    let builder = Builder::new(TokioExecutor::new());
                    drop(
                        builder
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        Self { address, ca }
    }

    /// Its issuer identifier.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

/// A TLS configuration with a new certificate, and the authority that signed it.
fn tls(http2: bool) -> (ServerConfig, String) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let authority = Authority::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let mut server = CertificateParams::default();
    server.subject_alt_names = vec![
        SanType::IpAddress(Ipv4Addr::LOCALHOST.into()),
        SanType::DnsName("issuer.test".try_into().unwrap()),
    ];
    let certificate = server.signed_by(&key, &authority).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = if http2 {
        vec![b"h2".to_vec()]
    } else {
        vec![b"http/1.1".to_vec()]
    };
    (config, pem)
}

async fn answer(
    bait: Arc<Bait>,
    address: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let url = format!("https://{address}");
    Ok(match head.uri.path() {
        "/.well-known/oauth-authorization-server" => reply(
            200,
            &json!({
                "issuer": url, "token_endpoint": format!("{url}/token"),
                "revocation_endpoint": format!("{url}/revoke"), "response_types_supported": [],
            }),
        ),
        "/revoke" => reply(200, &json!({})),
        "/token" => {
            let proof = head
                .headers
                .get("authorization")
                .map(|value| value.as_bytes().to_vec());
            let fields: Vec<_> = form_urlencoded::parse(&body).collect();
            let field = |name| {
                let found = fields.iter().find(|(key, _)| key == name);
                found.map(|(_, value)| value.as_ref()).unwrap_or_default()
            };
            if proof.is_none() && field("client_secret").is_empty() {
                return Ok(reply(401, &json!({ "error": "invalid_client" })));
            }
            match field("scope") {
                "good" => good(&bait),
                scope => bad(&bait, scope, proof.as_deref().unwrap_or_default(), &url),
            }
        }
        _ => reply(404, &json!({})),
    })
}

fn good(bait: &Bait) -> Response<Full<Bytes>> {
    let served = bait.served.fetch_add(1, Ordering::SeqCst);
    let token = format!("{}.{served}", bait.token.lock().unwrap());
    reply(
        200,
        &json!({ "access_token": token, "token_type": "Bearer", "expires_in": 3600 }),
    )
}

fn bad(bait: &Bait, scope: &str, proof: &[u8], url: &str) -> Response<Full<Bytes>> {
    let canary = bait.bad.as_str();
    let proof = String::from_utf8_lossy(proof);
    let (status, header, body) = match scope {
        "status-503" => (
            503,
            ("retry-after", canary.to_owned()),
            json!({ "error": canary, "access_token": canary }),
        ),
        "in-error" => {
            let uri = format!("{url}/{canary}");
            let body = json!({ "error": canary, "error_description": canary, "error_uri": uri, "access_token": canary });
            (400, ("date", canary.to_owned()), body)
        }
        "echoed-secret" => {
            let challenge = format!("Basic realm=\"{canary}\", error_description=\"{proof}\"");
            let description = format!("not good: {proof}");
            let body = json!({ "error": "invalid_client", "error_description": description });
            (401, ("www-authenticate", challenge), body)
        }
        "redirect" => {
            let location = format!("{url}/{canary}?access_token={canary}");
            (302, ("location", location), json!({}))
        }
        _ => return malformed(scope, canary),
    };
    let mut answer = reply(status, &body);
    answer
        .headers_mut()
        .insert(header.0, header.1.parse().unwrap());
    answer
}

/// Answers whose body is not a valid token response.
fn malformed(scope: &str, canary: &str) -> Response<Full<Bytes>> {
    let json = |body: Vec<u8>| text(200, "application/json", body);
    match scope {
        "object-token" => reply(
            200,
            &json!({ "access_token": { canary: canary }, "token_type": "Bearer" }),
        ),
        "list-token" => reply(
            200,
            &json!({ "access_token": [canary], "token_type": canary }),
        ),
        "wrong-types" => reply(
            200,
            &json!({ "access_token": canary, "token_type": 7, "expires_in": { canary: [canary] } }),
        ),
        "unusable-token" => {
            let token = format!("{canary} and more");
            reply(
                200,
                &json!({ "access_token": token, "token_type": "Bearer" }),
            )
        }
        "truncated" => json(format!("{{\"access_token\":\"{canary}\",\"token_ty").into_bytes()),
        "not-utf8" => {
            let mut body = format!("{{\"access_token\":\"{canary}").into_bytes();
            body.extend_from_slice(b"\xff\xfe\",\"token_type\":\"Bearer\"}");
            json(body)
        }
        "status-500" => text(500, "text/plain", format!("the token is {canary}")),
        "html" => text(200, "text/html", format!("<p>{canary}</p>")),
        "twice" => {
            let token = format!("\"access_token\":\"{canary}\"");
            json(
                format!("{{{token},{token},\"token_type\":\"Bearer\",\"{canary}\":1}}")
                    .into_bytes(),
            )
        }
        other => panic!("no test requests the scope {other}"),
    }
}

fn reply(status: u16, body: &serde_json::Value) -> Response<Full<Bytes>> {
    text(status, "application/json", body.to_string())
}

fn text(status: u16, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("content-type", kind)
        .header("cache-control", "no-store")
        .body(Full::new(body.into()))
        .unwrap()
}
