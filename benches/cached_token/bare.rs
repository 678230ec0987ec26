//! The baseline: a tonic server that only returns the same bytes.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use claviger_proto::v1::tokens_server::{Tokens, TokensServer};
use claviger_proto::v1::{
    GetTokenRequest, GetTokenResponse, ReportRejectedRequest, ReportRejectedResponse,
    RevokeTokenRequest, RevokeTokenResponse, WatchTokenRequest,
};
use prost::Message as _;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

struct Constant(GetTokenResponse);

#[tonic::async_trait]
impl Tokens for Constant {
    async fn get_token(
        &self,
        _request: Request<GetTokenRequest>,
    ) -> Result<Response<GetTokenResponse>, Status> {
        Ok(Response::new(self.0.clone()))
    }

    type WatchTokenStream = tokio_stream::Empty<Result<GetTokenResponse, Status>>;

    async fn watch_token(
        &self,
        _request: Request<WatchTokenRequest>,
    ) -> Result<Response<Self::WatchTokenStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn report_rejected(
        &self,
        _request: Request<ReportRejectedRequest>,
    ) -> Result<Response<ReportRejectedResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn revoke_token(
        &self,
        _request: Request<RevokeTokenRequest>,
    ) -> Result<Response<RevokeTokenResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// Serves the response stored beside `socket`, on the kind of runtime given by `kind`. Never returns.
pub(crate) fn serve(socket: &Path, kind: &str) {
    let answer = std::fs::read(socket.with_extension("answer")).unwrap();
    let answer = GetTokenResponse::decode(answer.as_slice()).unwrap();
    let runtime = match kind {
        "single" => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build(),
        _ => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build(),
    };
    runtime.unwrap().block_on(async {
        let incoming = UnixListenerStream::new(UnixListener::bind(socket).unwrap());
        tonic::transport::Server::builder()
            .add_service(TokensServer::new(Constant(answer)))
            .serve_with_incoming(incoming)
            .await
            .unwrap();
    });
}

/// A bare server in a separate process.
pub(crate) struct Bare {
    child: Child,
    socket: PathBuf,
}

impl Bare {
    pub(crate) async fn start(folder: &Path, kind: &str, answer: &GetTokenResponse) -> Self {
        let socket = folder.join(format!("bare-{kind}.sock"));
        std::fs::write(socket.with_extension("answer"), answer.encode_to_vec()).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .arg("--bare")
            .arg(&socket)
            .arg(kind)
            .spawn()
            .unwrap();
        while UnixStream::connect(&socket).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        Self { child, socket }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.clone()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
