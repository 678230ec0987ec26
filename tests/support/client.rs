//! A caller: gRPC over the broker socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use claviger_proto::v1::tokens_client::TokensClient;
use claviger_proto::v1::{
    GetTokenRequest, GetTokenResponse, ReportRejectedRequest, ReportRejectedResponse,
};
use claviger_proto::{REQUEST_HEADER, REQUEST_HEADER_VALUE};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

/// The default deadline of a call.
const PATIENCE: Duration = Duration::from_secs(45);

/// One connection to the broker socket.
#[derive(Clone, Debug)]
pub struct Caller {
    tokens: TokensClient<Channel>,
}

impl Caller {
    /// Connects.
    pub async fn connect(socket: &Path) -> Self {
        Self {
            tokens: TokensClient::new(channel(socket).await),
        }
    }

    /// Requests a token by name.
    pub async fn get(&mut self, name: &str) -> Result<GetTokenResponse, Status> {
        self.ask(named(name)).await
    }

    /// Requests a token.
    pub async fn ask(&mut self, wish: GetTokenRequest) -> Result<GetTokenResponse, Status> {
        self.ask_within(wish, PATIENCE).await
    }

    /// Requests a token with a deadline.
    pub async fn ask_within(
        &mut self,
        wish: GetTokenRequest,
        limit: Duration,
    ) -> Result<GetTokenResponse, Status> {
        Ok(self
            .tokens
            .get_token(request(wish, limit))
            .await?
            .into_inner())
    }

    /// Requests a token without the request header, as a browser or a server tricked into a request (SSRF) would.
    pub async fn ask_without_header(&mut self, name: &str) -> Result<GetTokenResponse, Status> {
        Ok(self.tokens.get_token(named(name)).await?.into_inner())
    }

    /// Reports that a resource server answered 401.
    pub async fn report_rejected(
        &mut self,
        name: &str,
        fingerprint: &str,
    ) -> Result<ReportRejectedResponse, Status> {
        let report = ReportRejectedRequest {
            name: name.to_owned(),
            fingerprint: fingerprint.to_owned(),
            http_status: 401,
            ..ReportRejectedRequest::default()
        };
        Ok(self
            .tokens
            .report_rejected(request(report, PATIENCE))
            .await?
            .into_inner())
    }
}

/// A request for a token, by name alone.
pub fn named(name: &str) -> GetTokenRequest {
    GetTokenRequest {
        name: name.to_owned(),
        ..GetTokenRequest::default()
    }
}

/// A span of whole seconds, on the wire.
pub fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

/// The remaining lifetime, in seconds.
pub fn lifetime(answer: &GetTokenResponse) -> i64 {
    answer.lifetime_left.as_ref().map_or(0, |left| left.seconds)
}

/// The stable reason of a failure.
pub fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info();
    if let Some(info) = info {
        assert_eq!(info.domain, "claviger", "{status:?}");
    }
    info.map(|info| info.reason.clone()).unwrap_or_default()
}

/// The retry delay in a failure.
pub fn retry_after(status: &Status) -> Option<Duration> {
    status.get_error_details().retry_info()?.retry_delay
}

fn request<T>(message: T, limit: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(
        REQUEST_HEADER,
        MetadataValue::from_static(REQUEST_HEADER_VALUE),
    );
    request.set_timeout(limit);
    request
}

async fn channel(socket: &Path) -> Channel {
    let socket: PathBuf = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://claviger")
        .connect_with_connector(connector)
        .await
        .expect("the daemon listens")
}
