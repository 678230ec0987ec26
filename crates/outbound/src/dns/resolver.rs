//! The resolvers.
//!
//! Owns the three resolvers behind one type that the connector calls for every new connection. Addresses that the policy
//! does not permit are dropped from the answer; if none is left, the connection fails with [`Error::AddressRefused`]. Literal
//! addresses in a URL are never resolved and never come here: `endpoint` checks them.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RecordType;
use hyper_util::client::legacy::connect::dns::Name;
use rustls::ClientConfig;
use tokio::sync::Semaphore;
use tower_service::Service;

use crate::dns::AddressPolicy;
use crate::http::Error;
use crate::settings::{self, DnsSettings};

/// No resolution takes longer, whatever the configuration says.
const LONGEST: Duration = Duration::from_secs(30);

/// The resolver cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("the resolver cannot be set up")]
pub struct ResolverError;

/// Resolves names under the address policy of one issuer. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub struct Resolver(Arc<Inner>);

struct Inner {
    asked: Asked,
    timeout: Duration,
    /// Whether answers without a DNSSEC proof are refused.
    signed_only: bool,
    policy: AddressPolicy,
}

enum Asked {
    System(Turns),
    Remote(Box<TokioResolver>),
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("timeout", &self.timeout)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl Resolver {
    /// Sets up the resolver of `settings`; `tls` is the trust for DNS over TLS or HTTPS. Sends no query yet.
    ///
    /// # Errors
    /// If the resolver library refuses the options.
    pub fn new(
        settings: &DnsSettings,
        mut tls: ClientConfig,
        policy: AddressPolicy,
    ) -> Result<Self, ResolverError> {
        // Whichever protocol of DNS it is, its implementation names it.
        tls.alpn_protocols.clear();
        let timeout = settings.timeout.min(LONGEST);
        let asked = match &settings.resolver {
            settings::Resolver::System => Asked::System(Turns::new()),
            settings::Resolver::Tls { servers, name } => {
                let name = Arc::<str>::from(name.as_str());
                let connection = |port| {
                    let mut connection = ConnectionConfig::tls(Arc::clone(&name));
                    connection.port = port;
                    connection
                };
                remote(servers, connection, settings, tls)?
            }
            settings::Resolver::Https { servers, name } => {
                let name = Arc::<str>::from(name.as_str());
                let connection = |port| {
                    let mut connection = ConnectionConfig::https(Arc::clone(&name), None);
                    connection.port = port;
                    connection
                };
                remote(servers, connection, settings, tls)?
            }
        };
        Ok(Self(Arc::new(Inner {
            asked,
            timeout,
            signed_only: settings.dnssec,
            policy,
        })))
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Self::Response, Error>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let inner = Arc::clone(&self.0);
        async move {
            let found = tokio::time::timeout(inner.timeout, inner.lookup(name.as_str())).await;
            let Ok(Ok(found)) = found else {
                return Err(Error::NotResolved);
            };
            let first = found.first().ok_or(Error::NotResolved)?.ip();
            let permitted: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| inner.policy.permits(address.ip()))
                .collect();
            if permitted.is_empty() {
                return Err(Error::AddressRefused(first));
            }
            Ok(permitted.into_iter())
        }
        .boxed()
    }
}

impl Inner {
    /// All addresses of `name`, with port 0, which the HTTP client replaces.
    async fn lookup(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        match &self.asked {
            Asked::System(turns) => {
                let name = name.to_owned();
                let found = turns.take(move || (name.as_str(), 0).to_socket_addrs());
                Ok(found.await??.collect())
            }
            Asked::Remote(resolver) => {
                // The final dot keeps search domains out of it.
                let name = format!("{}.", name.trim_end_matches('.'));
                let answer = resolver.lookup_ip(name).await.map_err(io::Error::other)?;
                // Validation lets names of unsigned zones pass; what must be signed must be proved.
                let mut unproved = answer.as_lookup().answers().iter().filter(|record| {
                    let counts = [RecordType::A, RecordType::AAAA, RecordType::CNAME];
                    counts.contains(&record.record_type()) && !record.proof.is_secure()
                });
                if self.signed_only && unproved.next().is_some() {
                    return Err(io::Error::other(Error::NotResolved));
                }
                Ok(answer.iter().map(|ip| SocketAddr::new(ip, 0)).collect())
            }
        }
    }
}

/// A call of the C library's resolver cannot be canceled: its thread stays blocked after every caller has stopped waiting. So
/// one call runs at a time, and its turn ends with the call. Without that, a name that hangs would occupy every blocking
/// thread, and reading a file would wait for it.
pub(super) struct Turns(Arc<Semaphore>);

impl Turns {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// Does `work` when it is its turn. If the future is dropped before that, it is never done.
    pub(super) async fn take<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let turn = Arc::clone(&self.0).acquire_owned().await;
        let turn = turn.map_err(io::Error::other)?;
        let call = move || {
            let done = work();
            drop(turn);
            done
        };
        Ok(tokio::task::spawn_blocking(call).await?)
    }
}

/// A resolver that queries `servers` alone: not the hosts file, not the system's servers.
fn remote(
    servers: &[SocketAddr],
    connection: impl Fn(u16) -> ConnectionConfig,
    settings: &DnsSettings,
    tls: ClientConfig,
) -> Result<Asked, ResolverError> {
    let servers = servers
        .iter()
        .map(|server| NameServerConfig::new(server.ip(), true, vec![connection(server.port())]));
    let config = ResolverConfig::from_name_servers(servers.collect());
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_tls_config(tls);
    let options = builder.options_mut();
    options.timeout = settings.timeout.min(LONGEST);
    options.attempts = 1;
    options.use_hosts_file = ResolveHosts::Never;
    options.validate = settings.dnssec;
    let resolver = builder.build().map_err(|_setup| ResolverError)?;
    Ok(Asked::Remote(Box::new(resolver)))
}
