//! Resolvers against a DNS server over TLS and over HTTPS.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hickory_resolver::proto::op::{Message, MessageType};
use hickory_resolver::proto::rr::rdata::{A, AAAA};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower_service::Service as _;

use super::resolver::Turns;
use super::*;
use crate::http::{Error, Roots, client_config};
use crate::settings::{self, DnsSettings};

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// What the server says: the addresses of each query in turn, the last of them from then on. Without any it does not answer.
type Answers = &'static [&'static [&'static str]];

#[derive(Clone, Copy, PartialEq)]
enum Over {
    Tls,
    Https,
}

struct Server {
    address: SocketAddr,
    ca: tempfile::NamedTempFile,
}

impl Server {
    async fn start(over: Over, answers: Answers) -> Self {
        let ca = authority();
        let key = KeyPair::generate().unwrap();
        let names = vec!["dns.example".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &ca);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.unwrap().der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        if over == Over::Https {
            config.alpn_protocols = vec![b"h2".to_vec()];
        }
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let bundle = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(bundle.path(), ca.pem()).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let asked = Arc::new(AtomicUsize::new(0));
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, asked) = (acceptor.clone(), Arc::clone(&asked));
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        match over {
                            Over::Tls => serve_tls(stream, answers, &asked).await,
                            Over::Https => serve_https(stream, answers, asked).await,
                        }
                    }
                });
            }
        });
        Self {
            address,
            ca: bundle,
        }
    }

    fn settings(&self, over: Over) -> DnsSettings {
        let (servers, name) = (vec![self.address], "dns.example".to_owned());
        DnsSettings {
            resolver: match over {
                Over::Tls => settings::Resolver::Tls { servers, name },
                Over::Https => settings::Resolver::Https { servers, name },
            },
            dnssec: false,
            ca: Some(self.ca.path().to_owned()),
            timeout: Duration::from_secs(5),
            allow: Vec::new(),
        }
    }
}

/// Two bytes of length before each message (RFC 7858 §3.3).
async fn serve_tls(mut stream: TlsStream<TcpStream>, answers: Answers, asked: &AtomicUsize) {
    while let Ok(length) = stream.read_u16().await {
        let mut query = vec![0; usize::from(length)];
        stream.read_exact(&mut query).await.unwrap();
        let Some(answer) = answer(&query, answers, asked) else {
            continue;
        };
        stream
            .write_u16(answer.len().try_into().unwrap())
            .await
            .unwrap();
        stream.write_all(&answer).await.unwrap();
        stream.flush().await.unwrap();
    }
}

async fn serve_https(stream: TlsStream<TcpStream>, answers: Answers, asked: Arc<AtomicUsize>) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let asked = Arc::clone(&asked);
        async move {
            assert_eq!(request.uri().path(), "/dns-query");
            let query = request.into_body().collect().await.unwrap().to_bytes();
            let Some(answer) = answer(&query, answers, &asked) else {
                return std::future::pending().await;
            };
            hyper::Response::builder()
                .header("content-type", "application/dns-message")
                .body(Full::new(Bytes::from(answer)))
        }
    });
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    // The client may end the connection at any time.
    drop(server.serve_connection(TokioIo::new(stream), service).await);
}

fn answer(query: &[u8], answers: Answers, asked: &AtomicUsize) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).unwrap();
    let question = query.queries.first().unwrap().clone();
    let kind = question.query_type();
    // Both address families are queried at once; the query for IPv4 counts.
    let turn = if kind == RecordType::A {
        asked.fetch_add(1, Ordering::SeqCst)
    } else {
        asked.load(Ordering::SeqCst).saturating_sub(1)
    };
    let addresses = answers.get(turn).or(answers.last())?;
    let mut response = Message::response(query.metadata.id, query.metadata.op_code);
    response.metadata.message_type = MessageType::Response;
    for address in *addresses {
        let data = match (address.parse().unwrap(), kind) {
            (IpAddr::V4(address), RecordType::A) => RData::A(A(address)),
            (IpAddr::V6(address), RecordType::AAAA) => RData::AAAA(AAAA(address)),
            _ => continue,
        };
        // No lifetime, so that the next query is not answered from a cache.
        response.add_answer(Record::from_rdata(question.name().clone(), 0, data));
    }
    response.add_query(question);
    Some(response.to_vec().unwrap())
}

fn resolver(settings: &DnsSettings) -> Resolver {
    let ca = settings.ca.clone().unwrap_or_default();
    let tls = client_config(&Roots::bundle(&ca).unwrap(), &[]).unwrap();
    Resolver::new(settings, tls, AddressPolicy::new(settings.allow.clone())).unwrap()
}

#[derive(Debug, PartialEq)]
enum Found {
    Addresses(Vec<String>),
    Refused,
    Nothing,
}

async fn ask(resolver: &Resolver) -> Found {
    match resolver.clone().call("auth.example".parse().unwrap()).await {
        Ok(addresses) => {
            let mut found: Vec<_> = addresses.map(|address| address.ip().to_string()).collect();
            found.sort();
            Found::Addresses(found)
        }
        Err(Error::AddressRefused(_)) => Found::Refused,
        Err(error) => {
            assert_eq!(error, Error::NotResolved);
            Found::Nothing
        }
    }
}

fn found(addresses: &[&str]) -> Found {
    Found::Addresses(addresses.iter().map(|&one| one.to_owned()).collect())
}

#[tokio::test]
async fn public_addresses_are_found_over_both_protocols() {
    for over in [Over::Tls, Over::Https] {
        let server = Server::start(over, &[&["8.8.4.4", "2606:4700::1", "10.0.0.1"]]).await;
        let resolver = resolver(&server.settings(over));
        assert_eq!(ask(&resolver).await, found(&["2606:4700::1", "8.8.4.4"]));
    }
}

#[tokio::test]
async fn a_name_that_turns_inwards_is_refused() {
    for over in [Over::Tls, Over::Https] {
        let inwards: Answers = &[&["8.8.4.4"], &["127.0.0.1", "::ffff:169.254.169.254"]];
        let server = Server::start(over, inwards).await;
        let mut settings = server.settings(over);
        let public = resolver(&settings);
        assert_eq!(ask(&public).await, found(&["8.8.4.4"]));
        assert_eq!(ask(&public).await, Found::Refused);
        settings.allow = vec!["127.0.0.0/8".parse().unwrap()];
        assert_eq!(ask(&resolver(&settings)).await, found(&["127.0.0.1"]));
    }
}

#[tokio::test]
async fn no_trustworthy_answer_is_no_answer() {
    for over in [Over::Tls, Over::Https] {
        let server = Server::start(over, &[&["8.8.4.4"]]).await;
        let other = Server::start(over, &[&["8.8.4.4"]]).await;
        let mut settings = server.settings(over);
        settings.ca = Some(other.ca.path().to_owned());
        assert_eq!(ask(&resolver(&settings)).await, Found::Nothing, "untrusted");

        let mut settings = server.settings(over);
        settings.dnssec = true;
        settings.timeout = Duration::from_secs(2);
        assert_eq!(
            ask(&resolver(&settings)).await,
            Found::Nothing,
            "not signed"
        );

        let mute = Server::start(over, &[]).await;
        let mut settings = mute.settings(over);
        settings.timeout = Duration::from_millis(300);
        assert_eq!(ask(&resolver(&settings)).await, Found::Nothing, "no answer");

        let empty = Server::start(over, &[&[]]).await;
        let resolver = resolver(&empty.settings(over));
        assert_eq!(ask(&resolver).await, Found::Nothing, "no address");
    }
}

#[tokio::test]
async fn a_name_that_hangs_occupies_one_thread_however_often_it_is_resolved() {
    let turns = Turns::new();
    let (release, hang) = std::sync::mpsc::channel::<()>();
    let hang = Arc::new(Mutex::new(hang));
    let calls = Arc::new(AtomicUsize::new(0));
    let ask = || {
        let (hang, calls) = (Arc::clone(&hang), Arc::clone(&calls));
        turns.take(move || {
            calls.fetch_add(1, Ordering::SeqCst);
            hang.lock().unwrap().recv().unwrap();
        })
    };
    for _ in 0..20 {
        let limit = Duration::from_millis(5);
        assert!(tokio::time::timeout(limit, ask()).await.is_err());
    }
    release.send(()).unwrap();
    release.send(()).unwrap();
    ask().await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 2, "the first and the last");
}
