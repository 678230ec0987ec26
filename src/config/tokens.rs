//! The sections `[tokens.NAME]`.
//!
//! Owns the keys of a token: its client, grant, scopes and format. `audience` reads its audience.

use std::sync::Arc;
use std::time::Duration;

use crate::config::reader::{Found, Section};
use crate::config::report::nearest;
use crate::config::{Context, audience, names};
use claviger_core::tokens::DEFAULT_IDLE;
use claviger_oauth::{ClientSettings, Grant, ReducedScope, TokenFormat, TokenSettings};
use claviger_oauth_wire::{InvalidPointer, Pointer, Scopes};

/// The lifetime when the issuer does not say.
const DEFAULT_LIFETIME: Duration = Duration::from_hours(1);
/// The longest lifetime that is accepted.
const MAX_LIFETIME: Duration = Duration::from_hours(24);

/// The bounds of the time after which an unused token is not renewed any more.
const SHORTEST_IDLE: Duration = Duration::from_mins(1);
const LONGEST_IDLE: Duration = Duration::from_hours(30 * 24);

/// The grants that this build knows.
const GRANTS: [&str; 1] = ["client_credentials"];

/// Other grants, which are not typing mistakes.
const LATER_GRANTS: [&str; 5] = [
    "authorization_code",
    "refresh_token",
    "urn:ietf:params:oauth:grant-type:device_code",
    "urn:ietf:params:oauth:grant-type:token-exchange",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
];

/// Reads every `[tokens.NAME]`.
pub(super) fn read(
    context: &Context<'_>,
    root: &Section<'_>,
    clients: &[Arc<ClientSettings>],
) -> Vec<TokenSettings> {
    root.named("tokens", |name, section| {
        token(context, name, section, clients)
    })
}

fn token(
    context: &Context<'_>,
    name: &str,
    section: &Section<'_>,
    clients: &[Arc<ClientSettings>],
) -> Option<TokenSettings> {
    let name = names::checked(name, section);
    let client = section
        .required_text(
            "client",
            "the name of the client that the token is issued to",
        )
        .and_then(|found| context.clients.resolve(context.report, &found))
        // A client with faults is declared but absent here: its faults are reported already.
        .and_then(|name| clients.iter().find(|client| client.name == name));
    let expected = format!("one of: {}", GRANTS.join(", "));
    let grant = section
        .required_text("grant", &expected)
        .and_then(|found| grant(context, &found));
    let (default_lifetime, max_lifetime) = lifetimes(section);
    let formats = [
        ("auto", TokenFormat::Auto),
        ("opaque", TokenFormat::Opaque),
        ("jwt", TokenFormat::Jwt),
        ("jwe", TokenFormat::Jwe),
    ];
    let reduced = [
        ("serve", ReducedScope::Serve),
        ("refuse", ReducedScope::Refuse),
    ];
    let scopes = scopes(context, section).unwrap_or_else(Scopes::none);
    let audience = audience::read(context, section, &scopes);
    let environment = environment(context, section);
    let format = section.choice("format", &formats);
    let min_length = section.number("min_length", 1..=16_384);
    let reduced_scope = section.choice("reduced_scope", &reduced);
    let token_pointer = token_pointer(context, section);
    let idle = section.duration("idle", SHORTEST_IDLE..=LONGEST_IDLE);
    Some(TokenSettings {
        name: name?,
        client: Arc::clone(client?),
        grant: grant?,
        scopes,
        resources: audience.resources,
        audience: audience.other,
        audience_style: audience.style,
        verify_resource: audience.verify,
        environment,
        default_lifetime,
        max_lifetime,
        format: format.unwrap_or(TokenFormat::Auto),
        min_length,
        reduced_scope: reduced_scope.unwrap_or(ReducedScope::Serve),
        token_pointer,
        idle: idle.unwrap_or(DEFAULT_IDLE),
    })
}

fn grant(context: &Context<'_>, found: &Found<&str>) -> Option<Grant> {
    let refuse = |message: &str| context.report.problem(&found.place, message);
    match found.value {
        "client_credentials" => return Some(Grant::ClientCredentials),
        "password" => refuse(
            "refused: this grant hands people's passwords to the client and must not be used (RFC 9700 §2.4)",
        ),
        "implicit" | "token" => refuse(
            "refused: this grant puts access tokens into addresses, where they leak (RFC 9700 §2.1.2)",
        ),
        other if LATER_GRANTS.contains(&other) => refuse("not supported by this build yet"),
        other => {
            let message = format!("expected one of: {}", GRANTS.join(", "));
            let meant = nearest(other, GRANTS);
            context.report.problem_meant(&found.place, message, meant);
        }
    }
    None
}

fn lifetimes(section: &Section<'_>) -> (Duration, Duration) {
    let range = |hours| Duration::from_secs(1)..=Duration::from_hours(hours);
    let max = section
        .duration("max_lifetime", range(30 * 24))
        .unwrap_or(MAX_LIFETIME);
    let default = section.duration("default_lifetime", range(24));
    if default.is_some_and(|default| default > max) {
        let place = section.place_at("default_lifetime");
        let message = "cannot be longer than max_lifetime";
        section.report.problem(&place, message);
    }
    (default.unwrap_or(DEFAULT_LIFETIME.min(max)), max)
}

/// The scopes of the key `scopes`, or `None` if it is absent or rejected.
pub(super) fn scopes(context: &Context<'_>, section: &Section<'_>) -> Option<Scopes> {
    let texts = section.texts("scopes")?;
    match Scopes::new(texts.iter().map(|found| found.value)) {
        Ok(scopes) => Some(scopes),
        Err(error) => {
            let place = section.place_at("scopes");
            context.report.problem(&place, error.to_string());
            None
        }
    }
}

fn token_pointer(context: &Context<'_>, section: &Section<'_>) -> Option<Pointer> {
    let found = section.text("token_pointer")?;
    let pointer = found.value.parse();
    pointer
        .map_err(|error: InvalidPointer| {
            let message = format!("expected {error}");
            context.report.problem(&found.place, message);
        })
        .ok()
}

fn environment(context: &Context<'_>, section: &Section<'_>) -> Option<String> {
    let found = section.text("environment")?;
    if names::is_name(found.value) {
        return Some(found.value.to_owned());
    }
    let message = "expected a plain word such as prod";
    context.report.problem(&found.place, message);
    None
}
