//! What differs between two configurations.
//!
//! Owns the comparison that a reload reports: which named things were added, removed or changed, and which changes cannot
//! take effect while the daemon runs. Compares settings, not texts: comments and order do not matter. A client
//! does not differ because its issuer does, nor a token because its client does: each difference is reported once.

use std::sync::Arc;

use crate::config::{Config, Problem, Problems};
use claviger_oauth::{ClientSettings, TokenSettings};
use claviger_server::{Difference, DifferenceKind};

impl Config {
    /// What `next` changes, one entry per named thing.
    #[must_use]
    pub fn differences(&self, next: &Self) -> Vec<Difference> {
        let backends = named(
            &self.backends,
            &next.backends,
            PartialEq::eq,
            |(name, _)| format!("backends.{name}"),
        );
        let issuers = named(&self.issuers, &next.issuers, PartialEq::eq, |issuer| {
            format!("issuers.{}", issuer.name)
        });
        let clients = named(&self.clients, &next.clients, same_client, |client| {
            format!("clients.{}", client.name)
        });
        let tokens = named(&self.tokens, &next.tokens, same_token, |token| {
            format!("tokens.{}", token.name)
        });
        let secrets = named(&self.secrets, &next.secrets, PartialEq::eq, |secret| {
            format!("secrets.{}", secret.name)
        });
        let rules = (self.rules != next.rules).then(|| Difference {
            subject: "allow".to_owned(),
            kind: DifferenceKind::Rules {
                before: self.rules.len(),
                after: next.rules.len(),
            },
        });
        let refresh = (self.refresh != next.refresh).then(|| Difference {
            subject: "refresh".to_owned(),
            kind: DifferenceKind::Changed,
        });
        [backends, issuers, clients, tokens, secrets]
            .into_iter()
            .flatten()
            .chain(rules)
            .chain(refresh)
            .collect()
    }

    /// Checks that `next` can replace this configuration while the daemon runs.
    ///
    /// # Errors
    /// One problem for each section that only a restart can change.
    pub fn check_replaceable_by(&self, next: &Self) -> Result<(), Problems> {
        let same_server = self.server == next.server
            && self.budget == next.budget
            && self.drain_grace == next.drain_grace;
        let fixed = [
            ("mode", self.mode == next.mode),
            ("server", same_server),
            ("log", self.log == next.log),
            ("peer", self.peer == next.peer),
        ];
        let changed = fixed
            .into_iter()
            .filter(|(_, same)| !same)
            .map(|(section, _)| {
                Problem::at(
                    section,
                    "cannot change while the daemon runs; restart it, or undo the change",
                )
            });
        Problems::check(&next.origin, changed.collect())
    }
}

/// Whether two clients differ in nothing but the settings of an issuer that has the same name.
fn same_client(one: &Arc<ClientSettings>, other: &Arc<ClientSettings>) -> bool {
    let issuer = Arc::clone(&other.issuer);
    let relinked = ClientSettings {
        issuer,
        ..ClientSettings::clone(one)
    };
    one.issuer.name == other.issuer.name && relinked == **other
}

/// Whether two tokens differ in nothing but the settings of a client that has the same name.
fn same_token(one: &TokenSettings, other: &TokenSettings) -> bool {
    let client = Arc::clone(&other.client);
    let relinked = TokenSettings {
        client,
        ..one.clone()
    };
    one.client.name == other.client.name && relinked == *other
}

/// One difference for each named thing that is in one list only, or differs.
fn named<T>(
    before: &[T],
    after: &[T],
    same: impl Fn(&T, &T) -> bool,
    name: impl Fn(&T) -> String,
) -> Vec<Difference> {
    let mut differences = Vec::new();
    for thing in after {
        let subject = name(thing);
        let kind = match before.iter().find(|old| name(old) == subject) {
            None => DifferenceKind::Added,
            Some(old) if !same(old, thing) => DifferenceKind::Changed,
            Some(_) => continue,
        };
        differences.push(Difference { subject, kind });
    }
    for thing in before {
        let subject = name(thing);
        if !after.iter().any(|new| name(new) == subject) {
            let kind = DifferenceKind::Removed;
            differences.push(Difference { subject, kind });
        }
    }
    differences
}
