//! Why a credential was not imported, or not wholly.
//!
//! Owns the one error of the room, what to do about each, and the promise that goes with it: the file is as it was unless it is
//! [`Error::Unfinished`], and readers of the backend see what they saw before unless it is that or [`Error::Unconfirmed`].

use std::path::PathBuf;

use claviger_backend::BackendError;

use crate::import::choice::ChoiceFault;
use crate::import::dotenv::Fault;
use crate::import::source::SourceFault;
use claviger_core::secrets::object::ObjectFault;
use claviger_oauth::{self, ErrorKind, SetupError};

/// Why a credential was not imported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not one that can be imported and removed.
    #[error("{} {fault}", path.display())]
    Source {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: SourceFault,
    },
    /// The file cannot be read as what it should be.
    #[error("{}: {fault}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, and what is wrong with it.
        fault: Fault,
    },
    /// It is not clear what belongs where.
    #[error(transparent)]
    Choice(#[from] ChoiceFault),
    /// A variable has no value.
    #[error("line {0}: the value is empty")]
    Empty(usize),
    /// A variable has a value that no credential has.
    #[error("line {0}: the value holds a line end or another control character")]
    Controls(usize),
    /// Nobody knows what the value is.
    #[error(
        "line {0}: the value holds a `$` or a backtick that some programs expand and some do not"
    )]
    Expands(usize),
    /// The file is about another client.
    #[error(
        "line {line}: the value is not the identifier that the configuration gives for client \"{client}\""
    )]
    OtherClient {
        /// The line of the identifier.
        line: usize,
        /// The client.
        client: String,
    },
    /// The reference names a version, which is what it is for ever.
    #[error("{0} refers to one version, which cannot change")]
    Pinned(String),
    /// The identifier is nowhere.
    #[error("the file does not set the client's identifier, and {0} is not in the backend")]
    NoIdentifier(String),
    /// The backend cannot make or replace a secret.
    #[error("the backend of {0} cannot be written to in steps that can be taken back")]
    Incapable(String),
    /// The field cannot be set in what is there.
    #[error("{address}: {fault}")]
    Unfit {
        /// The secret.
        address: String,
        /// Why.
        fault: ObjectFault,
    },
    /// The backend refused or failed.
    #[error("{address}: {source}{}", cause(.source))]
    Backend {
        /// The secret.
        address: String,
        /// What the backend said.
        source: BackendError,
    },
    /// The values cannot all be read back from there, whatever is written.
    #[error("{0} cannot hold the client's identifier and secret apart")]
    Clash(String),
    /// What was written is not what is read.
    #[error("{0} does not give back what was written to it")]
    NotGivenBack(String),
    /// It was written, and is not seen: somebody else wrote at the same time, or the backend is down.
    #[error("{0} was written to, but its current version cannot be seen to be that")]
    Unconfirmed(String),
    /// The issuer cannot be spoken to as it is configured.
    #[error("the issuer: {0}")]
    Issuer(#[source] SetupError),
    /// The issuer gave no token.
    #[error("the credential is not proved: {source}")]
    Refused {
        /// What the issuer said.
        source: claviger_oauth::Error,
        /// Whether a value may have been meant otherwise than it was read.
        is_doubtful: bool,
    },
    /// The credential is where it belongs, and the file is not removed.
    #[error("the credential is imported, but {} {fault}", path.display())]
    Unfinished {
        /// The file.
        path: PathBuf,
        /// Why.
        fault: SourceFault,
    },
    /// A defect.
    #[error("internal error: something that the configuration promised is missing")]
    Internal,
}

impl Error {
    pub(super) fn backend(address: String, source: BackendError) -> Self {
        Self::Backend { address, source }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Source { fault, .. } => source_remedy(fault).to_owned(),
            Self::Line { .. } => "Mend the line, or remove it if it belongs to nothing.".to_owned(),
            Self::Choice(fault) => fault.remedy().to_owned(),
            Self::Empty(_) | Self::Controls(_) => {
                "Compare it with what the issuer shows.".to_owned()
            }
            Self::Expands(_) => {
                "Put the value itself there, in single quotes, which keep it as it is.".to_owned()
            }
            Self::OtherClient { .. } => {
                "Choose another client with --client, or other variables with --id-variable and --secret-variable.".to_owned()
            }
            Self::Pinned(_) => {
                "Leave `@version` out of the reference in the configuration.".to_owned()
            }
            Self::NoIdentifier(_) => "Say which variable it is with --id-variable NAME.".to_owned(),
            Self::Incapable(_) => {
                "Put the credential in with the backend's own tools (`claviger file put`), check it with `claviger check`, and remove the file.".to_owned()
            }
            Self::Clash(_) => {
                "Give them fields or secrets of their own in the configuration.".to_owned()
            }
            Self::Unfit { .. } => {
                "Look at the secret, or refer to another one in the configuration.".to_owned()
            }
            Self::Backend { .. } | Self::NotGivenBack(_) => {
                "The file is as it was. When the backend is in order, run the same again.".to_owned()
            }
            Self::Unconfirmed(_) => {
                "The file is as it was. Look who else writes to the backend, then run the same again.".to_owned()
            }
            Self::Issuer(_) => "Check the configuration with `claviger check`.".to_owned(),
            Self::Refused {
                source,
                is_doubtful,
            } => format!(
                "{} The backend and the file are as they were.",
                refused_remedy(source.kind, *is_doubtful)
            ),
            Self::Unfinished { path, .. } => format!(
                "Remove what is left of the credential in {} yourself, or run the same again.",
                path.display()
            ),
            Self::Internal => "This is a defect, please report it.".to_owned(),
        }
    }
}

/// What a backend judged safe to say of a failure.
fn cause(error: &BackendError) -> String {
    let cause = std::error::Error::source(error);
    cause.map_or_else(String::new, |cause| format!(": {cause}"))
}

fn source_remedy(fault: &SourceFault) -> &'static str {
    match fault {
        SourceFault::Denied(_) | SourceFault::Folder => {
            "Run it as the user to whom the store belongs; give that user the file and move it to one of that user's folders on the same file system (`chown`, `mv`). Or add --keep-file, and remove the file yourself."
        }
        SourceFault::Changed => "Run the same again.",
        SourceFault::Missing
        | SourceFault::Link
        | SourceFault::NotFile
        | SourceFault::HardLinks(_)
        | SourceFault::TooLarge
        | SourceFault::Io(..) => "",
    }
}

fn refused_remedy(kind: ErrorKind, is_doubtful: bool) -> &'static str {
    match (kind, is_doubtful) {
        (ErrorKind::InvalidClient, false) => {
            "The issuer does not know this identifier with this secret: compare both with what it shows, and the client's `auth.method` with what it expects."
        }
        (ErrorKind::InvalidClient, true) => {
            "The issuer does not know this identifier with this secret. Programs read quotes, blanks, `#` and `\\` in different ways: put the values in single quotes, and compare them with what the issuer shows."
        }
        (other, _) => other.remedy(),
    }
}
