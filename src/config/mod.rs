//! TOML to a checked [`Config`].
//!
//! Owns the file's format: which keys exist, which values they take, and the message for each fault.
//! A configuration holds no secret, only where to find it, and nothing of it comes from the environment. All problems are
//! reported at once and none repeats a value of the file. Reading is all or nothing: a `Config` exists only if there is no
//! problem, and then every name in it that refers to something does.
//!
//! One file per section; `reader` gives them typed access to their table, `checks` compares sections, and `file` checks owner
//! and mode. [`Config::parse`] does no I/O but the lookup of user names. The reference of every key
//! is docs/configuration.md. Next: `daemon` builds the components from their settings.

mod accounts;
mod audience;
mod backends;
mod checks;
mod clients;
mod difference;
mod dns;
mod duration;
mod file;
mod issuers;
mod names;
mod problems;
mod reader;
mod report;
mod rules;
mod secrets;
mod server;
mod settings;
mod syntax;
#[cfg(test)]
mod tests;
mod tokens;
mod values;

pub(crate) use accounts::SystemAccounts;
pub use accounts::{Accounts, AccountsUnavailable};
pub(crate) use problems::Problem;
pub use problems::Problems;
pub(crate) use report::nearest;
pub(crate) use secrets::{NamedSecret, Refresh};
pub use settings::{Config, HeldReference};
pub(crate) use settings::{Mode, PeerConfig};
pub(crate) use values::is_placeholder;

use crate::config::names::Declared;
use crate::config::report::Report;

/// What the readers of all sections share.
#[derive(Debug)]
struct Context<'a> {
    report: &'a Report,
    accounts: &'a dyn Accounts,
    mode: Mode,
    backends: Declared<'a>,
    issuers: Declared<'a>,
    clients: Declared<'a>,
    tokens: Declared<'a>,
    secrets: Declared<'a>,
}
