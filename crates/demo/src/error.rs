//! How the demo fails.

use std::io;
use std::path::PathBuf;

/// How the demo fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path of this program is unknown.
    #[error("cannot find the path of this program, which the demo runs as daemon and client")]
    NoExecutable,
    /// A system call failed.
    #[error("cannot {0}")]
    System(&'static str, #[source] io::Error),
    /// The demo's folder cannot be created.
    #[error("cannot create a folder in {}", place.display())]
    Folder {
        /// The parent folder.
        place: PathBuf,
        /// Why it cannot be created.
        source: io::Error,
    },
    /// The folder's path does not fit into a socket address, or cannot be written into the configuration unescaped.
    #[error("the path {} is too long for a socket, or has characters that need escaping in the configuration", .0.display())]
    Unfit(PathBuf),
    /// The user interrupted the demo.
    #[error("interrupted; the daemon and the folder are removed")]
    Interrupted,
    /// Printing failed.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    /// The daemon did not become ready; contains its log.
    #[error("the daemon did not start:\n{0}")]
    NotReady(String),
    /// A client's request was refused.
    #[error("a client's request was refused: {0}")]
    Refused(String),
    /// A step had an unexpected result.
    #[error("{0}")]
    Unexpected(&'static str),
    /// The secret was found in a place where it must not be.
    #[error("the secret was found in the daemon's {0}")]
    Leaked(&'static str),
}

impl Error {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoExecutable | Self::System(..) | Self::Output(_) | Self::Interrupted => "",
            Self::Folder { .. } | Self::Unfit(_) => {
                "Set TMPDIR to a plain, short path where you may create folders: `TMPDIR=/tmp claviger demo`."
            }
            Self::NotReady(_) | Self::Refused(_) | Self::Unexpected(_) | Self::Leaked(_) => {
                "This is a defect of claviger or a problem of this machine: please report it with the text above."
            }
        }
    }
}
