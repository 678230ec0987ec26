//! Standard gRPC services, the same for every connection: health and reflection.

use std::convert::Infallible;
use std::fmt;

use http::{Request, Response};
use tonic::body::Body;
use tower::util::BoxCloneSyncService;
use tower_service::Service;

/// A service that can be called from any connection.
pub(crate) type AnyService = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// Health and reflection of one socket.
#[derive(Clone)]
pub(crate) struct StandardServices {
    pub(crate) health: AnyService,
    pub(crate) reflection: Option<AnyService>,
    pub(crate) reflection_alpha: Option<AnyService>,
}

impl fmt::Debug for StandardServices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StandardServices")
    }
}

impl StandardServices {
    /// Those of one socket: reflection lists the services in `served`, and knows the details that errors carry, which tools
    /// without code of ours can decode no other way; it reads messages of at most `limit` bytes, as `health` should.
    pub(crate) fn new<S>(health: S, served: &[&str], limit: usize) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
    {
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
