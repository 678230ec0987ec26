//! The load: several connections, each with several callers that send the next request as soon as they get a response.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use claviger_proto::v1::tokens_client::TokensClient;
use claviger_proto::v1::{GetTokenRequest, GetTokenResponse};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// A load.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    pub(crate) streams: usize,
    pub(crate) time: Duration,
}

/// The results of one run. Times in microseconds.
pub(crate) struct Sample {
    answers: usize,
    seconds: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Sample {
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    pub(crate) fn per_second(&self) -> f64 {
        self.answers as f64 / self.seconds
    }
}

/// Opens a connection to a socket.
pub(crate) async fn connect(socket: &Path) -> TokensClient<Channel> {
    let socket: PathBuf = socket.to_owned();
    let connector = service_fn(move |_uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://claviger");
    TokensClient::new(endpoint.connect_with_connector(connector).await.unwrap())
}

/// The request that every caller sends.
pub(crate) fn request() -> tonic::Request<GetTokenRequest> {
    let message = GetTokenRequest {
        name: "bench".into(),
        ..GetTokenRequest::default()
    };
    let mut request = tonic::Request::new(message);
    request
        .metadata_mut()
        .insert("claviger-request", "true".parse().unwrap());
    request
}

/// One response of the server on `socket`.
pub(crate) async fn answer(socket: &Path) -> GetTokenResponse {
    let mut client = connect(socket).await;
    client.get_token(request()).await.unwrap().into_inner()
}

impl Load {
    /// Loads the server on `socket`.
    pub(crate) async fn run(&self, socket: &Path) -> Sample {
        let mut callers = Vec::new();
        let end = Instant::now() + self.time;
        let start = Instant::now();
        for _ in 0..self.connections {
            let client = connect(socket).await;
            for _ in 0..self.streams {
                let mut client = client.clone();
                callers.push(tokio::spawn(async move {
                    let mut times = Vec::with_capacity(1 << 16);
                    let mut now = Instant::now();
                    while now < end {
                        let answer = client.get_token(request()).await.unwrap().into_inner();
                        assert!(
                            answer.access_token.len() > 1000,
                            "the response has the whole token"
                        );
                        let after = Instant::now();
                        times.push((after - now).as_secs_f64() * 1e6);
                        now = after;
                    }
                    times
                }));
            }
        }
        let mut times = Vec::new();
        for caller in callers {
            times.extend(caller.await.unwrap());
        }
        let seconds = start.elapsed().as_secs_f64();
        times.sort_by(f64::total_cmp);
        let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
        Sample {
            answers: times.len(),
            seconds,
            p50: at(50),
            p99: at(99),
        }
    }
}
