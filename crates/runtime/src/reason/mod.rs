//! Why a request is refused, in one table.
//!
//! Owns every reason that a caller can be given, with its gRPC code, HTTP status, exit code, remedy and whether waiting
//! helps. Words, codes and exit codes are part of the interface: `docs/errors.md` lists them, and a test compares the two.
//! Never knows gRPC or HTTP libraries, or the errors of a room: each room maps its own errors to a reason ([`Reasoned`]),
//! and `server` puts the reason on the wire.
//!
//! Next: `table` for the rows, `server::answers` for how a caller gets them.

mod detail;
mod exit;
mod table;

use std::time::Duration;

pub use detail::{Detail, printable};
pub use exit::Exit;
pub use table::Reason;

/// A code of gRPC, with the number that the protocol gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RpcCode {
    /// The request is malformed.
    InvalidArgument = 3,
    /// The request took too long.
    DeadlineExceeded = 4,
    /// There is no such path.
    NotFound = 5,
    /// No rule allows it.
    PermissionDenied = 7,
    /// Too many requests.
    ResourceExhausted = 8,
    /// Configuration, credential or issuer must change first.
    FailedPrecondition = 9,
    /// There is no such method.
    Unimplemented = 12,
    /// Not available now.
    Unavailable = 14,
    /// The peer is no longer the process that was identified.
    Unauthenticated = 16,
}

impl RpcCode {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> i32 {
        i32::from(self as u8)
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// The word in answers.
    word: &'static str,
    /// The same word in lower case, for logs and status.
    label: &'static str,
    code: RpcCode,
    http: u16,
    exit: Exit,
    waiting_helps: bool,
    remedy: &'static str,
}

impl Reason {
    /// The word that callers see: `reason` of `google.rpc.ErrorInfo`, and `error` over HTTP. Stable.
    ///
    /// Together with the code it identifies the reason; four words occur with two codes.
    #[must_use]
    pub fn word(self) -> &'static str {
        self.row().word
    }

    /// The word in lower case, for logs and status.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.row().label
    }

    /// The code over gRPC.
    #[must_use]
    pub fn code(self) -> RpcCode {
        self.row().code
    }

    /// The status over HTTP.
    #[must_use]
    pub fn http(self) -> u16 {
        self.row().http
    }

    /// The exit code of a command that fails for this reason.
    #[must_use]
    pub fn exit(self) -> Exit {
        self.row().exit
    }

    /// Whether the same request may succeed later without any change by an operator or the caller.
    #[must_use]
    pub fn waiting_helps(self) -> bool {
        self.row().waiting_helps
    }

    /// The remedy, if the error has no more specific one. Safe to follow without further knowledge.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        self.row().remedy
    }

    /// The reason of a failure at a backend or an issuer that a result names without its code, in either case.
    #[must_use]
    pub fn of_result(word: &str) -> Option<Self> {
        // Of two with one word the later one is about a backend or an issuer.
        Self::ALL
            .iter()
            .copied()
            .rfind(|reason| reason.label().eq_ignore_ascii_case(word))
    }

    /// The reason that an answer names.
    #[must_use]
    pub fn find(word: &str, code: i32) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.word() == word && reason.code().number() == code)
    }
}

/// An error that has a reason for callers.
pub trait Reasoned {
    /// The reason.
    fn reason(&self) -> Reason;

    /// The remedy, in one or two sentences.
    fn remedy(&self) -> &'static str {
        self.reason().remedy()
    }

    /// The time until a retry makes sense, if known. Sent to callers only where waiting helps.
    fn retry_in(&self) -> Option<Duration> {
        None
    }

    /// What this failure says beyond its reason.
    fn detail(&self) -> Detail {
        Detail::default()
    }
}

/// The remedy and the detail of an error, for operators.
pub fn advice(error: &impl Reasoned) -> String {
    let (remedy, detail) = (error.remedy(), error.detail());
    if detail.is_empty() {
        remedy.to_owned()
    } else {
        format!("{remedy} ({detail})")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_word_and_its_code_identify_a_reason() {
        let all: BTreeSet<_> = Reason::ALL
            .iter()
            .map(|reason| (reason.word(), reason.code().number()))
            .collect();
        assert_eq!(all.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            let found = Reason::find(reason.word(), reason.code().number());
            assert_eq!(found, Some(*reason));
            assert_eq!(reason.word(), reason.label().to_ascii_uppercase());
        }
        assert_eq!(Reason::find("DENIED", 14), None);
        for (word, reason) in [
            ("not_found", Reason::SecretNotFound),
            ("TIMEOUT", Reason::Timeout),
            ("invalid_request", Reason::IssuerInvalidRequest),
            ("RATE_LIMITED", Reason::BackendRateLimited),
        ] {
            assert_eq!(Reason::of_result(word), Some(reason), "{word}");
        }
    }

    #[test]
    fn exit_codes_tell_an_outage_from_a_mistake() {
        for reason in Reason::ALL {
            assert_eq!(
                reason.waiting_helps(),
                reason.exit() == Exit::Unavailable,
                "{reason:?}"
            );
            assert!(reason.remedy().ends_with('.'), "{reason:?}");
        }
    }
}
