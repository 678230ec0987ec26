//! The gRPC services.
//!
//! Owns the dispatch from a path to a service. Never decides anything: each service decodes, asks the broker with the
//! connection's session, and encodes. `claviger.v1.Tokens` is dispatched by hand, because its answers are encoded once per
//! token and not once per request ([`codec`]); the others use generated code, made anew for each call around the connection.
//! What callers learn of an error is made in [`status`], and nowhere else.

mod admin;
mod closing;
mod codec;
mod convert;
mod deadline;
mod secrets;
mod status;
mod tokens;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use claviger_proto::v1::{admin_server::AdminServer, secrets_server::SecretsServer};
use http::{Request, Response};
use tonic::Code;
use tonic::body::Body;
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;
use tower_service::Service;

use crate::route::{CROWDED, Face, Route, UNCROWDED, Unwelcome};

pub(crate) use convert::token_text;
pub(crate) use status::{code_and_reason, retry_seconds};

/// The header that names the compression of a request's messages (the gRPC protocol over HTTP/2).
const ENCODING: &str = "grpc-encoding";

/// How much longer than its limit a request may take before it is cut off.
const SLACK: Duration = Duration::from_secs(1);

/// Services that are the same for every connection: health and reflection.
#[derive(Clone)]
pub(crate) struct Standing {
    health: BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>,
    reflection: Option<BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>>,
    reflection_alpha: Option<BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>>,
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Standing")
    }
}

impl Standing {
    /// Those of one socket: reflection lists what that socket serves, and knows the details that errors carry, which tools
    /// without code of ours can decode no other way; it reads messages of at most `limit` bytes, as `health` should.
    pub(crate) fn new<S>(health: S, face: Face, limit: usize) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
    {
        let served: &[&str] = match face {
            Face::Broker => &["claviger.v1.Tokens", "claviger.v1.Secrets"],
            Face::Admin => &["claviger.v1.Admin"],
        };
        let configure = || {
            let builder = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(claviger_proto::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
                .with_service_name("grpc.health.v1.Health");
            served
                .iter()
                .fold(builder, |builder, name| builder.with_service_name(*name))
        };
        // The descriptors are compiled in; if they were broken, a test would have said so and reflection is merely absent.
        Self {
            health: BoxCloneSyncService::new(health),
            reflection: configure()
                .build_v1()
                .ok()
                .map(|service| BoxCloneSyncService::new(service.max_decoding_message_size(limit))),
            reflection_alpha: configure()
                .build_v1alpha()
                .ok()
                .map(|service| BoxCloneSyncService::new(service.max_decoding_message_size(limit))),
        }
    }
}

/// Answers one gRPC request that has passed the guard.
pub(crate) async fn answer(route: &Route, request: Request<Body>) -> Response<Body> {
    let encoding = request.headers().get(ENCODING);
    if encoding.is_some_and(|encoding| encoding != "identity") {
        return status::compressed();
    }
    status::in_our_words(dispatch(route, request).await)
}

async fn dispatch(route: &Route, request: Request<Body>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let service = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    let limit = route.shared.settings.limits.message_bytes;
    let standing = &route.shared.standing;
    match (service, route.shared.face) {
        (Some(("claviger.v1.Tokens", method)), Face::Broker) => {
            in_time(route, tokens::answer(route, method, request)).await
        }
        (Some(("claviger.v1.Secrets", _)), Face::Broker) => {
            let service = SecretsServer::new(secrets::Service {
                route: route.clone(),
            });
            in_time(
                route,
                call(service.max_decoding_message_size(limit), request),
            )
            .await
        }
        (Some(("claviger.v1.Admin", _)), Face::Admin) => {
            let service = AdminServer::new(admin::Service {
                route: route.clone(),
            });
            call(service.max_decoding_message_size(limit), request).await
        }
        (Some(("grpc.health.v1.Health", _)), _) => {
            standing_call(route, Some(standing.health.clone()), request).await
        }
        (Some(("grpc.reflection.v1.ServerReflection", _)), _) => {
            standing_call(route, standing.reflection.clone(), request).await
        }
        (Some(("grpc.reflection.v1alpha.ServerReflection", _)), _) => {
            standing_call(route, standing.reflection_alpha.clone(), request).await
        }
        (Some(("claviger.v1.Admin", _)), Face::Broker) => {
            wrong_socket("operators use the admin socket")
        }
        (Some(("claviger.v1.Tokens" | "claviger.v1.Secrets", _)), Face::Admin) => {
            wrong_socket("programs use the broker socket")
        }
        _ => status::unknown_method(),
    }
}

fn wrong_socket(remedy: &'static str) -> Response<Body> {
    status::turned_away(Code::Unimplemented, "WRONG_SOCKET", remedy).into_http()
}

/// Ends what takes longer than a request may: above all one whose message never comes, which would keep its place among the
/// requests in flight. Whoever waits for an issuer gives up by itself a little earlier, with a better answer. A stream has
/// answered as soon as it begins.
async fn in_time(route: &Route, answer: impl Future<Output = Response<Body>>) -> Response<Body> {
    let limit = route.shared.settings.limits.request.saturating_add(SLACK);
    tokio::time::timeout(limit, answer)
        .await
        .unwrap_or_else(|_elapsed| {
            let remedy = "Send the request's message at once; if it was sent, ask again.";
            status::turned_away(Code::DeadlineExceeded, "TIMEOUT", remedy).into_http()
        })
}

/// Asks a standing service. Its streams end when the connection is about to close.
async fn standing_call(
    route: &Route,
    service: Option<BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>>,
    request: Request<Body>,
) -> Response<Body> {
    match service {
        Some(service) => {
            let answer = call(service, request).await;
            answer.map(|body| closing::with(route.closing.clone(), body))
        }
        None => status::unknown_method(),
    }
}

async fn call<S>(service: S, request: Request<Body>) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    match service.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The answer to a request that the guard turned away.
pub(crate) fn unwelcome(why: Unwelcome) -> Response<Body> {
    status::turned_away(Code::PermissionDenied, Unwelcome::REASON, why.message()).into_http()
}

/// The answer to a request that is one too many.
pub(crate) fn crowded() -> Response<Body> {
    let (reason, remedy) = CROWDED;
    status::put_off(reason, remedy, UNCROWDED).into_http()
}
