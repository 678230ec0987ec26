//! The audience of a token.
//!
//! Owns the keys `resource`, `audience`, `audience_style` and `verify_resource` of a token, one by one and together.

use crate::config::Context;
use crate::config::reader::{Found, Section};
use crate::config::values::{Address, address, printable};
use claviger_oauth::{AudienceFlaw, AudienceStyle};
use claviger_oauth_wire::Scopes;

/// The longest resource or audience.
const LONGEST: usize = 2048;

/// The values of these keys.
#[derive(Debug)]
pub(super) struct Audience {
    pub(crate) resources: Vec<String>,
    /// The key `audience`.
    pub(crate) other: Option<String>,
    pub(crate) style: AudienceStyle,
    pub(crate) verify: bool,
}

/// Reads the keys one by one, then rejects what the style cannot express for a token with these scopes.
pub(super) fn read(context: &Context<'_>, section: &Section<'_>, scopes: &Scopes) -> Audience {
    let styles = [
        ("rfc8707", AudienceStyle::Rfc8707),
        ("resource_v1", AudienceStyle::ResourceV1),
        ("scope_default", AudienceStyle::ScopeDefault),
        ("audience", AudienceStyle::Audience),
        ("none", AudienceStyle::None),
    ];
    let verify = section.flag("verify_resource", false);
    let texts = section.text_or_texts("resource").unwrap_or_default();
    if verify && !section.has("resource") {
        let place = section.place_at("verify_resource");
        let message = "there is nothing to verify without `resource`";
        context.report.problem(&place, message);
    }
    let audience = Audience {
        resources: texts
            .iter()
            .filter_map(|found| resource(context, found, verify))
            .collect(),
        other: section
            .text("audience")
            .and_then(|found| printable(context, &found, LONGEST)),
        style: section
            .choice("audience_style", &styles)
            .unwrap_or_default(),
        verify,
    };
    // A resource that was rejected is not reported twice.
    if texts.len() == audience.resources.len() {
        check(context, section, &audience, scopes);
    }
    audience
}

/// RFC 8707 §2: an absolute URI without a fragment, sent as it is written. To be verified, it must be one that can be read.
fn resource(context: &Context<'_>, found: &Found<&str>, verify: bool) -> Option<String> {
    let graphic = found.value.bytes().all(|byte| byte.is_ascii_graphic());
    let absolute = url::Url::parse(found.value).is_ok_and(|url| {
        url.fragment().is_none() && url.password().is_none() && url.username().is_empty()
    });
    if !graphic || !absolute || found.value.len() > LONGEST {
        let message =
            "expected an absolute address without a fragment, such as https://api.example.com";
        context.report.problem(&found.place, message);
        return None;
    }
    if verify {
        return address(context, found, Address::Endpoint);
    }
    Some(found.value.to_owned())
}

fn check(context: &Context<'_>, section: &Section<'_>, audience: &Audience, scopes: &Scopes) {
    let Audience {
        resources,
        other,
        style,
        verify: _,
    } = audience;
    let Err(flaw) = style.check(resources, other.as_deref(), scopes) else {
        return;
    };
    let key = match flaw {
        AudienceFlaw::NotOneResource | AudienceFlaw::NoAudience | AudienceFlaw::NoScope => {
            "resource"
        }
        AudienceFlaw::AudienceUnsent => "audience",
        AudienceFlaw::OtherScopes => "scopes",
    };
    let place = section.place_at(key);
    context.report.problem(&place, flaw.to_string());
}
