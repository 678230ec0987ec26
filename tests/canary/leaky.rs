//! The control: a program that does the daemon's work without protecting secrets.
//!
//! It uses ordinary types and the system's allocator, prints debug output and errors, and does not harden its process. It
//! makes once every mistake that the daemon must not make.

use std::fs;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde::Deserialize;

use crate::actor::{read_line, write_line};

/// The environment variable that holds a secret.
pub(crate) const VARIABLE: &str = "LEAKY_TOKEN";

#[derive(Clone, Debug, Deserialize)]
#[expect(
    dead_code,
    reason = "printed by its derived `Debug`: the deliberate mistake"
)]
struct Answer {
    access_token: String,
    expires_in: u64,
}

/// Takes the issuer's URL and certificate, fetches tokens, and reports when it holds them and when it has dropped them.
pub(crate) fn role(arguments: &[String]) {
    let [url, ca, ..] = arguments else {
        panic!("usage: the issuer's URL and its certificate")
    };
    let (id, secret) = (read_line().unwrap(), read_line().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let held = runtime.block_on(fetch(url, ca, &id, &secret));
    write_line(&format!("holds {}", held.len()));
    read_line();
    drop((held, id, secret));
    drop(runtime);
    write_line("dropped");
    read_line();
    std::process::abort();
}

async fn fetch(url: &str, ca: &str, id: &str, secret: &str) -> Vec<Answer> {
    let client = client(&fs::read(ca).unwrap());
    let ask = |scope: &'static str| {
        let fields = [("grant_type", "client_credentials"), ("scope", scope)];
        let body: String = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let request = client
            .post(format!("{url}/token"))
            .basic_auth(id, Some(secret))
            .body(body);
        async move { request.send().await.unwrap().text().await.unwrap() }
    };
    let mut held = Vec::new();
    for _ in 0..50 {
        let answer: Answer = serde_json::from_str(&ask("good").await).unwrap();
        held.push(answer);
    }
    // Standard error is the log.
    eprintln!("got {:?}", held.last());
    let odd =
        serde_json::from_str::<Answer>(&ask("in-error").await.replace("error_uri", "expires_in"));
    eprintln!("cannot read the answer: {}", odd.unwrap_err());
    held
}

fn client(authority: &[u8]) -> reqwest::Client {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .build()
        .unwrap()
}
