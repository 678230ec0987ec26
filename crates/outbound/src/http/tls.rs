//! How a server proves that it is the issuer.
//!
//! Owns the TLS settings of the connections to one issuer: at least TLS 1.2 with AEAD suites (rustls has no others), roots of
//! the system or of the issuer's own bundle, and key pins. A pin is checked inside the handshake and after the ordinary
//! verification, never instead of it: the key of the server's own certificate, or of an intermediate certificate on a path
//! that verifies. Certificates that a server merely sends along prove nothing and do not count, and neither do roots.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ::aws_lc_rs::digest::{SHA256, digest};
use claviger_kernel::Untrusted;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

/// The largest bundle of CA certificates that is read.
const MAX_BUNDLE: u64 = 4 * 1024 * 1024;

/// Trust roots.
#[derive(Clone, Debug)]
pub struct Roots(Arc<RootCertStore>);

/// Why there are no trust roots.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The bundle cannot be read, or other users could change it.
    #[error("cannot use the CA bundle")]
    Unreadable(#[source] Untrusted),
    /// The bundle is no PEM, or has no certificate that can be used.
    #[error("the CA bundle has no usable certificate")]
    Unusable,
}

impl Roots {
    /// The certificates of a PEM bundle, and no others. A user who can change the bundle can pose as the issuer, so the file
    /// is judged as the configuration is.
    ///
    /// # Errors
    /// If the file is not trusted or cannot be read, or holds no usable certificate.
    pub fn bundle(path: &Path) -> Result<Self, RootsError> {
        let pem =
            claviger_kernel::read_trusted(path, MAX_BUNDLE).map_err(RootsError::Unreadable)?;
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|_pem| RootsError::Unusable)?;
            store
                .add(certificate)
                .map_err(|_certificate| RootsError::Unusable)?;
        }
        if store.is_empty() {
            return Err(RootsError::Unusable);
        }
        Ok(Self(Arc::new(store)))
    }

    /// The roots of the system. May be empty, and then nothing is trusted.
    pub fn system() -> Self {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self(Arc::new(store))
    }

    /// Whether both trust the same, in whatever order it was read.
    pub fn are_those_of(&self, other: &Self) -> bool {
        let set = |roots: &Self| roots.0.roots.iter().cloned().collect::<HashSet<_>>();
        Arc::ptr_eq(&self.0, &other.0) || set(self) == set(other)
    }

    /// Whether nothing is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The TLS settings of connections that trust `roots` and, if there are any, demand one of the `pins` (SHA-256 of a
/// `SubjectPublicKeyInfo`).
///
/// The cryptography is given here, so that no process-wide default is needed.
///
/// # Errors
/// If the provider refuses the protocol versions.
pub fn client_config(roots: &Roots, pins: &[[u8; 32]]) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let mut config = if pins.is_empty() {
        builder
            .with_root_certificates(Arc::clone(&roots.0))
            .with_no_client_auth()
    } else {
        let verifier = Arc::new(PinVerifier::new(roots, pins, provider)?);
        builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth()
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The certificate is trusted but has none of the pinned keys. Found again in the error of the handshake.
#[derive(Debug)]
pub(super) struct PinMismatch;

impl fmt::Display for PinMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the certificate has none of the pinned keys")
    }
}

impl std::error::Error for PinMismatch {}

/// Verifies as usual, and then demands a pinned key.
#[derive(Debug)]
struct PinVerifier {
    ordinary: Arc<WebPkiServerVerifier>,
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    pins: Vec<[u8; 32]>,
}

impl PinVerifier {
    fn new(
        roots: &Roots,
        pins: &[[u8; 32]],
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, rustls::Error> {
        let algorithms = provider.signature_verification_algorithms;
        let ordinary = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots.0), provider)
            .build()
            .map_err(|_no_roots| rustls::Error::General("no trust roots".to_owned()))?;
        Ok(Self {
            ordinary,
            roots: Arc::clone(&roots.0),
            algorithms,
            pins: pins.to_vec(),
        })
    }

    fn is_pinned(&self, key: &[u8]) -> bool {
        let hash = digest(&SHA256, key);
        self.pins.iter().any(|pin| pin.as_slice() == hash.as_ref())
    }

    /// Whether the server's own key is pinned, or that of an intermediate on some path that verifies.
    fn has_pin(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<bool, webpki::Error> {
        let certificate = EndEntityCert::try_from(end_entity)?;
        if self.is_pinned(&certificate.subject_public_key_info()) {
            return Ok(true);
        }
        let demand = |path: &VerifiedPath<'_>| {
            path.intermediate_certificates()
                .any(|intermediate| self.is_pinned(&intermediate.subject_public_key_info()))
                .then_some(())
                .ok_or(webpki::Error::UnknownIssuer)
        };
        let path = certificate.verify_for_usage(
            self.algorithms.all,
            &self.roots.roots,
            intermediates,
            now,
            KeyUsage::server_auth(),
            None,
            Some(&demand),
        );
        Ok(path.is_ok())
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.ordinary.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        match self.has_pin(end_entity, intermediates, now) {
            Ok(true) => Ok(verified),
            Ok(false) => Err(CertificateError::Other(OtherError(Arc::new(PinMismatch))).into()),
            Err(_unparsable) => Err(CertificateError::BadEncoding.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.ordinary
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.ordinary
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.ordinary.supported_verify_schemes()
    }
}
