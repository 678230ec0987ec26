//! How a command fails.

use std::error::Error;
use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use claviger_demo as demo;
use claviger_runtime::telemetry::Causes;

/// What shells report of a command that SIGINT has ended.
const INTERRUPTED: u8 = 130;

/// The exit codes, after BSD's `sysexits.h`. They are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The command line or a request is wrong.
    Usage,
    /// Something that was named is not there.
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

/// What each code means, for help and manual.
pub(super) const MEANINGS: [(u8, &str); 9] = [
    (0, "done"),
    (64, "the command line, or what it asks for, is wrong"),
    (66, "something that was named is not there"),
    (
        69,
        "the daemon, a backend or an issuer is not available; waiting may help",
    ),
    (70, "a defect, or a damaged store"),
    (71, "the operating system refused"),
    (73, "something is there already, or somebody else was first"),
    (77, "denied by policy or by permissions"),
    (78, "the configuration or the key is not valid"),
];

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
        if self.what.is_empty() {
            return self.exit.into();
        }
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

/// Printing failed.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            // Whoever reads has seen enough, as `head` has: nothing went wrong, and there is nothing to tell.
            return Self::new(Exit::Other(0), "", "");
        }
        Self::new(
            Exit::System,
            format!("cannot write the output: {}", error.kind()),
            "",
        )
    }
}

impl From<demo::Error> for Failure {
    fn from(error: demo::Error) -> Self {
        let exit = match error {
            demo::Error::Output(error) => return error.into(),
            demo::Error::NoExecutable
            | demo::Error::System(..)
            | demo::Error::Folder { .. }
            | demo::Error::Unfit(_) => Exit::System,
            demo::Error::Interrupted => Exit::Other(INTERRUPTED),
            demo::Error::NotReady(_)
            | demo::Error::Refused(_)
            | demo::Error::Unexpected(_)
            | demo::Error::Leaked(_) => Exit::Internal,
        };
        Self::new(exit, error.to_string(), error.remedy())
    }
}

/// The daemon refused or failed, or the conversation with it did.
impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        if let Some(mut cause) = status.source() {
            // Only the innermost says what happened: "http2 error: keep-alive timed out".
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            let what = format!("the conversation broke off: {cause}");
            let remedy = "Ask again; if it goes on, look at the daemon's log, and at what listens on its socket.";
            return Self::new(Exit::Unavailable, what, remedy);
        }
        let exit = exit_for(status.code());
        let Some(mut info) = status.get_details_error_info() else {
            // The library's own answers, before ours see the request.
            let (code, message) = (screaming(status.code()), status.message());
            return Self::new(exit, format!("the daemon answered {code}: {message}"), "");
        };
        let retry = status
            .get_details_retry_info()
            .and_then(|retry| retry.retry_delay);
        let what = match retry {
            Some(delay) => format!(
                "{} (try again in {} s)",
                info.reason,
                delay.as_secs().max(1)
            ),
            None => info.reason,
        };
        let remedy = info.metadata.remove("remedy").unwrap_or_default();
        Self::new(exit, format!("the daemon answered {what}"), remedy)
    }
}

fn exit_for(code: Code) -> Exit {
    match code {
        Code::InvalidArgument | Code::NotFound | Code::Unimplemented | Code::OutOfRange => {
            Exit::Usage
        }
        Code::PermissionDenied | Code::Unauthenticated => Exit::Denied,
        Code::Unavailable
        | Code::ResourceExhausted
        | Code::DeadlineExceeded
        | Code::FailedPrecondition
        | Code::Cancelled
        | Code::Aborted => Exit::Unavailable,
        Code::Ok | Code::Unknown | Code::AlreadyExists | Code::Internal | Code::DataLoss => {
            Exit::Internal
        }
    }
}

/// A code as its specification writes it: `OUT_OF_RANGE`.
fn screaming(code: Code) -> String {
    let mut text = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use tonic_types::ErrorDetails;

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
            assert!(MEANINGS.iter().any(|(known, _)| *known == code), "{code}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let metadata = HashMap::from([("remedy".to_owned(), "ask an operator".to_owned())]);
        let mut details = ErrorDetails::with_error_info("DENIED", "claviger", metadata);
        details.set_retry_info(Some(Duration::from_millis(1500)));
        let status = Status::with_error_details(Code::PermissionDenied, "no", details);
        let failure = Failure::from(status);
        assert_eq!(failure.exit(), Exit::Denied);
        assert_eq!(
            failure.to_string(),
            "claviger: the daemon answered DENIED (try again in 1 s)\n  → ask an operator"
        );
    }

    #[test]
    fn what_is_not_the_daemons_own_word_is_not_passed_off_as_a_remedy() {
        let failure = Failure::from(Status::out_of_range("message too large"));
        assert_eq!(failure.exit(), Exit::Usage);
        assert_eq!(
            failure.to_string(),
            "claviger: the daemon answered OUT_OF_RANGE: message too large"
        );
        let broken = io::Error::from(io::ErrorKind::ConnectionReset);
        let failure = Failure::from(Status::from_error(Box::new(broken)));
        assert_eq!(failure.exit(), Exit::Unavailable);
        let said = failure.to_string();
        assert!(
            said.starts_with("claviger: the conversation broke off"),
            "{said}"
        );
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.exit().code(), 0);
        let failure = Failure::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(failure.exit(), Exit::System);
    }
}
