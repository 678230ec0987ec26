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

use crate::grpc::codec::{AnswerCodec, Encoded};
use crate::grpc::{convert, deadline, status};
use crate::route::Route;
use claviger_core::broker::{Rejection, TokenRequest};
use claviger_core::tokens::Want;
use claviger_oauth_wire::Scopes;

/// A stream of answers.
type Answers = Pin<Box<dyn Stream<Item = Result<Encoded, Status>> + Send>>;

/// Answers one call.
pub(crate) async fn answer(route: &Route, method: &str, request: Request<Body>) -> Response<Body> {
    let limit = route.shared.settings.limits.message_bytes;
    match method {
        "GetToken" => {
            let wait = deadline::of(request.headers(), route.shared.settings.limits.request);
            let service = service_fn(|request: tonic::Request<v1::GetTokenRequest>| {
                get_token(route, request.into_inner(), wait)
            });
            let grpc = Grpc::new(AnswerCodec::new());
            grpc.max_decoding_message_size(limit)
                .unary(service, request)
                .await
        }
        "WatchToken" => {
            let service = service_fn(
                |request: tonic::Request<v1::WatchTokenRequest>| async move {
                    watch_token(route, &request.into_inner())
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
                    report_rejected(route, request.into_inner())
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
                    revoke_token(route, &request)
                        .await
                        .map(tonic::Response::new)
                },
            );
            prost(limit).unary(service, request).await
        }
        _ => status::unknown_method(),
    }
}

fn prost<E, D>(limit: usize) -> Grpc<ProstCodec<E, D>>
where
    E: Message + Send + 'static,
    D: Message + Default + Send + 'static,
{
    Grpc::new(ProstCodec::default()).max_decoding_message_size(limit)
}

fn invalid((field, problem): convert::Problem) -> Status {
    status::invalid(field, problem)
}

async fn get_token(
    route: &Route,
    request: v1::GetTokenRequest,
    wait: Duration,
) -> Result<tonic::Response<Encoded>, Status> {
    convert::name(&request.name).map_err(invalid)?;
    let request = TokenRequest {
        scopes: convert::scopes(&request.scopes).map_err(invalid)?,
        want: Want {
            min_remaining: convert::duration(request.min_remaining).map_err(invalid)?,
            force_refresh: request.force_refresh,
            deadline: wait,
        },
        name: request.name,
    };
    let answer = route
        .shared
        .broker
        .token(&route.session, &request)
        .await
        .map_err(|error| status::of(&error))?;
    Ok(tonic::Response::new(Encoded::new(&answer)))
}

/// Sends each token as it comes. Ends with the connection, or with the first refusal.
async fn watch_token(route: &Route, request: &v1::WatchTokenRequest) -> Result<Answers, Status> {
    let name = convert::name(&request.name).map_err(invalid)?;
    let scopes = convert::scopes(&request.scopes).map_err(invalid)?;
    let watch = route
        .shared
        .broker
        .watch_token(&route.session, name, &scopes)
        .await
        .map_err(|error| status::of(&error))?;
    let state = Some((watch, route.clone()));
    Ok(Box::pin(stream::unfold(state, async |state| {
        let (mut watch, route) = state?;
        let next = tokio::select! {
            next = watch.next() => next,
            () = route.closing.cancelled() => return None,
        };
        match next {
            Ok(answer) => Some((Ok(Encoded::new(&answer)), Some((watch, route)))),
            // Like an old connection: who follows reconnects, and finds the next daemon.
            Err(_stopping) if route.shared.drain.has_begun() => None,
            Err(error) => Some((Err(status::of(&error)), None)),
        }
    })))
}

async fn report_rejected(
    route: &Route,
    request: v1::ReportRejectedRequest,
) -> Result<v1::ReportRejectedResponse, Status> {
    convert::name(&request.name).map_err(invalid)?;
    let rejection = Rejection {
        scopes: convert::scopes(&request.scopes).map_err(invalid)?,
        fingerprint: convert::fingerprint(request.fingerprint).map_err(invalid)?,
        http_status: request.http_status,
        challenge: request.www_authenticate,
        name: request.name,
    };
    let report = route
        .shared
        .broker
        .report_rejected(&route.session, &rejection)
        .await
        .map_err(|error| status::of(&error))?;
    Ok(convert::report(&report))
}

async fn revoke_token(
    route: &Route,
    request: &v1::RevokeTokenRequest,
) -> Result<v1::RevokeTokenResponse, Status> {
    let name = convert::name(&request.name).map_err(invalid)?;
    let scopes: Scopes = convert::scopes(&request.scopes).map_err(invalid)?;
    let revoked = route
        .shared
        .broker
        .revoke_token(&route.session, name, &scopes)
        .await
        .map_err(|error| status::of(&error))?;
    Ok(convert::revoked(&revoked))
}
