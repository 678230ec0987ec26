//! What an operator learns of a connection that fails, from real servers on loopback.

use std::net::Ipv4Addr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::IssuerSettings;
use crate::tests::transport::{Authority, Server, authority, granted, obtain};
use claviger_runtime::reason::Reasoned as _;

/// The reason for which these settings give no token.
async fn reason(settings: IssuerSettings) -> &'static str {
    obtain(settings).await.unwrap_err().reason().word()
}

/// A certificate for 127.0.0.1, changed by `change`, and its key.
fn leaf(
    of: &Authority,
    change: impl FnOnce(&mut CertificateParams),
) -> (CertificateDer<'static>, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    change(&mut params);
    let certificate = params.signed_by(&key, of).unwrap();
    (certificate.der().clone(), key)
}

/// Answers each connection with `refusal` as soon as the client has sent something, and closes it.
fn refuse_all(listener: TcpListener, refusal: &'static [u8]) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            client.read_buf(&mut Vec::new()).await.unwrap();
            client.write_all(refusal).await.unwrap();
        }
    })
}

#[tokio::test]
async fn each_flaw_of_a_certificate_has_its_own_reason() {
    let ca = authority();
    let flaws: [(fn(&mut CertificateParams), _); 4] = [
        (
            |params| params.not_after = date_time_ymd(2001, 1, 1),
            "CERTIFICATE_EXPIRED",
        ),
        (
            |params| params.not_before = date_time_ymd(4000, 1, 1),
            "CERTIFICATE_NOT_YET_VALID",
        ),
        (
            |params| {
                let other = CertificateParams::new(vec!["other.example".to_owned()]);
                params.subject_alt_names = other.unwrap().subject_alt_names;
            },
            "CERTIFICATE_NAME_MISMATCH",
        ),
        (
            |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            "CERTIFICATE_INVALID",
        ),
    ];
    for (change, expected) in flaws {
        let (certificate, key) = leaf(&ca, change);
        let server = Server::start(granted(), Some((vec![certificate], key)), &ca).await;
        assert_eq!(reason(server.issuer("https")).await, expected);
        assert!(server.requests().is_empty(), "{expected}");
    }
}

#[tokio::test]
async fn an_unknown_authority_and_an_authoritys_own_certificate_have_their_own_reasons() {
    let (other, ca) = (authority(), authority());
    let (certificate, key) = leaf(&other, |_| ());
    let server = Server::start(granted(), Some((vec![certificate], key)), &ca).await;
    assert_eq!(reason(server.issuer("https")).await, "UNTRUSTED");

    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = params.self_signed(&key).unwrap();
    let server = Server::start(granted(), Some((vec![own.der().clone()], key)), &ca).await;
    let settings = server.issuer("https");
    assert_eq!(reason(settings.clone()).await, "CERTIFICATE_SELF_SIGNED");
    let bundle = settings.outbound.ca.as_ref().unwrap();
    std::fs::write(bundle, own.pem()).unwrap();
    assert_eq!(
        reason(settings).await,
        "CERTIFICATE_SELF_SIGNED",
        "`ca` does not make it acceptable"
    );
}

#[tokio::test]
async fn each_cause_before_the_certificate_has_its_own_reason() {
    let (server, _) = Server::secure(granted()).await;
    let at = |address: &str| {
        let mut settings = server.issuer("https");
        settings.endpoints.token = Some(format!("https://{address}/token"));
        settings
    };
    assert_eq!(reason(at("name.invalid")).await, "NAME_NOT_RESOLVED");

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let plain = at(&listener.local_addr().unwrap().to_string());
    let refusing = refuse_all(listener, b"HTTP/1.1 400 Bad Request\r\n\r\n");
    assert_eq!(reason(plain).await, "NOT_TLS");
    refusing.abort();

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut settings = at(&address);
    settings.outbound.connect_timeout = Duration::from_millis(50);
    assert_eq!(reason(settings).await, "CONNECT_TIMEOUT");

    let closing = refuse_all(listener, b"");
    assert_eq!(reason(at(&address)).await, "TLS_HANDSHAKE_FAILED");
    closing.abort();
    assert!(closing.await.unwrap_err().is_cancelled());
    assert_eq!(reason(at(&address)).await, "CONNECTION_REFUSED");
}

#[tokio::test]
async fn a_proxy_that_opens_no_tunnel_has_its_own_reason() {
    let (server, _) = Server::secure(granted()).await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    refuse_all(listener, b"HTTP/1.1 403 Forbidden\r\n\r\n");
    let mut settings = server.issuer("https");
    settings.outbound.proxy = Some(format!("http://{address}").parse().unwrap());
    assert_eq!(reason(settings).await, "PROXY_REFUSED");
}
