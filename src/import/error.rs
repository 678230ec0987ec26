//! Why a credential was not imported, or only in part.
//!
//! Owns the one error of the room with its remedies, and the promise that goes with it: the file is unchanged unless the error
//! is [`Error::Unfinished`], and readers of the backend see the former value unless it is that or
//! [`PlaceError::Unconfirmed`]. `Display` omits the source.

use std::path::PathBuf;

use claviger_backend::BackendError;

use crate::import::dotenv::Fault;
use crate::import::source::SourceFault;
use claviger_core::rotation::PlaceError;
use claviger_core::secrets::object::ObjectFault;
use claviger_oauth::{ErrorKind, SetupError};
use claviger_runtime::reason::Reasoned as _;

/// Why a credential was not imported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{}", path.display())]
    Source { path: PathBuf, source: SourceFault },
    #[error("{}", path.display())]
    Line { path: PathBuf, source: Fault },
    #[error("the client of the credential is ambiguous or unknown; clients: {}", list(.0))]
    Client(Vec<String>),
    #[error("no token proves the credential; tokens of client \"{client}\": {}", list(.tokens))]
    Token { client: String, tokens: Vec<String> },
    #[error("the file does not set {0}")]
    NotSet(String),
    #[error("more than one variable has a name like a client secret: {}", list(.0))]
    WhichSecret(Vec<String>),
    #[error("line {0}: the value is empty")]
    Empty(usize),
    #[error(
        "line {line}: the value is not the identifier of client \"{client}\" in the configuration"
    )]
    OtherClient { line: usize, client: String },
    #[error("{0} refers to one version, which cannot change")]
    Pinned(String),
    #[error("the file does not set the client's identifier, and {0} is not in the backend")]
    NoIdentifier(String),
    #[error("cannot set {address}")]
    Unfit {
        address: String,
        source: ObjectFault,
    },
    #[error("cannot read {address}")]
    Backend {
        address: String,
        source: BackendError,
    },
    #[error("both references of the client name the same value of {0}")]
    Clash(String),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("cannot set up the connection to the issuer")]
    Issuer(#[source] SetupError),
    #[error("the credential is not proved: {0}; the backend and the file are unchanged")]
    Refused(claviger_oauth::Error),
    #[error("the credential is imported, but {} is not removed", path.display())]
    Unfinished { path: PathBuf, source: SourceFault },
    #[error("internal error: something that the configuration promised is missing")]
    Internal,
}

impl Error {
    /// What to do about it.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::Source {
                source: SourceFault::Changed,
                ..
            } => "Run the same command again.",
            Self::Source { .. } => {
                "Run it as the user who owns the store, with the path of a file that this user can read and remove."
            }
            Self::Line { .. } => "Fix the line, or remove it.",
            Self::Client(_) => "Name a client of the configuration with --client NAME.",
            Self::Token { .. } => "Name one of the client's tokens with --token NAME.",
            Self::NotSet(_) | Self::WhichSecret(_) | Self::NoIdentifier(_) => {
                "Name both variables with --prefix: `--prefix APP_` means APP_ID and APP_SECRET."
            }
            Self::Empty(_) => "Compare it with what the issuer shows.",
            Self::OtherClient { .. } => {
                "Name another client with --client, or other variables with --prefix."
            }
            Self::Pinned(_) => "Leave `@version` out of the reference in the configuration.",
            Self::Clash(_) => "Give each a field or a secret of its own in the configuration.",
            Self::Unfit { .. } => {
                "Check the secret's value, or refer to another one in the configuration."
            }
            Self::Place(PlaceError::Incapable(_)) => {
                "Put the credential in with the backend's own tools (`claviger file put`), check it with `claviger check`, and remove the file."
            }
            Self::Place(PlaceError::Unconfirmed(_)) => {
                "The file is unchanged. Find out what else writes to the backend, then run the same command again."
            }
            Self::Backend { .. } | Self::Place(_) => {
                "The file is unchanged. When the backend works again, run the same command again."
            }
            Self::Issuer(_) => "Check the configuration with `claviger check`.",
            Self::Refused(source) if source.kind == ErrorKind::InvalidClient => {
                "The issuer does not accept this identifier with this secret: compare both with what it shows, and the client's `auth.method` with what it expects. Programs read quotes, blanks, `#`, `$` and `\\` in different ways: put the values in single quotes."
            }
            Self::Refused(source) => source.kind.remedy(),
            Self::Unfinished { .. } => {
                "Remove the credential from the file yourself, or run the same command again."
            }
            Self::Internal => "This is a defect, please report it.",
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.join(", ")
}
