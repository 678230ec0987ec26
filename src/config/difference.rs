//! What differs between two configurations.
//!
//! Owns the comparison that a reload reports: which named things were added, removed or changed, and which changes cannot
//! take effect while the daemon runs. Compares settings, not texts: a comment or another order is no difference.

use crate::config::Config;

impl Config {
    /// What `next` changes, one line per named thing.
    #[must_use]
    pub fn differences(&self, next: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        let backend = |(name, _): &(_, _)| format!("backends.{name}");
        compare(&mut lines, &self.backends, &next.backends, backend);
        compare(&mut lines, &self.issuers, &next.issuers, |issuer| {
            format!("issuers.{}", issuer.name)
        });
        compare(&mut lines, &self.clients, &next.clients, |client| {
            format!("clients.{}", client.name)
        });
        compare(&mut lines, &self.tokens, &next.tokens, |token| {
            format!("tokens.{}", token.name)
        });
        compare(&mut lines, &self.secrets, &next.secrets, |secret| {
            format!("secrets.{}", secret.name)
        });
        if self.rules != next.rules {
            let (before, after) = (self.rules.len(), next.rules.len());
            lines.push(format!(
                "allow: changed ({before} rules before, {after} now)"
            ));
        }
        if self.refresh != next.refresh {
            lines.push("refresh: changed".to_owned());
        }
        lines
    }

    /// What `next` changes that needs a restart.
    #[must_use]
    pub fn fixed_differences(&self, next: &Self) -> Vec<String> {
        let fixed = [
            ("mode", self.mode == next.mode),
            (
                "server",
                self.server == next.server && self.drain_grace == next.drain_grace,
            ),
            ("log", self.log == next.log),
            ("peer", self.peer == next.peer),
        ];
        fixed
            .into_iter()
            .filter(|(_, same)| !same)
            .map(|(section, _)| {
                format!(
                    "{section}: cannot change while the daemon runs; restart it, or undo the change"
                )
            })
            .collect()
    }
}

/// Adds a line for each thing that is in one list only, or differs.
fn compare<T: PartialEq>(
    lines: &mut Vec<String>,
    before: &[T],
    after: &[T],
    name: impl Fn(&T) -> String,
) {
    for thing in after {
        let own = name(thing);
        match before.iter().find(|old| name(old) == own) {
            None => lines.push(format!("{own}: added")),
            Some(old) if old != thing => lines.push(format!("{own}: changed")),
            Some(_) => {}
        }
    }
    for thing in before {
        let own = name(thing);
        if !after.iter().any(|new| name(new) == own) {
            lines.push(format!("{own}: removed"));
        }
    }
}
