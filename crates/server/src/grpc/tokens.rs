//! `claviger.v1.Tokens`.

use std::pin::Pin;
use std::time::Duration;

use claviger_proto::v1;
use futures_util::stream::{self, Stream};
use http::{Request, Response};
use prost::Message;
use tonic::Status;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::answers::Problem;
use crate::context::Context;
use crate::grpc::codec::{AnswerCodec, Encoded};
use crate::grpc::{convert, deadline, status};
use claviger_core::broker::{Rejection, TokenRequest};
use claviger_core::tokens::Want;
use claviger_oauth_wire::Scopes;
use claviger_runtime::reason::Reason;

/// A stream of answers.
type Answers = Pin<Box<dyn Stream<Item = Result<Encoded, Status>> + Send>>;

/// Answers one call.
pub(crate) async fn answer(
    context: &Context,
    method: &str,
    request: Request<Body>,
) -> Response<Body> {
    let limit = context.shared.settings.limits.message_bytes;
    match method {
        "GetToken" => {
            let wait = deadline::of(request.headers(), context.shared.settings.limits.request);
            let service = service_fn(|request: tonic::Request<v1::GetTokenRequest>| {
                get_token(context, request.into_inner(), wait)
            });
            let grpc = Grpc::new(AnswerCodec::new());
            grpc.max_decoding_message_size(limit)
                .unary(service, request)
                .await
        }
        "WatchToken" => {
            let service = service_fn(
                |request: tonic::Request<v1::WatchTokenRequest>| async move {
                    watch_token(context, &request.into_inner())
                        .await
                        .map(tonic::Response::new)
                },
            );
            let grpc = Grpc::new(AnswerCodec::new());
            grpc.max_decoding_message_size(limit)
                .server_streaming(service, request)
                .await
        }
        "ReportRejected" => {
            let service = service_fn(
                |request: tonic::Request<v1::ReportRejectedRequest>| async move {
                    report_rejected(context, request.into_inner())
                        .await
                        .map(tonic::Response::new)
                },
            );
            prost(limit).unary(service, request).await
        }
        "RevokeToken" => {
            let service = service_fn(
                |request: tonic::Request<v1::RevokeTokenRequest>| async move {
                    let request = request.into_inner();
                    revoke_token(context, &request)
                        .await
                        .map(tonic::Response::new)
                },
            );
            prost(limit).unary(service, request).await
        }
        _ => status::refuse(Problem::new(Reason::UnknownMethod)),
    }
}

fn prost<E, D>(limit: usize) -> Grpc<ProstCodec<E, D>>
where
    E: Message + Send + 'static,
    D: Message + Default + Send + 'static,
{
    Grpc::new(ProstCodec::default()).max_decoding_message_size(limit)
}

async fn get_token(
    context: &Context,
    request: v1::GetTokenRequest,
    wait: Duration,
) -> Result<tonic::Response<Encoded>, Status> {
    context.note_name(convert::name(&request.name)?);
    let request = TokenRequest {
        scopes: convert::scopes(&request.scopes)?,
        want: Want {
            min_remaining: convert::duration("min_remaining", request.min_remaining)?,
            force_refresh: request.force_refresh,
            deadline: wait,
        },
        name: request.name,
    };
    let answer = context
        .shared
        .broker
        .token(&context.session, &request)
        .await
        .map_err(|error| status::of(&error))?;
    context.note_cache(answer.freshness);
    Ok(tonic::Response::new(Encoded::new(&answer)))
}

/// Sends each token as it comes. Ends with the connection, or with the first refusal.
async fn watch_token(
    context: &Context,
    request: &v1::WatchTokenRequest,
) -> Result<Answers, Status> {
    let name = convert::name(&request.name)?;
    context.note_name(name);
    let scopes = convert::scopes(&request.scopes)?;
    let watch = context
        .shared
        .broker
        .watch_token(&context.session, name, &scopes)
        .await
        .map_err(|error| status::of(&error))?;
    let state = Some((watch, context.clone()));
    Ok(Box::pin(stream::unfold(state, async |state| {
        let (mut watch, context) = state?;
        let next = tokio::select! {
            next = watch.next() => next,
            () = context.closing.cancelled() => return None,
        };
        match next {
            Ok(answer) => Some((Ok(Encoded::new(&answer)), Some((watch, context)))),
            // As at the end of a connection's age: the client reconnects, to the next daemon.
            Err(_stopping) if context.shared.drain.has_begun() => None,
            Err(error) => Some((Err(status::of(&error)), None)),
        }
    })))
}

async fn report_rejected(
    context: &Context,
    request: v1::ReportRejectedRequest,
) -> Result<v1::ReportRejectedResponse, Status> {
    context.note_name(convert::name(&request.name)?);
    let rejection = Rejection {
        scopes: convert::scopes(&request.scopes)?,
        fingerprint: convert::fingerprint(request.fingerprint)?,
        http_status: request.http_status,
        challenge: request.www_authenticate,
        name: request.name,
    };
    let report = context
        .shared
        .broker
        .report_rejected(&context.session, &rejection)
        .await
        .map_err(|error| status::of(&error))?;
    Ok(convert::report(&report))
}

async fn revoke_token(
    context: &Context,
    request: &v1::RevokeTokenRequest,
) -> Result<v1::RevokeTokenResponse, Status> {
    let name = convert::name(&request.name)?;
    context.note_name(name);
    let scopes: Scopes = convert::scopes(&request.scopes)?;
    let revoked = context
        .shared
        .broker
        .revoke_token(&context.session, name, &scopes)
        .await
        .map_err(|error| status::of(&error))?;
    Ok(convert::revoked(&revoked))
}
