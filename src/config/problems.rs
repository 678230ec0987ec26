//! What is wrong with a configuration.
//!
//! Owns [`Problem`], one fault with its place and remedy, and [`Problems`], all faults of one file. A problem never repeats
//! a value of the file, because people paste secrets into the wrong key: it names the place, what was expected there,
//! and at most a name that the configuration or the program itself declares.

use std::fmt;
use std::path::{Path, PathBuf};

/// One fault of a configuration, or a warning about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The key that it is about, for example `tokens.billing-api.client`; empty for the file as a whole.
    pub(crate) path: String,
    /// The line, counted from 1, where there is one.
    pub(crate) line: Option<u32>,
    /// What is wrong, and what was expected.
    pub(crate) message: String,
    /// A name that was probably meant.
    pub(crate) suggestion: Option<String>,
}

impl Problem {
    /// A fault of the thing `path` that no line of the file shows.
    pub(crate) fn at(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            line: None,
            message: message.into(),
            suggestion: None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; did you mean \"{suggestion}\"?"),
            None => Ok(()),
        }
    }
}

/// All faults of one configuration, in the order of the file. Never empty.
///
/// Prints one line per fault, for example
/// `claviger.toml:12: tokens.billing-api.grnat: unknown key; did you mean "grant"?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    origin: PathBuf,
    list: Vec<Problem>,
}

impl Problems {
    /// The faults `list`, at least one, of the file `origin`.
    pub(crate) fn new(origin: &Path, list: Vec<Problem>) -> Self {
        Self {
            origin: origin.to_owned(),
            list,
        }
    }

    /// One fault of the file as a whole.
    pub(super) fn of_file(origin: &Path, message: String) -> Self {
        Self::new(origin, vec![Problem::at("", message)])
    }

    /// An error with the faults in `list`, unless there is none.
    pub(crate) fn check(origin: &Path, list: Vec<Problem>) -> Result<(), Self> {
        if list.is_empty() {
            return Ok(());
        }
        Err(Self::new(origin, list))
    }

    /// The file.
    #[must_use]
    pub(crate) fn origin(&self) -> &Path {
        &self.origin
    }

    /// One line for each, with the file and the line in it.
    #[must_use]
    pub(crate) fn lines(&self) -> Vec<String> {
        self.list.iter().map(|problem| self.line(problem)).collect()
    }

    fn line(&self, problem: &Problem) -> String {
        let origin = self.origin.display();
        match problem.line {
            Some(line) => format!("{origin}:{line}: {problem}"),
            None => format!("{origin}: {problem}"),
        }
    }

    /// The faults.
    #[must_use]
    pub(crate) fn list(&self) -> &[Problem] {
        &self.list
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl std::error::Error for Problems {}
