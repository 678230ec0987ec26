//! How a command fails.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::cli::output;
use claviger_runtime::reason::{Exit, Reason};
use claviger_runtime::telemetry::Causes;

/// A failed command: what happened, and what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(super) exit: Exit,
    what: String,
    remedy: Option<String>,
    /// The reason that the daemon's answer names.
    reason: Option<String>,
    /// After how many seconds a retry may succeed.
    retry_in: Option<u64>,
    /// Whether the command's result is already on standard output, where nothing may follow it.
    has_result: bool,
}

impl Failure {
    /// A failure with its remedy, which may be empty.
    pub(crate) fn new(exit: Exit, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = remedy.into();
        Self {
            exit,
            what: what.into(),
            remedy: (!remedy.is_empty()).then_some(remedy),
            reason: None,
            retry_in: None,
            has_result: false,
        }
    }

    /// Only an exit code; the printed result has the details.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self::new(exit, "", "").after_result()
    }

    /// A failure whose details are in the result on standard output.
    #[must_use]
    pub(crate) fn after_result(self) -> Self {
        Self {
            has_result: true,
            ..self
        }
    }

    /// A failure with its causes, whose texts name the remedy.
    pub(crate) fn caused(exit: Exit, error: &(dyn Error + 'static)) -> Self {
        Self::new(exit, Causes(error).to_string(), "")
    }

    /// Prints it to standard error.
    pub(crate) fn print(&self) {
        // If standard error is closed, the exit code remains.
        if !self.what.is_empty() {
            drop(writeln!(io::stderr(), "{self}"));
        }
    }

    /// Prints it to standard error, and gives the exit code. With `--output json` it goes to `out` as well.
    pub(crate) fn report(&self, as_json: bool, out: &mut dyn Write) -> ExitCode {
        self.print();
        if as_json && !self.has_result {
            drop(output::json(out, &self.describe()).and_then(|()| out.flush()));
        }
        self.exit.code().into()
    }

    fn describe(&self) -> serde_json::Value {
        json!({ "error": {
            "reason": self.reason,
            "exit": self.exit.code(),
            "message": self.what,
            "remedy": self.remedy,
            "retry_in": self.retry_in,
        }})
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
            // The reader closed the pipe, as `head` does: not a failure.
            return Self::silent(Exit::Done);
        }
        Self::new(
            Exit::System,
            format!("cannot write the output: {}", error.kind()),
            "",
        )
        .after_result()
    }
}

/// The daemon refused or failed, or the connection to it was lost.
impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        if let Some(mut cause) = status.source() {
            // Only the innermost is specific: "http2 error: keep-alive timed out".
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            let what = format!("the connection to the daemon was lost: {cause}");
            let remedy = "Try again; if it fails again, check the daemon's log and which process listens on its socket.";
            return Self::new(Exit::Unavailable, what, remedy);
        }
        let code = status.code();
        let Some(mut info) = status.get_details_error_info() else {
            // tonic's own answers have no reason.
            let (code_name, message) = (screaming(code), status.message());
            let what = format!("the daemon answered {code_name}: {message}");
            return Self::new(exit_for(code), what, "");
        };
        let reason = Reason::find(&info.reason, code.into());
        // A daemon of another version may have reasons that this command does not know.
        let waiting_helps = reason.is_none_or(Reason::waiting_helps);
        let retry_in = status
            .get_details_retry_info()
            .and_then(|retry| retry.retry_delay)
            .filter(|_| waiting_helps)
            .map(|delay| delay.as_secs().max(1));
        let what = match retry_in {
            Some(seconds) => format!(
                "the daemon answered {} (try again in {seconds} s)",
                info.reason
            ),
            None => format!("the daemon answered {}", info.reason),
        };
        let remedy = info.metadata.remove("remedy").unwrap_or_default();
        Self {
            reason: Some(info.reason),
            retry_in,
            ..Self::new(reason.map_or(exit_for(code), Reason::exit), what, remedy)
        }
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
    fn the_documentation_lists_every_exit_code() {
        let page = include_str!("../../docs/errors.md");
        for exit in Exit::ALL {
            let row = format!("\n| {} | {} |\n", exit.code(), exit.meaning());
            assert!(page.contains(&row), "{row}");
        }
    }

    #[test]
    fn the_documentation_lists_every_reason() {
        let page = include_str!("../../docs/errors.md");
        for reason in Reason::ALL {
            let (word, http, exit) = (reason.word(), reason.http(), reason.exit().code());
            let code = screaming(Code::from_i32(reason.code().number()));
            let waiting = if reason.waiting_helps() { "yes" } else { "no" };
            let row = format!("\n| `{word}` | `{code}` | {http} | {exit} | {waiting} | ");
            let rest = page.split_once(&row).map(|(_, rest)| rest);
            let line = rest.and_then(|rest| rest.lines().next());
            let remedy = format!(" | {} |", reason.remedy());
            assert!(
                line.is_some_and(|line| line.ends_with(&remedy)),
                "{row}{remedy}"
            );
        }
        let rows = page.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows, Reason::ALL.len());
    }

    #[test]
    fn a_mistake_has_another_exit_code_than_an_outage() {
        let answered = |reason: Reason| {
            let mut details =
                ErrorDetails::with_error_info(reason.word(), "claviger", HashMap::new());
            details.set_retry_info(Some(Duration::from_secs(59)));
            let code = Code::from_i32(reason.code().number());
            Failure::from(Status::with_error_details(code, "no", details))
        };
        for reason in [
            Reason::ClientRefused,
            Reason::InvalidScope,
            Reason::InvalidTarget,
            Reason::Untrusted,
            Reason::CertificateExpired,
            Reason::IssuerMismatch,
        ] {
            let mistake = answered(reason);
            assert_eq!(mistake.exit, Exit::Config, "{reason:?}");
            assert!(!mistake.to_string().contains("try again"), "{mistake}");
            assert_eq!(
                mistake.describe()["error"]["retry_in"],
                serde_json::Value::Null
            );
        }
        let mistake = answered(Reason::InvalidClient);
        assert_eq!(mistake.describe()["error"]["reason"], "INVALID_CLIENT");
        let outage = answered(Reason::Unreachable);
        assert_eq!(outage.exit, Exit::Unavailable);
        assert_eq!(outage.describe()["error"]["retry_in"], 59);
    }

    #[test]
    fn a_refusal_has_its_remedy() {
        let metadata = HashMap::from([("remedy".to_owned(), "ask an operator".to_owned())]);
        let mut details = ErrorDetails::with_error_info("RATE_LIMITED", "claviger", metadata);
        details.set_retry_info(Some(Duration::from_millis(1500)));
        let status = Status::with_error_details(Code::ResourceExhausted, "no", details);
        let failure = Failure::from(status);
        assert_eq!(failure.exit, Exit::Unavailable);
        assert_eq!(
            failure.to_string(),
            "claviger: the daemon answered RATE_LIMITED (try again in 1 s)\n  → ask an operator"
        );
    }

    #[test]
    fn a_text_of_a_library_is_not_a_remedy() {
        let failure = Failure::from(Status::out_of_range("message too large"));
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(
            failure.to_string(),
            "claviger: the daemon answered OUT_OF_RANGE: message too large"
        );
        let broken = io::Error::from(io::ErrorKind::ConnectionReset);
        let failure = Failure::from(Status::from_error(Box::new(broken)));
        assert_eq!(failure.exit, Exit::Unavailable);
        let said = failure.to_string();
        assert!(
            said.starts_with("claviger: the connection to the daemon was lost"),
            "{said}"
        );
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.exit.code(), 0);
        let failure = Failure::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(failure.exit, Exit::System);
    }
}
