//! What issuers and resources publish about themselves, as far as claviger read and checked it.
//!
//! For operators. Served from memory: a read never contacts an issuer or a resource. The fields have the names of RFC 8414 and
//! RFC 9728; additions of claviger are in the member `claviger`.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::answers::Problem;
use crate::http1::answers::Reply;
use crate::{
    EndpointsOverview, MetadataOverview, Overview, ResourceMetadataOverview, ResourceOverview,
};
use claviger_core::audit::Released;
use claviger_runtime::reason::Reason;

/// When to retry if no metadata could be read: transient failures are retried at least this often.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// `GET /.well-known/oauth-authorization-server/ISSUER`.
pub(super) fn of_issuer(overview: &Released<Overview>, name: &str) -> Reply {
    let Some(issuer) = overview.issuers.iter().find(|issuer| &*issuer.name == name) else {
        return unknown(
            "name an issuer of the daemon's configuration; `claviger status` lists them",
        );
    };
    match &issuer.metadata {
        Some(metadata) => Reply::json(StatusCode::OK, &described(&issuer.issuer, metadata)),
        None => not_read(
            "the issuer's metadata could not be read yet; ask for a token of it, or run `claviger refresh --issuer NAME`",
        ),
    }
}

/// `GET /.well-known/oauth-protected-resource/TOKEN`: the resources of a token.
pub(super) fn of_token(overview: &Released<Overview>, name: &str) -> Reply {
    let own = overview.resources.iter().filter(|one| &*one.token == name);
    let mut rows = Vec::new();
    let mut any = false;
    for resource in own {
        any |= resource.metadata.is_some();
        rows.push(row(resource));
    }
    if rows.is_empty() {
        return unknown(
            "name a token of the daemon's configuration with `verify_resource = true`; the metadata of other resources is not read",
        );
    }
    if !any {
        return not_read(
            "no resource of the token has named the issuer yet; ask for the token, or run `claviger check`, which says why",
        );
    }
    Reply::json(StatusCode::OK, &json!({ "token": name, "resources": rows }))
}

fn unknown(remedy: &'static str) -> Reply {
    Reply::problem(&Problem::new(Reason::NoSuchPath).with_remedy(remedy))
}

fn not_read(remedy: &'static str) -> Reply {
    Reply::problem(&Problem {
        retry_in: Some(LOOK_AGAIN),
        ..Problem::new(Reason::NotReadYet).with_remedy(remedy)
    })
}

fn described(issuer: &str, metadata: &MetadataOverview) -> Value {
    let mut body = fields(&metadata.used);
    body.insert("issuer".to_owned(), issuer.into());
    let mut known = json!({
        "read_at": metadata.read.map(|read| read.wall.as_secs()),
        "stale": metadata.stale,
        "configured": metadata.configured,
    });
    if let (Some(waiting), Some(known)) = (&metadata.waiting, known.as_object_mut()) {
        known.insert("waiting".to_owned(), fields(waiting).into());
    }
    body.insert("claviger".to_owned(), known);
    body.into()
}

fn fields(endpoints: &EndpointsOverview) -> Map<String, Value> {
    let EndpointsOverview {
        token,
        revocation,
        auth_methods,
    } = endpoints;
    let mut fields = Map::new();
    fields.insert("token_endpoint".to_owned(), token.clone().into());
    if let Some(revocation) = revocation {
        fields.insert("revocation_endpoint".to_owned(), revocation.clone().into());
    }
    if let Some(methods) = auth_methods {
        let name = "token_endpoint_auth_methods_supported".to_owned();
        fields.insert(name, methods.clone().into());
    }
    fields
}

fn row(resource: &ResourceOverview) -> Value {
    let Some(ResourceMetadataOverview {
        resource: named,
        scopes,
        read,
        stale,
    }) = &resource.metadata
    else {
        return json!({ "resource": resource.resource, "claviger": { "read_at": null } });
    };
    let mut row = json!({
        "resource": named,
        "authorization_servers": [resource.issuer],
        "claviger": { "read_at": read.wall.as_secs(), "stale": stale },
    });
    if let (Some(scopes), Some(row)) = (scopes, row.as_object_mut()) {
        row.insert("scopes_supported".to_owned(), scopes.clone().into());
    }
    row
}
