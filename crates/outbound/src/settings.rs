//! What the configuration says about connections to one server.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

/// How connections are made and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A bundle of CA certificates (PEM) that replaces the public roots.
    pub ca: Option<PathBuf>,
    /// SHA-256 hashes of `SubjectPublicKeyInfo`; a certificate must have one of these keys. Empty: no pinning.
    pub pins: Vec<[u8; 32]>,
    /// How names are resolved, and which addresses are acceptable.
    pub dns: DnsSettings,
    /// Whether `http://` to a literal loopback address is accepted. Only in `dev` mode.
    pub allow_loopback_http: bool,
    /// Time limit of one request, connect included.
    pub timeout: Duration,
    /// Time limit of connecting: resolution, proxy and TLS handshake included.
    pub connect_timeout: Duration,
    /// The proxy (HTTP CONNECT) through which every connection is made; `None` connects directly.
    pub proxy: Option<Url>,
}

/// How names are resolved, and which addresses are acceptable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSettings {
    /// Which resolver is used.
    pub resolver: Resolver,
    /// Whether answers must be DNSSEC-signed. Needs DoT or DoH.
    pub dnssec: bool,
    /// A bundle of CA certificates (PEM) by which a DoT or DoH server is known, instead of the public roots.
    pub ca: Option<PathBuf>,
    /// Time limit of one resolution; at most 30 s.
    pub timeout: Duration,
    /// Networks (CIDR) that are acceptable although they are not public.
    pub allow: Vec<ipnet::IpNet>,
}

/// What resolves names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// The system.
    System,
    /// DNS over TLS (RFC 7858) at these addresses, under this name.
    Tls {
        /// Addresses of the server.
        servers: Vec<std::net::SocketAddr>,
        /// The name on its certificate.
        name: String,
    },
    /// DNS over HTTPS (RFC 8484) at these addresses, under this name, path `/dns-query`.
    Https {
        /// Addresses of the server.
        servers: Vec<std::net::SocketAddr>,
        /// The name on its certificate.
        name: String,
    },
}
