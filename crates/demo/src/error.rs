//! How the demo fails.

use std::io;
use std::path::PathBuf;

/// How the demo fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program does not know its own file.
    #[error("the program's own file cannot be found, and the demo runs it as daemon and client")]
    NoExecutable,
    /// The operating system refused something.
    #[error("cannot {0}")]
    System(&'static str, #[source] io::Error),
    /// There is no place for the demo's folder.
    #[error("cannot make a folder in {}", place.display())]
    Folder {
        /// Where it should be.
        place: PathBuf,
        /// Why it cannot be made.
        source: io::Error,
    },
    /// The folder's path would not fit into a socket's address, or not into the configuration as it is.
    #[error("the path of {} is too long or too strange for the demo's sockets and configuration", .0.display())]
    Unfit(PathBuf),
    /// Somebody had enough of it.
    #[error("interrupted; nothing is left of it")]
    Interrupted,
    /// Printing failed.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    /// The daemon did not become ready; its log says why.
    #[error("the daemon did not start:\n{0}")]
    NotReady(String),
    /// A client was refused.
    #[error("a client was refused: {0}")]
    Refused(String),
    /// A step did something else than it should.
    #[error("{0}")]
    Unexpected(&'static str),
    /// The secret was found where it must not be.
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
                "Set TMPDIR to a plain, short path where you may make folders: `TMPDIR=/tmp claviger demo`."
            }
            Self::NotReady(_) | Self::Refused(_) | Self::Unexpected(_) | Self::Leaked(_) => {
                "This is a defect of claviger or of this machine's set-up: please report it with the text above."
            }
        }
    }
}
