//! `claviger.v1.Secrets`.

use std::pin::Pin;

use claviger_proto::v1::{
    GetSecretRequest, GetSecretResponse, WatchSecretRequest, secrets_server::Secrets,
};
use futures_util::stream::{self, Stream};
use tonic::{Request, Response, Status};

use crate::context::Context;
use crate::grpc::{convert, status};

/// The service on one connection.
pub(crate) struct Service {
    pub(crate) context: Context,
}

#[tonic::async_trait]
impl Secrets for Service {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let request = request.into_inner();
        let name = convert::name(&request.name)?;
        self.context.note_name(name);
        let Context {
            shared, session, ..
        } = &self.context;
        let reading = shared
            .broker
            .secret(session, name)
            .await
            .map_err(|error| status::of(&error))?;
        self.context.note_cache(reading.freshness);
        Ok(Response::new(convert::secret(&reading)))
    }

    type WatchSecretStream = Pin<Box<dyn Stream<Item = Result<GetSecretResponse, Status>> + Send>>;

    /// Sends each version as it comes. Ends with the connection, or with the first refusal.
    async fn watch_secret(
        &self,
        request: Request<WatchSecretRequest>,
    ) -> Result<Response<Self::WatchSecretStream>, Status> {
        let request = request.into_inner();
        let name = convert::name(&request.name)?;
        self.context.note_name(name);
        let Context {
            shared, session, ..
        } = &self.context;
        let watch = shared
            .broker
            .watch_secret(session, name)
            .await
            .map_err(|error| status::of(&error))?;
        let state = Some((watch, self.context.clone()));
        Ok(Response::new(Box::pin(stream::unfold(
            state,
            async |state| {
                let (mut watch, context) = state?;
                let next = tokio::select! {
                    next = watch.next() => next,
                    () = context.closing.cancelled() => return None,
                };
                match next {
                    Ok(reading) => Some((Ok(convert::secret(&reading)), Some((watch, context)))),
                    // As at the end of a connection's age: the client reconnects, to the next daemon.
                    Err(_stopping) if context.shared.drain.has_begun() => None,
                    Err(error) => Some((Err(status::of(&error)), None)),
                }
            },
        ))))
    }
}
