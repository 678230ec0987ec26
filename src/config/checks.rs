//! Checks that need the whole file.
//!
//! Owns the checks across sections: deployments that share an identity, and definitions that nothing uses.

use std::collections::BTreeMap;

use claviger_backend::{FieldName, SecretRef};

use crate::config::Context;
use crate::config::report::Place;
use claviger_oauth::{ClientId, ClientSettings, TokenSettings};

/// Something that two deployments must not share. The version does not matter: versions of one secret replace each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identity<'a> {
    /// A client identifier that the file contains.
    Literal(&'a str),
    /// A client identifier in a backend.
    Id(&'a str, &'a str, Option<&'a str>),
    /// A credential in a backend.
    Secret(&'a str, &'a str, Option<&'a str>),
}

/// Refuses a client identifier or a credential that serves tokens of two environments.
pub(super) fn environments(context: &Context<'_>, tokens: &[TokenSettings]) {
    let mut seen = BTreeMap::<Identity<'_>, &TokenSettings>::new();
    for token in tokens {
        let Some(environment) = &token.environment else {
            continue;
        };
        let mut shared = None;
        for (identity, word) in identities(&token.client) {
            let first = *seen.entry(identity).or_insert(token);
            if first.environment.as_ref() != Some(environment) {
                shared = shared.or(Some((word, first)));
            }
        }
        if let Some((word, first)) = shared {
            let message = format!(
                "the {word} of client \"{}\" also serves the token \"{}\", which is of another environment",
                token.client.name, first.name
            );
            context
                .report
                .problem(&environment_of(context, token), message);
        }
    }
}

fn identities(client: &ClientSettings) -> [(Identity<'_>, &'static str); 2] {
    let id = match &client.id {
        ClientId::Literal(id) => Identity::Literal(id),
        ClientId::Reference(reference) => {
            let (backend, name, field) = parts(reference);
            Identity::Id(backend, name, field)
        }
    };
    let (backend, name, field) = parts(client.auth.secret());
    let secret = Identity::Secret(backend, name, field);
    [(id, "identifier"), (secret, "secret")]
}

fn parts(reference: &SecretRef) -> (&str, &str, Option<&str>) {
    let field = reference.field.as_ref().map(FieldName::as_str);
    (reference.backend.as_str(), reference.name.as_str(), field)
}

fn environment_of(context: &Context<'_>, token: &TokenSettings) -> Place {
    let declared = context.tokens.place(&token.name);
    Place {
        path: format!("tokens.{}.environment", token.name),
        line: declared.and_then(|place| place.line),
    }
}

/// Warns of definitions that nothing uses.
pub(super) fn unused(context: &Context<'_>) {
    let kinds = [
        (&context.backends, "no reference names this backend"),
        (&context.issuers, "no client names this issuer"),
        (&context.clients, "no token names this client"),
        (
            &context.tokens,
            "no rule names this token, so no process can request it",
        ),
        (
            &context.secrets,
            "no rule names this secret, so no process can request it",
        ),
    ];
    for (declared, message) in kinds {
        for place in declared.unused() {
            context.report.warning(&place, message);
        }
    }
}
