//! Callers: gRPC over one connection to a socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use claviger_proto::v1::{
    ExplainRequest, GetSecretRequest, GetSecretResponse, GetTokenRequest, GetTokenResponse,
    RefreshRequest, RefreshResult, ReloadRequest, ReloadResponse, ReportRejectedRequest,
    RevokeTokenRequest, StatusRequest, StatusResponse, WatchSecretRequest, WatchTokenRequest,
    admin_client::AdminClient, report_rejected_response, revoke_token_response,
    secrets_client::SecretsClient, tokens_client::TokensClient,
};
use claviger_proto::{REQUEST_HEADER, REQUEST_HEADER_VALUE};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::metadata::{AsciiMetadataKey, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_types::StatusExt as _;

/// Metadata that is added to every request.
#[derive(Clone, Debug)]
pub(crate) struct With(pub(crate) Vec<(&'static str, &'static str)>);

impl Interceptor for With {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        for (name, value) in &self.0 {
            let name = AsciiMetadataKey::from_static(name);
            request
                .metadata_mut()
                .insert(name, MetadataValue::from_static(value));
        }
        Ok(request)
    }
}

/// A channel whose requests carry metadata.
pub(crate) type Wire = InterceptedService<Channel, With>;

/// A channel over an existing connection.
pub(crate) async fn channel_over(stream: UnixStream) -> Result<Channel, tonic::transport::Error> {
    let mut stream = Some(stream);
    let connector = tower::service_fn(move |_uri| {
        let stream = stream.take().ok_or(io::ErrorKind::ConnectionAborted);
        std::future::ready(stream.map(TokioIo::new).map_err(io::Error::from))
    });
    Endpoint::from_static("http://claviger")
        .connect_with_connector(connector)
        .await
}

/// The metadata with claviger's request header.
pub(crate) fn meant() -> With {
    With(vec![(REQUEST_HEADER, REQUEST_HEADER_VALUE)])
}

/// A program that requests tokens and secrets over one connection.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) tokens: TokensClient<Wire>,
    pub(crate) secrets: SecretsClient<Wire>,
    pub(crate) channel: Channel,
}

impl Caller {
    pub(crate) async fn connect(socket: &Path) -> Self {
        Self::over(UnixStream::connect(socket).await.unwrap()).await
    }

    /// A caller; `None` if the daemon refuses the connection.
    pub(crate) async fn admitted(socket: &Path) -> Option<Self> {
        let stream = UnixStream::connect(socket).await.unwrap();
        let channel = channel_over(stream).await.ok()?;
        Some(Self::on(channel, meant()))
    }

    pub(crate) async fn over(stream: UnixStream) -> Self {
        Self::on(channel_over(stream).await.unwrap(), meant())
    }

    pub(crate) fn on(channel: Channel, with: With) -> Self {
        Self {
            tokens: TokensClient::with_interceptor(channel.clone(), with.clone()),
            secrets: SecretsClient::with_interceptor(channel.clone(), with),
            channel,
        }
    }

    /// The same connection, other metadata.
    pub(crate) fn with(&self, pairs: &[(&'static str, &'static str)]) -> Self {
        Self::on(self.channel.clone(), With(pairs.to_vec()))
    }

    pub(crate) async fn token(&mut self, name: &str) -> Result<GetTokenResponse, Status> {
        self.ask(wish(name)).await
    }

    pub(crate) async fn scoped(
        &mut self,
        name: &str,
        scopes: &[&str],
    ) -> Result<GetTokenResponse, Status> {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        self.ask(GetTokenRequest {
            scopes,
            ..wish(name)
        })
        .await
    }

    pub(crate) async fn ask(&mut self, wish: GetTokenRequest) -> Result<GetTokenResponse, Status> {
        Ok(self.tokens.get_token(wish).await?.into_inner())
    }

    pub(crate) async fn watch(&mut self, name: &str) -> Streaming<GetTokenResponse> {
        let request = WatchTokenRequest {
            name: name.to_owned(),
            scopes: Vec::new(),
        };
        self.tokens.watch_token(request).await.unwrap().into_inner()
    }

    pub(crate) async fn secret(&mut self, name: &str) -> Result<GetSecretResponse, Status> {
        let request = GetSecretRequest {
            name: name.to_owned(),
        };
        Ok(self.secrets.get_secret(request).await?.into_inner())
    }

    pub(crate) async fn watch_secret(
        &mut self,
        name: &str,
    ) -> Result<Streaming<GetSecretResponse>, Status> {
        let request = WatchSecretRequest {
            name: name.to_owned(),
        };
        Ok(self.secrets.watch_secret(request).await?.into_inner())
    }

    /// Reports a token as rejected with this HTTP status.
    pub(crate) async fn report(
        &mut self,
        name: &str,
        fingerprint: &str,
        http_status: u32,
    ) -> Result<report_rejected_response::Outcome, Status> {
        let request = ReportRejectedRequest {
            name: name.to_owned(),
            fingerprint: fingerprint.to_owned(),
            http_status,
            ..ReportRejectedRequest::default()
        };
        Ok(self
            .tokens
            .report_rejected(request)
            .await?
            .into_inner()
            .outcome())
    }

    pub(crate) async fn revoke(
        &mut self,
        name: &str,
    ) -> Result<revoke_token_response::Outcome, Status> {
        let request = RevokeTokenRequest {
            name: name.to_owned(),
            scopes: Vec::new(),
        };
        Ok(self
            .tokens
            .revoke_token(request)
            .await?
            .into_inner()
            .outcome())
    }
}

/// A request for a token without further conditions.
pub(crate) fn wish(name: &str) -> GetTokenRequest {
    GetTokenRequest {
        name: name.to_owned(),
        ..GetTokenRequest::default()
    }
}

/// An operator.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    pub(crate) client: AdminClient<Wire>,
    pub(crate) channel: Channel,
}

impl Admin {
    pub(crate) async fn connect(socket: &Path) -> Self {
        Self::over(UnixStream::connect(socket).await.unwrap()).await
    }

    pub(crate) async fn over(stream: UnixStream) -> Self {
        let channel = channel_over(stream).await.unwrap();
        Self {
            client: AdminClient::with_interceptor(channel.clone(), meant()),
            channel,
        }
    }

    pub(crate) async fn status(&mut self) -> Result<StatusResponse, Status> {
        Ok(self.client.status(StatusRequest {}).await?.into_inner())
    }

    pub(crate) async fn refresh(&mut self, names: &[&str]) -> Vec<RefreshResult> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.client
            .refresh(RefreshRequest {
                names,
                issuers: Vec::new(),
            })
            .await
            .unwrap()
            .into_inner()
            .results
    }

    pub(crate) async fn reload(&mut self) -> ReloadResponse {
        self.client
            .reload(ReloadRequest { dry_run: false })
            .await
            .unwrap()
            .into_inner()
    }

    /// Explains the decision for a running process as the peer.
    pub(crate) async fn explain(&mut self, pid: u32, name: &str) -> bool {
        let request = ExplainRequest {
            pid,
            name: name.to_owned(),
            action: "token".to_owned(),
            ..ExplainRequest::default()
        };
        self.client
            .explain(request)
            .await
            .unwrap()
            .into_inner()
            .allowed
    }
}

/// The code, stable reason and remedy of a refusal. Every refusal has all three.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) reason: String,
    pub(crate) remedy: String,
    pub(crate) retry: Option<Duration>,
}

/// Reads a refusal, and checks the parts that every refusal must have.
pub(crate) fn refusal<T: std::fmt::Debug>(outcome: Result<T, Status>) -> Refusal {
    let status = outcome.expect_err("a refusal");
    let details = status.get_error_details();
    let info = details
        .error_info()
        .unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!(info.domain, "claviger", "{status:?}");
    let screaming = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    assert!(
        !info.reason.is_empty() && info.reason.bytes().all(screaming),
        "{status:?}"
    );
    let remedy = info.metadata.get("remedy").cloned().unwrap_or_default();
    assert!(remedy.len() > 10, "no remedy: {status:?}");
    Refusal {
        code: status.code(),
        reason: info.reason.clone(),
        remedy,
        retry: details.retry_info().and_then(|retry| retry.retry_delay),
    }
}

/// The code and reason of a refusal.
pub(crate) fn why<T: std::fmt::Debug>(outcome: Result<T, Status>) -> (Code, String) {
    let refusal = refusal(outcome);
    (refusal.code, refusal.reason)
}
