//! An OAuth issuer on loopback, for the demo and for tests.
//!
//! Owns a small, strict authorization server: RFC 8414 metadata, a token endpoint with `client_credentials` and
//! `client_secret_basic`, and revocation (RFC 7009). It rejects what a real one rejects: a second authentication mechanism, a
//! repeated parameter, an unknown scope, another content type. Counts token requests. Never part of a running daemon.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use claviger_backend::Secret;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::Error;

/// The identifier of the only client.
const CLIENT_ID: &str = "demo-client";
/// The scopes that the client may request. A token with the last one is as long as a token with claims.
const SCOPES: [&str; 4] = ["read:demo", "write:demo", "read:payroll", LARGE];
const LARGE: &str = "read:large";
/// The lifetime of a token, in seconds.
const LIFETIME: u64 = 3600;
/// Parameters for authentication methods other than the header.
const OTHER_PROOFS: [&str; 4] = [
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
];
/// The size limit of a request, in bytes.
const LARGEST_REQUEST: usize = 16 * 1024;

/// A running issuer. Its tasks end with the runtime that they were started on.
#[derive(Debug)]
pub struct Issuer {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    address: SocketAddr,
    secret: String,
    requests: AtomicUsize,
    live: Mutex<HashSet<String>>,
}

impl Issuer {
    /// Starts an issuer on a free port of 127.0.0.1, with a fresh client secret.
    ///
    /// # Errors
    /// If no port or no random bytes are available.
    pub async fn start() -> Result<Self, Error> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(|error| Error::System("listen on loopback", error))?;
        let address = listener
            .local_addr()
            .map_err(|error| Error::System("listen on loopback", error))?;
        let state = Arc::new(State {
            address,
            secret: random_text()?,
            requests: AtomicUsize::new(0),
            live: Mutex::default(),
        });
        tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Self { state })
    }

    /// Its issuer identifier.
    pub fn url(&self) -> String {
        self.state.url()
    }

    /// The client's identifier.
    pub fn client_id(&self) -> &'static str {
        CLIENT_ID
    }

    /// The client's secret.
    pub fn client_secret(&self) -> Secret {
        Secret::from_text(self.state.secret.clone())
    }

    /// The number of token requests received, valid or not.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Whether it issued this token, and the token is not revoked.
    pub fn knows(&self, token: &str) -> bool {
        self.state
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(token)
    }
}

fn random_text() -> Result<String, Error> {
    let mut bytes = [0; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_unspecified| Error::Unexpected("the system has no random bytes"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, _address)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let state = Arc::clone(&state);
                async move { Ok::<_, Infallible>(state.answer(request).await) }
            });
            let io = TokioIo::new(stream);
            // An issuer does not care about clients that disconnect.
            drop(
                Builder::new(TokioExecutor::new())
                    .serve_connection(io, service)
                    .await,
            );
        });
    }
}

/// An answer: a status and a JSON body.
type Answer = (StatusCode, Value);

fn refuse(status: StatusCode, error: &str) -> Answer {
    (status, json!({ "error": error }))
}

impl State {
    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (status, body) = match (request.method(), request.uri().path()) {
            (&Method::GET, "/.well-known/oauth-authorization-server") => self.metadata(),
            (&Method::POST, "/token") => {
                self.requests.fetch_add(1, Ordering::SeqCst);
                self.authenticated(request, Self::token).await
            }
            (&Method::POST, "/revoke") => self.authenticated(request, Self::revoke).await,
            (_, "/token" | "/revoke") => refuse(StatusCode::METHOD_NOT_ALLOWED, "invalid_request"),
            _ => refuse(StatusCode::NOT_FOUND, "not_found"),
        };
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            // RFC 6749 §5.2: the scheme that the client used.
            let scheme = http::HeaderValue::from_static("Basic");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        let json = http::HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        headers.insert(
            header::CACHE_CONTROL,
            http::HeaderValue::from_static("no-store"),
        );
        response
    }

    fn metadata(&self) -> Answer {
        let url = self.url();
        let metadata = json!({
            "issuer": url,
            "token_endpoint": format!("{url}/token"),
            "revocation_endpoint": format!("{url}/revoke"),
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": [],
            "scopes_supported": SCOPES,
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        });
        (StatusCode::OK, metadata)
    }

    /// Parses a form, checks that it has exactly one credential and that it is the client's, then calls `then`.
    async fn authenticated(
        &self,
        request: Request<Incoming>,
        then: fn(&Self, &HashMap<String, String>) -> Answer,
    ) -> Answer {
        let bad = || refuse(StatusCode::BAD_REQUEST, "invalid_request");
        let (head, body) = request.into_parts();
        if !is_form(&head.headers) || head.uri.query().is_some() {
            return bad();
        }
        let Ok(body) = Limited::new(body, LARGEST_REQUEST).collect().await else {
            return bad();
        };
        let mut fields = HashMap::new();
        for (name, value) in form_urlencoded::parse(&body.to_bytes()) {
            // RFC 6749 §3.2: parameters must not be included more than once.
            if fields
                .insert(name.into_owned(), value.into_owned())
                .is_some()
            {
                return bad();
            }
        }
        let mut proofs = head.headers.get_all(header::AUTHORIZATION).iter();
        let authorization = proofs.next();
        if proofs.next().is_some() || OTHER_PROOFS.iter().any(|name| fields.contains_key(*name)) {
            // RFC 6749 §2.3: not more than one authentication method in each request.
            return bad();
        }
        if !authorization.is_some_and(|value| self.is_client(value.as_bytes())) {
            return refuse(StatusCode::UNAUTHORIZED, "invalid_client");
        }
        then(self, &fields)
    }

    /// RFC 6749 §2.3.1: both halves are form-encoded before they are joined.
    fn is_client(&self, authorization: &[u8]) -> bool {
        let decode = || {
            let encoded = authorization.strip_prefix(b"Basic ")?;
            let pair = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
            let (id, secret) = pair.split_once(':')?;
            Some((form_decode(id)?, form_decode(secret)?))
        };
        decode().is_some_and(|(id, secret)| {
            id == CLIENT_ID
                && verify_slices_are_equal(secret.as_bytes(), self.secret.as_bytes()).is_ok()
        })
    }

    fn token(&self, fields: &HashMap<String, String>) -> Answer {
        match fields.get("grant_type").map(String::as_str) {
            Some("client_credentials") => {}
            Some(_) => return refuse(StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            None => return refuse(StatusCode::BAD_REQUEST, "invalid_request"),
        }
        let scope = fields.get("scope").map_or("read:demo", String::as_str);
        if !scope.split(' ').all(|scope| SCOPES.contains(&scope)) {
            return refuse(StatusCode::BAD_REQUEST, "invalid_scope");
        }
        let Ok(mut token) = random_text() else {
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, "server_error");
        };
        if scope == LARGE {
            token.push_str(&".0123456789abcdef".repeat(60));
        }
        self.live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(token.clone());
        let answer = json!({
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": LIFETIME,
            "scope": scope,
        });
        (StatusCode::OK, answer)
    }

    fn revoke(&self, fields: &HashMap<String, String>) -> Answer {
        match fields.get("token") {
            Some(token) => {
                self.live
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(token);
                (StatusCode::OK, Value::Null)
            }
            None => refuse(StatusCode::BAD_REQUEST, "invalid_request"),
        }
    }
}

/// Whether there is exactly one content type, and it is that of a form.
fn is_form(headers: &http::HeaderMap) -> bool {
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let (kind, other) = (kinds.next(), kinds.next());
    let name = kind.and_then(|kind| kind.to_str().ok()?.split(';').next());
    let form = "application/x-www-form-urlencoded";
    other.is_none() && name.is_some_and(|name| name.trim().eq_ignore_ascii_case(form))
}

fn form_decode(half: &str) -> Option<String> {
    // Each half must have `=` and `&` escaped, so it parses as one name without a value. The parser would accept them
    // unescaped.
    if half.contains(['=', '&']) {
        return None;
    }
    let mut pairs = form_urlencoded::parse(half.as_bytes());
    Some(pairs.next().unwrap_or_default().0.into_owned())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";
    const GRANT: &str = "grant_type=client_credentials";

    /// The status and the body of the answer.
    async fn post(issuer: &Issuer, target: &str, headers: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(issuer.state.address).await.unwrap();
        let request = format!(
            "POST {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().to_owned();
        assert_eq!(head.contains("www-authenticate: Basic"), status == "401");
        (status, body.to_owned())
    }

    #[tokio::test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    async fn invalid_requests_are_rejected() {
        let issuer = Issuer::start().await.unwrap();
        let basic = |pair: String| format!("authorization: Basic {}\r\n", STANDARD.encode(pair));
        let good = basic(format!("{CLIENT_ID}:{}", issuer.state.secret));
        let proof = format!("{FORM}{good}");
        let (status, body) = post(&issuer, "/token", &proof, GRANT).await;
        assert_eq!(status, "200");
        let token: Value = serde_json::from_str(&body).unwrap();
        assert!(issuer.knows(token["access_token"].as_str().unwrap()));
        let charset =
            format!("content-type: Application/x-www-form-urlencoded; charset=utf-8\r\n{good}");
        assert_eq!(post(&issuer, "/token", &charset, GRANT).await.0, "200");

        let wrong = format!("{FORM}{}", basic(format!("{CLIENT_ID}:x")));
        let raw = format!(
            "{FORM}{}",
            basic(format!("{CLIENT_ID}:{}&", issuer.state.secret))
        );
        let json = format!("content-type: application/json\r\n{good}");
        let longer = format!("content-type: application/x-www-form-urlencoded2\r\n{good}");
        let twice = format!("{FORM}{FORM}{good}");
        let two = format!("{FORM}{good}{good}");
        let with = |more: &str| format!("{GRANT}&{more}");
        for (target, headers, body, status, error) in [
            ("/token", FORM, GRANT.to_owned(), "401", "invalid_client"),
            ("/token", &wrong, GRANT.to_owned(), "401", "invalid_client"),
            ("/token", &raw, GRANT.to_owned(), "401", "invalid_client"),
            ("/token", &two, GRANT.to_owned(), "400", "invalid_request"),
            ("/token", &good, GRANT.to_owned(), "400", "invalid_request"),
            ("/token", &json, GRANT.to_owned(), "400", "invalid_request"),
            (
                "/token",
                &longer,
                GRANT.to_owned(),
                "400",
                "invalid_request",
            ),
            ("/token", &twice, GRANT.to_owned(), "400", "invalid_request"),
            (
                "/token?a=b",
                &proof,
                GRANT.to_owned(),
                "400",
                "invalid_request",
            ),
            ("/token", &proof, with(GRANT), "400", "invalid_request"),
            (
                "/token",
                &proof,
                with("client_id=demo-client"),
                "400",
                "invalid_request",
            ),
            (
                "/token",
                &proof,
                with("client_secret=x"),
                "400",
                "invalid_request",
            ),
            (
                "/token",
                &proof,
                with("client_assertion=x"),
                "400",
                "invalid_request",
            ),
            (
                "/token",
                &proof,
                with("scope=admin"),
                "400",
                "invalid_scope",
            ),
            (
                "/token",
                &proof,
                with("scope=read:demo++write:demo"),
                "400",
                "invalid_scope",
            ),
            ("/token", &proof, String::new(), "400", "invalid_request"),
            (
                "/token",
                &proof,
                "grant_type=password".to_owned(),
                "400",
                "unsupported_grant_type",
            ),
            ("/revoke", &proof, String::new(), "400", "invalid_request"),
            (
                "/revoke",
                FORM,
                "token=x".to_owned(),
                "401",
                "invalid_client",
            ),
        ] {
            let answer = post(&issuer, target, headers, &body).await;
            let expected = format!(r#"{{"error":"{error}"}}"#);
            assert_eq!(
                answer,
                (status.to_owned(), expected),
                "{target} {headers} {body}"
            );
        }
    }
}
