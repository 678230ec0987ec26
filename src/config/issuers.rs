//! The sections `[issuers.NAME]`.
//!
//! Owns the keys of an issuer: its identifier, endpoints, trust and limits; `dns` reads how its name is resolved. Sends
//! nothing; `oauth` discovers the endpoints that are not configured.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use crate::config::reader::{Found, Section};
use crate::config::values::{Address, address};
use crate::config::{Context, Mode, dns, names};
use claviger_oauth::{Endpoints, IssuerSettings, MetadataChange};
use claviger_outbound::endpoint;

/// Time limit of one request, connect included.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit of connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Token requests per minute and client that the daemon allows itself.
const REQUESTS_PER_MINUTE: u32 = 10;

/// Reads every `[issuers.NAME]`.
pub(super) fn read(context: &Context<'_>, root: &Section<'_>) -> Vec<Arc<IssuerSettings>> {
    root.named("issuers", |name, section| {
        issuer(context, name, section).map(Arc::new)
    })
}

fn issuer(context: &Context<'_>, name: &str, section: &Section<'_>) -> Option<IssuerSettings> {
    let name = names::checked(name, section);
    let expected = "the issuer identifier, such as https://auth.example.com";
    let issuer = section
        .required_text("issuer", expected)
        .and_then(|found| address(context, &found, Address::Issuer));
    let endpoint = |key| {
        section
            .text(key)
            .and_then(|found| address(context, &found, Address::Endpoint))
    };
    let endpoints = Endpoints {
        token: endpoint("token_endpoint"),
        revocation: endpoint("revocation_endpoint"),
    };
    // Not for every issuer of a dev configuration: metadata of an https issuer must not lead to http.
    let by_http = [&issuer, &endpoints.token, &endpoints.revocation]
        .into_iter()
        .flatten()
        .any(|address| address.starts_with("http:"));
    let (timeout, connect_timeout) = timeouts(section);
    let tokens = [("refuse", false), ("bearer", true)];
    let changes = [
        ("adopt", MetadataChange::Adopt),
        ("hold", MetadataChange::Hold),
    ];
    let settings = IssuerSettings {
        name: name.clone().unwrap_or_default(),
        issuer: issuer.clone().unwrap_or_default(),
        endpoints,
        on_metadata_change: section
            .choice("on_metadata_change", &changes)
            .unwrap_or_default(),
        outbound: claviger_outbound::Settings {
            ca: section.path("ca").map(|found| found.value),
            pins: pins(context, section),
            dns: dns::read(context, section),
            allow_loopback_http: context.mode == Mode::Dev && by_http,
            timeout,
            connect_timeout,
            proxy: proxy(context, section),
        },
        requests_per_minute: section
            .number("requests_per_minute", 1..=6000)
            .unwrap_or(REQUESTS_PER_MINUTE),
        missing_token_type_is_bearer: section
            .choice("missing_token_type", &tokens)
            .unwrap_or(false),
    };
    (name.is_some() && issuer.is_some()).then_some(settings)
}

fn timeouts(section: &Section<'_>) -> (Duration, Duration) {
    let range = |to| Duration::from_millis(100)..=Duration::from_secs(to);
    let timeout = section.duration("timeout", range(120)).unwrap_or(TIMEOUT);
    let connect = section.duration("connect_timeout", range(60));
    if connect.is_some_and(|connect| connect > timeout) {
        let place = section.place_at("connect_timeout");
        let message =
            "connecting cannot take longer than `timeout`, the limit of the whole request";
        section.report.problem(&place, message);
    }
    (timeout, connect.unwrap_or(CONNECT_TIMEOUT.min(timeout)))
}

fn proxy(context: &Context<'_>, section: &Section<'_>) -> Option<Url> {
    let found = section.text("proxy")?;
    match endpoint::proxy(found.value) {
        Ok(url) => Some(url),
        Err(_flaw) => {
            let message = "expected http://HOST:PORT, without a user, a path or a query";
            context.report.problem(&found.place, message);
            None
        }
    }
}

fn pins(context: &Context<'_>, section: &Section<'_>) -> Vec<[u8; 32]> {
    let Some(texts) = section.texts("pins") else {
        return Vec::new();
    };
    let mut pins: Vec<[u8; 32]> = texts
        .iter()
        .filter_map(|found| pin(context, found))
        .collect();
    pins.sort_unstable();
    pins.dedup();
    if pins.len() == 1 {
        context.report.warning(
            &section.place_at("pins"),
            "one pin locks this issuer out when it changes its key; give at least two, the current and the backup",
        );
    }
    pins
}

fn pin(context: &Context<'_>, found: &Found<&str>) -> Option<[u8; 32]> {
    let pin = found
        .value
        .strip_prefix("sha256/")
        .and_then(|text| STANDARD.decode(text).ok())
        .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    if pin.is_none() {
        let message = "expected sha256/ and the base64 of the 32 bytes of a key's digest";
        context.report.problem(&found.place, message);
    }
    pin
}
