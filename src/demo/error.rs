//! How the demo fails.

use std::io;

/// How the demo fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program does not know its own file.
    #[error("the program's own file cannot be found, and the demo runs it as daemon and client")]
    NoExecutable,
    /// The operating system refused something.
    #[error("cannot {0}: {1}")]
    System(&'static str, #[source] io::Error),
    /// Printing failed.
    #[error("cannot write the output: {}", .0.kind())]
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
            Self::NoExecutable | Self::System(..) | Self::Output(_) => "",
            Self::NotReady(_) | Self::Refused(_) | Self::Unexpected(_) | Self::Leaked(_) => {
                "This is a defect of claviger or of this machine's set-up: please report it with the text above."
            }
        }
    }
}
