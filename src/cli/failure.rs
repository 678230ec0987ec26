//! How a command fails.

use std::error::Error;
use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::telemetry::Causes;

/// The exit codes, after BSD's `sysexits.h`. They are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The command line or a request is wrong.
    Usage,
    /// A file that was named is missing.
    NoInput,
    /// The daemon, an issuer or a backend is not available; waiting may help.
    Unavailable,
    /// A defect.
    Internal,
    /// The operating system refused something.
    System,
    /// Policy or file permissions deny it.
    Denied,
    /// The configuration is not valid.
    Config,
    /// Another of the codes, from a subcommand with codes of its own.
    Other(u8),
}

impl Exit {
    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Usage => 64,
            Self::NoInput => 66,
            Self::Unavailable => 69,
            Self::Internal => 70,
            Self::System => 71,
            Self::Denied => 77,
            Self::Config => 78,
            Self::Other(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A failed command: what happened, and what to do.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    what: String,
    remedy: Option<String>,
}

impl Failure {
    /// A failure with its remedy; an empty remedy is none.
    pub fn new(exit: Exit, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = remedy.into();
        Self {
            exit,
            what: what.into(),
            remedy: (!remedy.is_empty()).then_some(remedy),
        }
    }

    /// A failure with its causes, whose texts name the remedy.
    pub fn caused(exit: Exit, error: &(dyn Error + 'static)) -> Self {
        Self::new(exit, Causes(error).to_string(), "")
    }

    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Prints it to standard error, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        // If standard error is closed there is nobody left to tell; the exit code still does.
        drop(writeln!(io::stderr(), "{self}"));
        self.exit.into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "claviger: {}", self.what)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n  → {remedy}"),
            None => Ok(()),
        }
    }
}

/// Printing failed: mostly a closed pipe.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(
            Exit::System,
            format!("cannot write the output: {}", error.kind()),
            "",
        )
    }
}

/// The daemon refused or failed.
impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let info = status.get_details_error_info();
        let retry = status
            .get_details_retry_info()
            .and_then(|retry| retry.retry_delay);
        let reason = info.as_ref().map_or_else(
            || format!("{:?}", status.code()).to_ascii_uppercase(),
            |info| info.reason.clone(),
        );
        let remedy = info
            .and_then(|mut info| info.metadata.remove("remedy"))
            .unwrap_or_else(|| status.message().to_owned());
        let exit = match status.code() {
            Code::InvalidArgument | Code::NotFound | Code::Unimplemented => Exit::Usage,
            Code::PermissionDenied | Code::Unauthenticated => Exit::Denied,
            Code::Unavailable
            | Code::ResourceExhausted
            | Code::DeadlineExceeded
            | Code::FailedPrecondition
            | Code::Cancelled
            | Code::Aborted => Exit::Unavailable,
            Code::Ok
            | Code::Unknown
            | Code::AlreadyExists
            | Code::OutOfRange
            | Code::Internal
            | Code::DataLoss => Exit::Internal,
        };
        let what = match retry {
            Some(delay) => format!("{reason} (try again in {} s)", delay.as_secs().max(1)),
            None => reason,
        };
        Self::new(exit, format!("the daemon answered {what}"), remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_as_documented() {
        let codes = [
            (Exit::Usage, 64),
            (Exit::NoInput, 66),
            (Exit::Unavailable, 69),
            (Exit::Internal, 70),
            (Exit::System, 71),
            (Exit::Denied, 77),
            (Exit::Config, 78),
        ];
        for (exit, code) in codes {
            assert_eq!(exit.code(), code);
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let failure = Failure::from(Status::permission_denied("ask an operator"));
        assert_eq!(failure.exit(), Exit::Denied);
        assert!(
            failure.to_string().ends_with("→ ask an operator"),
            "{failure}"
        );
    }
}
