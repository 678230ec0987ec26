//! What the configuration says about names and addresses.

use std::path::PathBuf;
use std::time::Duration;

/// How names are resolved, and which addresses are acceptable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSettings {
    /// Who resolves.
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

/// Who resolves names.
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
