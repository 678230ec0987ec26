//! The key `dns` of an issuer: how its name is resolved, and which addresses are acceptable.
//!
//! Owns the parsing of servers and networks. `outbound` requires public addresses of public issuers; this file
//! reads the exceptions that an operator makes for one issuer.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use crate::config::Context;
use crate::config::reader::{Found, Section};
use claviger_outbound::{DnsSettings, ResolverSettings};

/// Time limit of one resolution.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The ports of DNS over TLS (RFC 7858) and over HTTPS (RFC 8484).
const TLS_PORT: u16 = 853;
const HTTPS_PORT: u16 = 443;

/// The kinds of resolvers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    System,
    Tls,
    Https,
}

/// Reads the key `dns` of an issuer.
pub(super) fn read(context: &Context<'_>, issuer: &Section<'_>) -> DnsSettings {
    issuer
        .table("dns", |section| settings(context, section))
        .unwrap_or(DnsSettings {
            resolver: ResolverSettings::System,
            dnssec: false,
            ca: None,
            timeout: TIMEOUT,
            allow: Vec::new(),
        })
}

fn settings(context: &Context<'_>, section: &Section<'_>) -> DnsSettings {
    let kinds = [
        ("system", Kind::System),
        ("tls", Kind::Tls),
        ("https", Kind::Https),
    ];
    // Which other keys an unknown resolver needs is unknown, too.
    let kind = match section.choice("resolver", &kinds) {
        None if !section.has("resolver") => Some(Kind::System),
        kind => kind,
    };
    let resolver = resolver(context, section, kind);
    let dnssec = section.flag("dnssec", false);
    if dnssec && kind == Some(Kind::System) {
        context.report.problem(
            &section.place_at("dnssec"),
            "the system's resolver does not verify signatures; set resolver to \"tls\" or \"https\"",
        );
    }
    let allowed = section.texts("allow").unwrap_or_default();
    DnsSettings {
        // A faulty resolver is a reported problem, so these settings are never used.
        resolver: resolver.unwrap_or(ResolverSettings::System),
        dnssec,
        ca: section.path("ca").map(|found| found.value),
        timeout: section
            .duration(
                "timeout",
                Duration::from_millis(100)..=Duration::from_secs(30),
            )
            .unwrap_or(TIMEOUT),
        allow: allowed
            .iter()
            .filter_map(|found| network(context, found))
            .collect(),
    }
}

fn resolver(
    context: &Context<'_>,
    section: &Section<'_>,
    kind: Option<Kind>,
) -> Option<ResolverSettings> {
    let servers = section.texts("servers");
    let name = section.text("name");
    let port = match kind? {
        Kind::System => {
            for key in ["servers", "name"] {
                if section.has(key) {
                    let message = "only resolver = \"tls\" and \"https\" have it";
                    context.report.problem(&section.place_at(key), message);
                }
            }
            return Some(ResolverSettings::System);
        }
        Kind::Tls => TLS_PORT,
        Kind::Https => HTTPS_PORT,
    };
    if !section.has("servers") || servers.as_ref().is_some_and(Vec::is_empty) {
        section.missing(
            "servers",
            "the addresses of the resolver, such as \"192.0.2.53\"",
        );
    }
    if !section.has("name") {
        section.missing("name", "the name on the resolver's certificate");
    }
    let servers = servers?
        .iter()
        .map(|found| server(context, found, port))
        .collect::<Option<Vec<_>>>()?;
    let name = host_name(context, &name?)?;
    Some(if kind == Some(Kind::Https) {
        ResolverSettings::Https { servers, name }
    } else {
        ResolverSettings::Tls { servers, name }
    })
}

fn server(context: &Context<'_>, found: &Found<&str>, port: u16) -> Option<SocketAddr> {
    let bare = found.value.parse::<IpAddr>().ok();
    let address = bare
        .map(|address| SocketAddr::new(address, port))
        .or_else(|| found.value.parse().ok())
        .filter(|address| address.port() != 0 && !address.ip().is_unspecified());
    if address.is_none() {
        let message = "expected an IP address, with or without a port";
        context.report.problem(&found.place, message);
    }
    address
}

fn host_name(context: &Context<'_>, found: &Found<&str>) -> Option<String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = found.value;
    if name.len() <= 253 && name.split('.').all(label) {
        return Some(name.to_owned());
    }
    let message = "expected a host name such as dns.example.com";
    context.report.problem(&found.place, message);
    None
}

fn network(context: &Context<'_>, found: &Found<&str>) -> Option<IpNet> {
    let parsed = found
        .value
        .parse::<IpNet>()
        .ok()
        .or_else(|| found.value.parse::<IpAddr>().ok().map(IpNet::from));
    let message = match parsed {
        None => "expected a network such as 10.0.0.0/8",
        Some(network) if network.prefix_len() == 0 => {
            "a network of every address switches the check off"
        }
        Some(network) if network.trunc() != network => {
            "the address has bits beyond the length of the network"
        }
        Some(network) => return Some(network),
    };
    context.report.problem(&found.place, message);
    None
}
