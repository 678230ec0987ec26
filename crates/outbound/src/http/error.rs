//! Why there is no answer.
//!
//! Owns the causes by meaning, and whether the request may have reached the server. Failures are classified by the types in
//! the chain of sources; the text of a source, which may quote URLs and headers, is never read or shown.

use std::error::Error as StdError;
use std::io;
use std::net::IpAddr;

use super::tls::PinMismatch;

/// Why there is no answer. The text of each variant is safe to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request cannot be sent: its URL or a header is not valid HTTP, or its URL is `http://` where only TLS is allowed.
    #[error("the request cannot be sent as HTTP")]
    InvalidRequest,
    /// The name has no address, or the resolver did not answer in time.
    #[error("the name does not resolve")]
    NotResolved,
    /// Every address of the name is outside the networks that the configuration allows.
    #[error("the name resolves to {0}, which is not allowed")]
    AddressRefused(IpAddr),
    /// The port is closed.
    #[error("the connection was refused")]
    Refused,
    /// Another failure before there was a connection, for example no route.
    #[error("the connection failed")]
    Unreachable,
    /// The proxy did not open a tunnel.
    #[error("the proxy refused the tunnel")]
    ProxyRefused,
    /// There was no connection in time; TLS handshake included.
    #[error("connecting timed out")]
    ConnectTimeout,
    /// No trusted authority issued the certificate.
    #[error("no trusted authority issued the certificate")]
    UnknownIssuer,
    /// The certificate is that of an authority, usually self-signed.
    #[error("the certificate is that of an authority")]
    SelfSigned,
    /// The certificate has expired, by this node's clock.
    #[error("the certificate has expired")]
    Expired,
    /// The certificate is not valid yet, by this node's clock.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// The certificate is for another name.
    #[error("the certificate is for another name")]
    NameMismatch,
    /// The certificate is trusted but has none of the pinned keys.
    #[error("the certificate has none of the pinned keys")]
    PinMismatch,
    /// The certificate is not acceptable for another cause: malformed, revoked, or not for a server.
    #[error("the certificate is not acceptable")]
    BadCertificate,
    /// The port does not speak TLS; usually it speaks plain HTTP.
    #[error("the port does not speak TLS")]
    NotTls,
    /// The TLS handshake failed otherwise.
    #[error("the TLS handshake failed")]
    Handshake,
    /// There was no complete answer in time. The request may have arrived.
    #[error("the answer timed out")]
    AnswerTimeout,
    /// The connection ended before the answer did, or carried no HTTP. The request may have arrived.
    #[error("the connection was lost")]
    Lost,
    /// The body is longer than the request allows. The request arrived.
    #[error("the body is too long")]
    BodyTooLong,
    /// Everything around the body is longer than one exchange may be. The request may have arrived.
    #[error("the answer is too long")]
    Flood,
}

impl Error {
    /// What a failure before there was a connection means.
    pub(super) fn connecting(error: &(dyn StdError + 'static)) -> Self {
        let mut kind = None;
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(ours) = error.downcast_ref::<Self>() {
                return *ours;
            }
            if let Some(error) = error.downcast_ref::<rustls::Error>() {
                return Self::handshake(error);
            }
            let system = error.downcast_ref::<io::Error>();
            kind = system.map(io::Error::kind).or(kind);
            // An I/O error does not name the error that it wraps as its source.
            next = system
                .and_then(io::Error::get_ref)
                .map(|wrapped| wrapped as &(dyn StdError + 'static))
                .or_else(|| error.source());
        }
        match kind {
            Some(io::ErrorKind::ConnectionRefused) => Self::Refused,
            Some(io::ErrorKind::TimedOut) => Self::ConnectTimeout,
            _ => Self::Unreachable,
        }
    }

    /// What a failure of an exchange means: the connector's own error, or else a lost connection.
    pub(super) fn exchanging(error: &(dyn StdError + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(ours) = error.downcast_ref::<Self>() {
                return *ours;
            }
            next = error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref)
                .map(|wrapped| wrapped as &(dyn StdError + 'static))
                .or_else(|| error.source());
        }
        Self::Lost
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "both enums are foreign and grow; a new cause has no variant here"
    )]
    fn handshake(error: &rustls::Error) -> Self {
        use rustls::CertificateError as Flaw;
        match error {
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            rustls::Error::InvalidCertificate(flaw) => match flaw {
                // A bad signature: an authority of the trusted name, but with another key.
                Flaw::UnknownIssuer | Flaw::BadSignature => Self::UnknownIssuer,
                Flaw::Expired | Flaw::ExpiredContext { .. } => Self::Expired,
                Flaw::NotValidYet | Flaw::NotValidYetContext { .. } => Self::NotYetValid,
                Flaw::NotValidForName | Flaw::NotValidForNameContext { .. } => Self::NameMismatch,
                Flaw::Other(other) if other.0.is::<PinMismatch>() => Self::PinMismatch,
                Flaw::Other(other)
                    if other.0.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity) =>
                {
                    Self::SelfSigned
                }
                _ => Self::BadCertificate,
            },
            _ => Self::Handshake,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{CertificateError, InvalidMessage, OtherError};

    use super::*;

    /// As tokio's TLS wraps it.
    fn tls(error: rustls::Error) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    #[test]
    fn each_cause_has_its_own_meaning() {
        let other = |error| {
            let error: Arc<dyn StdError + Send + Sync> = error;
            CertificateError::Other(OtherError(error))
        };
        for (flaw, expected) in [
            (CertificateError::UnknownIssuer, Error::UnknownIssuer),
            (CertificateError::BadSignature, Error::UnknownIssuer),
            (CertificateError::Expired, Error::Expired),
            (CertificateError::NotValidYet, Error::NotYetValid),
            (CertificateError::NotValidForName, Error::NameMismatch),
            (CertificateError::Revoked, Error::BadCertificate),
            (other(Arc::new(PinMismatch)), Error::PinMismatch),
            (
                other(Arc::new(webpki::Error::CaUsedAsEndEntity)),
                Error::SelfSigned,
            ),
        ] {
            let error = tls(rustls::Error::InvalidCertificate(flaw));
            assert_eq!(Error::connecting(&error), expected);
        }
        let plain = rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType);
        for (error, expected) in [
            (tls(plain), Error::NotTls),
            (tls(rustls::Error::DecryptError), Error::Handshake),
            (io::Error::other(Error::Flood), Error::Flood),
            (io::ErrorKind::ConnectionRefused.into(), Error::Refused),
            (io::ErrorKind::TimedOut.into(), Error::ConnectTimeout),
            (io::ErrorKind::NetworkUnreachable.into(), Error::Unreachable),
        ] {
            assert_eq!(Error::connecting(&error), expected);
        }
        let lost = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(Error::exchanging(&lost), Error::Lost);
    }
}
