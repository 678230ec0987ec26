//! What operators should know although the daemon serves.
//!
//! Owns [`Warning`], one per thing that an operator can change, and its text, which contains the remedy. A warning becomes text
//! where an answer or a log needs it. Never holds a value.

use std::fmt;
use std::sync::Arc;

use crate::config::Problem;
use claviger_core::peer;
use claviger_runtime::telemetry::Causes;

/// Prints one line, with the remedy.
#[derive(Debug)]
pub(super) enum Warning {
    /// An issuer's metadata differs from what is in use.
    Metadata {
        issuer: Arc<str>,
        fields: Vec<&'static str>,
    },
    /// Something in the configuration works but is probably not meant.
    Configuration(Problem),
    /// The kernel lacks something by which peers are identified.
    Kernel(&'static str),
    /// What the kernel offers is unknown.
    Unprobed(peer::Error),
    /// The limit on descriptors is too low for the configured limits.
    Descriptors(String),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metadata { issuer, fields } => write!(
                f,
                "issuers.{issuer}: its metadata changed ({}), and the former metadata stays in use; review it, then accept it with `claviger refresh --issuer {issuer}`",
                fields.join(", ")
            ),
            Self::Configuration(problem) => problem.fmt(f),
            Self::Kernel(text) => f.write_str(text),
            Self::Unprobed(error) => Causes(error).fmt(f),
            Self::Descriptors(text) => f.write_str(text),
        }
    }
}
