//! The sections `[clients.NAME]`.
//!
//! Owns the keys of a client: its issuer, its identifier, and how it authenticates. A credential is always a reference.

use std::sync::Arc;

use toml::de::DeValue;

use crate::config::reader::{Found, Section};
use crate::config::report::nearest;
use crate::config::values::{is_placeholder, printable, reference};
use crate::config::{Context, names};
use claviger_oauth::{AuthMethod, ClientId, ClientSettings, IssuerSettings};
use claviger_oauth_wire::BasicEncoding;

/// The longest client identifier; the RFC has no limit.
const LONGEST_ID: usize = 1024;

/// The methods that this build knows.
const METHODS: [&str; 2] = ["client_secret_basic", "client_secret_post"];

/// The other methods of the registry of RFC 7591 §4.2, which are not typing mistakes.
const LATER_METHODS: [&str; 4] = [
    "client_secret_jwt",
    "private_key_jwt",
    "tls_client_auth",
    "self_signed_tls_client_auth",
];

/// Reads every `[clients.NAME]`.
pub(super) fn read(
    context: &Context<'_>,
    root: &Section<'_>,
    issuers: &[Arc<IssuerSettings>],
) -> Vec<Arc<ClientSettings>> {
    root.named("clients", |name, section| {
        client(context, name, section, issuers).map(Arc::new)
    })
}

fn client(
    context: &Context<'_>,
    name: &str,
    section: &Section<'_>,
    issuers: &[Arc<IssuerSettings>],
) -> Option<ClientSettings> {
    let name = names::checked(name, section);
    let issuer = section
        .required_text("issuer", "the name of the issuer that knows the client")
        .and_then(|found| context.issuers.resolve(context.report, &found))
        // An issuer with faults is declared but absent here: its faults are reported already.
        .and_then(|name| issuers.iter().find(|issuer| issuer.name == name));
    let id = client_id(context, section);
    if !section.has("auth") {
        section.missing(
            "auth",
            "how the client authenticates, a table with `method`",
        );
    }
    let auth = section.table("auth", |section| auth(context, section));
    section.unsupported(&["rotate"]);
    Some(ClientSettings {
        name: name?,
        issuer: Arc::clone(issuer?),
        id: id?,
        auth: auth??,
    })
}

/// A reference, or `{ literal = "…" }`.
fn client_id(context: &Context<'_>, section: &Section<'_>) -> Option<ClientId> {
    let Some(found) = section.any("id") else {
        section.missing(
            "id",
            "a reference backend:path#field, or { literal = \"…\" } for an identifier that is not secret",
        );
        return None;
    };
    match found.value {
        DeValue::Table(_) => section.table("id", |section| literal_id(context, section))?,
        DeValue::String(text) => {
            let found = Found {
                value: &**text,
                place: found.place,
            };
            reference(context, &found).map(ClientId::Reference)
        }
        DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_) => {
            let message = "expected a reference backend:path#field, or { literal = \"…\" }";
            context.report.problem(&found.place, message);
            None
        }
    }
}

fn literal_id(context: &Context<'_>, section: &Section<'_>) -> Option<ClientId> {
    let found = section.required_text("literal", "the identifier at the issuer")?;
    if is_placeholder(found.value.as_bytes()) {
        let message =
            "this is a placeholder; replace it with the identifier that the issuer assigned";
        context.report.problem(&found.place, message);
        return None;
    }
    printable(context, &found, LONGEST_ID).map(ClientId::Literal)
}

fn auth(context: &Context<'_>, section: &Section<'_>) -> Option<AuthMethod> {
    let expected = format!("one of: {}", METHODS.join(", "));
    let method = section.required_text("method", &expected);
    let method = match method.as_ref().map(|found| found.value) {
        Some(text) if METHODS.contains(&text) => text,
        other => {
            if let (Some(text), Some(found)) = (other, &method) {
                refuse_method(context, found, text);
            }
            section.ignore_rest();
            return None;
        }
    };
    let secret = section
        .required_text("secret", "a reference backend:path#field")
        .and_then(|found| reference(context, &found));
    if method == "client_secret_post" {
        return Some(AuthMethod::Post { secret: secret? });
    }
    let encodings = [
        ("rfc6749", BasicEncoding::Rfc6749),
        ("raw", BasicEncoding::Raw),
    ];
    let encoding = section
        .choice("basic_encoding", &encodings)
        .unwrap_or(BasicEncoding::Rfc6749);
    Some(AuthMethod::Basic {
        secret: secret?,
        encoding,
    })
}

fn refuse_method(context: &Context<'_>, found: &Found<&str>, method: &str) {
    if method == "none" {
        context.report.problem(
            &found.place,
            "refused: a client that proves nothing is for people's logins with PKCE or the device flow; \
             client_credentials is for confidential clients only (RFC 6749 §4.4)",
        );
    } else if LATER_METHODS.contains(&method) {
        context
            .report
            .problem(&found.place, "not supported by this build yet");
    } else {
        let message = format!("expected one of: {}", METHODS.join(", "));
        let meant = nearest(method, METHODS);
        context.report.problem_meant(&found.place, message, meant);
    }
}
