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
use claviger_core::broker::TokenRequest;
use claviger_core::tokens::{Report, Revoked, Want};
use claviger_oauth_wire::Scopes;

/// How much of a `WWW-Authenticate` header is looked at, in bytes.
const LONGEST_CHALLENGE: usize = 1024;

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
                    watch_token(route, &request.into_inner()).map(tonic::Response::new)
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
                    report_rejected(route, &request.into_inner()).map(tonic::Response::new)
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
fn watch_token(route: &Route, request: &v1::WatchTokenRequest) -> Result<Answers, Status> {
    let name = convert::name(&request.name).map_err(invalid)?;
    let scopes = convert::scopes(&request.scopes).map_err(invalid)?;
    let watch = route
        .shared
        .broker
        .watch_token(&route.session, name, &scopes)
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

fn report_rejected(
    route: &Route,
    request: &v1::ReportRejectedRequest,
) -> Result<v1::ReportRejectedResponse, Status> {
    use v1::report_rejected_response::Outcome;
    let name = convert::name(&request.name).map_err(invalid)?;
    let scopes = convert::scopes(&request.scopes).map_err(invalid)?;
    let outcome = if blames_the_token(request.http_status, &request.www_authenticate) {
        let broker = &route.shared.broker;
        let report = broker
            .report_rejected(&route.session, name, &scopes, &request.fingerprint)
            .map_err(|error| status::of(&error))?;
        match report {
            Report::Dropped => Outcome::Dropped,
            Report::Superseded => Outcome::Superseded,
            Report::NotTheToken => Outcome::NotTheToken,
        }
    } else {
        Outcome::NotTheToken
    };
    Ok(v1::ReportRejectedResponse {
        outcome: outcome.into(),
    })
}

/// Whether another token could help: 401, unless the challenge says that the scope is what is missing (RFC 6750 §3.1).
pub(crate) fn blames_the_token(http_status: u32, www_authenticate: &str) -> bool {
    let challenge = www_authenticate
        .get(..LONGEST_CHALLENGE)
        .unwrap_or(www_authenticate);
    http_status == 401 && !challenge.contains("insufficient_scope")
}

async fn revoke_token(
    route: &Route,
    request: &v1::RevokeTokenRequest,
) -> Result<v1::RevokeTokenResponse, Status> {
    use v1::revoke_token_response::Outcome;
    let name = convert::name(&request.name).map_err(invalid)?;
    let scopes: Scopes = convert::scopes(&request.scopes).map_err(invalid)?;
    let revoked = route
        .shared
        .broker
        .revoke_token(&route.session, name, &scopes)
        .await
        .map_err(|error| status::of(&error))?;
    let (outcome, until) = match revoked {
        Revoked::NothingHeld => (Outcome::NothingHeld, None),
        Revoked::Revoked => (Outcome::Revoked, None),
        Revoked::Unsupported { until } => (Outcome::Unsupported, Some(until)),
        Revoked::Failed { until } => (Outcome::Failed, Some(until)),
    };
    Ok(v1::RevokeTokenResponse {
        outcome: outcome.into(),
        valid_until: until.map(|until| convert::timestamp(until.wall())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_401_about_the_token_drops_it() {
        assert!(blames_the_token(401, ""));
        assert!(blames_the_token(401, "Bearer error=\"invalid_token\""));
        assert!(!blames_the_token(
            401,
            "Bearer error=\"insufficient_scope\", scope=\"a\""
        ));
        assert!(!blames_the_token(403, "Bearer error=\"invalid_token\""));
        assert!(
            blames_the_token(401, &"ü".repeat(2000)),
            "any text is read without a panic"
        );
    }
}
