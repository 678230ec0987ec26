//! The methods that are served, each with its socket and its time limit.
//!
//! Owns the one table that a call must be in to be answered at all: a new method states how long it may take. A test
//! compares the table with the compiled `.proto` files.

use std::time::Duration;

use crate::context::Face;
use crate::settings::Limits;

/// How much longer than its limit a request may take before it is cut off: a caller that waits for an issuer gets a more
/// specific answer just before.
const SLACK: Duration = Duration::from_secs(1);

/// How long an operation of an operator may take. Each of its parts (a fetch, a request to an issuer) has a shorter limit of
/// its own.
const OPERATION: Duration = Duration::from_mins(5);

/// A gRPC service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Tokens,
    Secrets,
    Admin,
    Health,
    Reflection,
    ReflectionAlpha,
}

/// How long a method may take until its answer, or the stream of answers, begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// `server.limits.request`.
    Request,
    /// Operations of an operator that wait for backends or issuers.
    Operation,
}

/// One method.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method {
    pub(super) service: Service,
    pub(super) name: &'static str,
    pub(super) limit: Limit,
}

const fn method(service: Service, name: &'static str, limit: Limit) -> Method {
    Method {
        service,
        name,
        limit,
    }
}

const METHODS: [Method; 14] = [
    method(Service::Tokens, "GetToken", Limit::Request),
    method(Service::Tokens, "WatchToken", Limit::Request),
    method(Service::Tokens, "ReportRejected", Limit::Request),
    method(Service::Tokens, "RevokeToken", Limit::Request),
    method(Service::Secrets, "GetSecret", Limit::Request),
    method(Service::Secrets, "WatchSecret", Limit::Request),
    method(Service::Admin, "Status", Limit::Request),
    method(Service::Admin, "Explain", Limit::Request),
    method(Service::Admin, "Refresh", Limit::Operation),
    method(Service::Admin, "Reload", Limit::Operation),
    method(Service::Health, "Check", Limit::Request),
    method(Service::Health, "Watch", Limit::Request),
    method(Service::Reflection, "ServerReflectionInfo", Limit::Request),
    method(
        Service::ReflectionAlpha,
        "ServerReflectionInfo",
        Limit::Request,
    ),
];

/// The method that a path names.
pub(super) fn find(path: &str) -> Option<Method> {
    let (service, name) = path.strip_prefix('/')?.split_once('/')?;
    METHODS
        .into_iter()
        .find(|method| method.name == name && method.service.path() == service)
}

/// The name of the method that a path names, for records; `None` if there is none.
pub(crate) fn name(path: &str) -> Option<String> {
    let Method { service, name, .. } = find(path)?;
    Some(format!("/{}/{name}", service.path()))
}

/// The services of claviger on one socket, for reflection.
pub(crate) fn served(face: Face) -> &'static [&'static str] {
    match face {
        Face::Broker => &["claviger.v1.Tokens", "claviger.v1.Secrets"],
        Face::Admin => &["claviger.v1.Admin"],
    }
}

impl Service {
    /// Its name on the wire.
    fn path(self) -> &'static str {
        match self {
            Self::Tokens => "claviger.v1.Tokens",
            Self::Secrets => "claviger.v1.Secrets",
            Self::Admin => "claviger.v1.Admin",
            Self::Health => "grpc.health.v1.Health",
            Self::Reflection => "grpc.reflection.v1.ServerReflection",
            Self::ReflectionAlpha => "grpc.reflection.v1alpha.ServerReflection",
        }
    }

    /// The socket that it is served on; `None` for both.
    pub(super) fn face(self) -> Option<Face> {
        match self {
            Self::Tokens | Self::Secrets => Some(Face::Broker),
            Self::Admin => Some(Face::Admin),
            Self::Health | Self::Reflection | Self::ReflectionAlpha => None,
        }
    }
}

impl Limit {
    /// When a call is cut off.
    pub(super) fn of(self, limits: &Limits) -> Duration {
        let limit = match self {
            Self::Request => limits.request,
            Self::Operation => OPERATION,
        };
        limit.saturating_add(SLACK)
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn every_method_of_the_proto_files_has_a_limit() {
        let mut seen = 0;
        for descriptors in [
            claviger_proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
        ] {
            let set = FileDescriptorSet::decode(descriptors).unwrap();
            for file in &set.file {
                for service in &file.service {
                    for method in &service.method {
                        let path =
                            format!("/{}.{}/{}", file.package(), service.name(), method.name());
                        assert!(find(&path).is_some(), "{path}");
                        seen += 1;
                    }
                }
            }
        }
        assert_eq!(seen + 2, METHODS.len(), "all but reflection");
        assert!(find("/claviger.v1.Tokens/").is_none());
        assert!(find("claviger.v1.Tokens/GetToken").is_none());
    }
}
