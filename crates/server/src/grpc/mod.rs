//! The gRPC services.
//!
//! Owns the dispatch from a path to a service. Never decides anything: each service decodes, asks the broker with the
//! connection's session, and encodes. Which methods there are, and how long each may take, is the table in [`methods`].
//! `claviger.v1.Tokens` is dispatched by hand, because its answers are encoded once per token and not once per request
//! ([`codec`]); the others use generated code, made anew for each call around the connection.
//! `answers` makes what a caller learns of an error; [`status`] writes it.

mod admin;
mod closing;
mod codec;
mod convert;
mod deadline;
mod methods;
mod secrets;
mod status;
mod tokens;

use std::convert::Infallible;

use claviger_proto::v1::{admin_server::AdminServer, secrets_server::SecretsServer};
use http::{Request, Response};
use tonic::body::Body;
use tower::ServiceExt as _;

use crate::answers::Problem;
use crate::context::Context;
use crate::standard::AnyService;
use claviger_runtime::reason::Reason;
use methods::{Method, Service};

pub(crate) use methods::{name as method_name, served};
pub(crate) use status::{failure, refuse};

/// The header that names the compression of a request's messages (the gRPC protocol over HTTP/2).
const ENCODING: &str = "grpc-encoding";

/// Answers one request.
pub(crate) async fn answer(
    context: &Context,
    request: Request<Body>,
    welcome: Result<(), Problem>,
) -> Response<Body> {
    if let Err(problem) = welcome {
        return refuse(problem);
    }
    let encoding = request.headers().get(ENCODING);
    if encoding.is_some_and(|encoding| encoding != "identity") {
        return status::compressed();
    }
    let Some(method) = methods::find(request.uri().path()) else {
        return refuse(Problem::new(Reason::UnknownMethod));
    };
    if method
        .service
        .face()
        .is_some_and(|face| face != context.shared.face)
    {
        return refuse(Problem::new(Reason::WrongSocket));
    }
    // Above all for a request whose message never arrives, which would stay among the requests in flight. A stream counts as
    // answered when it begins.
    let limit = method.limit.of(&context.shared.settings.limits);
    tokio::time::timeout(limit, serve(context, method, request))
        .await
        .map_or_else(
            |_elapsed| refuse(Problem::new(Reason::RequestTimeout)),
            status::with_reason,
        )
}

async fn serve(context: &Context, method: Method, request: Request<Body>) -> Response<Body> {
    let limit = context.shared.settings.limits.message_bytes;
    let standard = &context.shared.standard;
    match method.service {
        Service::Tokens => tokens::answer(context, method.name, request).await,
        Service::Secrets => {
            let service = SecretsServer::new(secrets::Service {
                context: context.clone(),
            });
            call(service.max_decoding_message_size(limit), request).await
        }
        Service::Admin => {
            let service = AdminServer::new(admin::Service {
                context: context.clone(),
            });
            call(service.max_decoding_message_size(limit), request).await
        }
        Service::Health => call_standard(context, Some(standard.health.clone()), request).await,
        Service::Reflection => call_standard(context, standard.reflection.clone(), request).await,
        Service::ReflectionAlpha => {
            call_standard(context, standard.reflection_alpha.clone(), request).await
        }
    }
}

/// Asks a standard service. Its streams end when the connection is about to close.
async fn call_standard(
    context: &Context,
    service: Option<AnyService>,
    request: Request<Body>,
) -> Response<Body> {
    match service {
        Some(service) => call(service, request)
            .await
            .map(|body| closing::with(context.closing.clone(), body)),
        None => refuse(Problem::new(Reason::UnknownMethod)),
    }
}

async fn call<S>(service: S, request: Request<Body>) -> Response<Body>
where
    S: tower_service::Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    match service.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
