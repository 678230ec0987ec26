//! What operators learn of a reload, and of reading an issuer's metadata again.
//!
//! Owns the typed results of [`Operator`](crate::Operator) and the one line of text that each of them has. The daemon
//! fills them in; the admin service prints them. Never says a value of the configuration: names, places and reasons only.

use std::fmt;
use std::path::PathBuf;

use claviger_core::tokens::source;
use claviger_runtime::reason::{Detail, Reason, Reasoned};

/// What a reload has changed, or would change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// One entry per named thing of the configuration.
    pub changes: Vec<Difference>,
}

/// How one named thing differs between two configurations. Prints one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The thing, for example `tokens.billing-api`.
    pub subject: String,
    /// How it differs.
    pub kind: DifferenceKind,
}

/// How a thing differs between two configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DifferenceKind {
    /// Only the next configuration has it.
    Added,
    /// Only the former configuration has it.
    Removed,
    /// Both have it, with other settings.
    Changed,
    /// The rules are not the same.
    Rules {
        /// How many there were.
        before: usize,
        /// How many there are now.
        after: usize,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = &self.subject;
        match self.kind {
            DifferenceKind::Added => write!(f, "{subject}: added"),
            DifferenceKind::Removed => write!(f, "{subject}: removed"),
            DifferenceKind::Changed => write!(f, "{subject}: changed"),
            DifferenceKind::Rules { before, after } => {
                write!(f, "{subject}: changed ({before} rules before, {after} now)")
            }
        }
    }
}

/// Why a reload was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadRefused {
    /// The configuration cannot be used. Never empty.
    Faulty(Vec<Fault>),
    /// The daemon is stopping.
    Stopping,
}

impl ReloadRefused {
    /// One line for each reason.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Faulty(faults) => faults.iter().map(ToString::to_string).collect(),
            Self::Stopping => vec!["the daemon is stopping".to_owned()],
        }
    }
}

/// One fault of a configuration. Prints one line, with the file and the line in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The configuration file.
    pub file: PathBuf,
    /// The line in it, counted from 1, if the fault has one.
    pub line: Option<u32>,
    /// The key, what is wrong with it, and what would be right.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.message)
    }
}

/// Why an issuer's metadata was not read.
#[derive(Clone, Debug)]
pub enum IssuerNotRefreshed {
    /// The configuration has no issuer of this name.
    Unknown,
    /// The configuration gives the token endpoint, so there is no metadata to read.
    Configured,
    /// The request failed.
    Failed(source::Error),
    /// The daemon is stopping.
    Stopping,
}

impl Reasoned for IssuerNotRefreshed {
    fn reason(&self) -> Reason {
        match self {
            Self::Unknown => Reason::Unknown,
            Self::Configured => Reason::Configured,
            Self::Failed(error) => error.reason(),
            Self::Stopping => Reason::Stopping,
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Unknown => "The configuration has no issuer of that name.",
            Self::Failed(_) | Self::Configured | Self::Stopping => self.reason().remedy(),
        }
    }

    fn detail(&self) -> Detail {
        match self {
            Self::Failed(error) => Reasoned::detail(error),
            Self::Unknown | Self::Configured | Self::Stopping => Detail::default(),
        }
    }
}
