//! How a connection is made.
//!
//! Owns the steps in their order: resolve and connect (to the proxy, if there is one), ask the proxy for a tunnel, count
//! bytes, TLS handshake with the trust and pins of the client. All of it ends within the connect timeout. The pool calls it;
//! nothing else does.

use std::fmt::{self, Debug, Formatter};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::Error;
use super::meter::{Grant, Meter, Metered};
use crate::dns::Resolver;

/// The longest answer of a proxy to CONNECT.
const PROXY_ANSWER: usize = 8 * 1024;

/// Makes the connections of one client. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    pub(super) tcp: HttpConnector<Resolver>,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) proxy: Option<Uri>,
    pub(super) timeout: Duration,
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Stream, Error>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connector = self.clone();
        async move {
            tokio::time::timeout(connector.timeout, connector.connect(&target))
                .await
                .unwrap_or(Err(Error::ConnectTimeout))
        }
        .boxed()
    }
}

impl Connector {
    async fn connect(&self, target: &Uri) -> Result<Stream, Error> {
        let host = target.host().ok_or(Error::InvalidRequest)?;
        let next = self.proxy.as_ref().unwrap_or(target).clone();
        let tcp = self.tcp.clone().call(next).await;
        let tcp = tcp.map_err(|error| Error::connecting(&error))?.into_inner();
        let meter = Meter::new();
        let mut handshake = Grant::new(0);
        handshake.give_to(&meter);
        let mut stream = Metered::new(tcp, meter.clone());
        if self.proxy.is_some() {
            tunnel(&mut stream, target, host).await?;
        }
        if target.scheme_str() != Some("https") {
            return Ok(Stream::new(stream, meter, false));
        }
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
        let name = name.map_err(|_invalid| Error::InvalidRequest)?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = connector.connect(name, stream).await.map_err(|error| {
            let error = Error::connecting(&error);
            // TCP was connected already.
            let network = matches!(error, Error::Unreachable | Error::Refused);
            if network { Error::Handshake } else { error }
        })?;
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Stream::new(stream, meter, h2))
    }
}

/// Asks the proxy to connect to the target (RFC 9110 §9.3.6).
async fn tunnel(stream: &mut Metered<TcpStream>, target: &Uri, host: &str) -> Result<(), Error> {
    let default = if target.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    let port = target.port_u16().unwrap_or(default);
    let request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
    let refused = |_io: io::Error| Error::ProxyRefused;
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(refused)?;
    let mut answer = Vec::with_capacity(256);
    // One byte at a time: the first byte after the answer belongs to the target.
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.map_err(refused)?);
        if answer.len() > PROXY_ANSWER {
            return Err(Error::ProxyRefused);
        }
    }
    let opened = [&b"HTTP/1.1 2"[..], b"HTTP/1.0 2"]
        .iter()
        .any(|start| answer.starts_with(start));
    opened.then_some(()).ok_or(Error::ProxyRefused)
}

trait Both: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Both for T {}

/// A connection, over TLS or in the clear.
pub(super) struct Stream {
    inner: TokioIo<Box<dyn Both>>,
    meter: Meter,
    h2: bool,
}

impl Stream {
    fn new(stream: impl Both + 'static, meter: Meter, h2: bool) -> Self {
        let inner = TokioIo::new(Box::new(stream) as Box<dyn Both>);
        Self { inner, meter, h2 }
    }
}

impl Debug for Stream {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("h2", &self.h2)
            .finish_non_exhaustive()
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.meter.clone());
        if self.h2 {
            connected.negotiated_h2()
        } else {
            connected
        }
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
