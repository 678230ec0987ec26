//! The exit codes of the command line, after BSD's `sysexits.h`. They are part of the interface.

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// The command succeeded.
    Done = 0,
    /// The command line or a request is wrong.
    Usage = 64,
    /// A named file, secret or version does not exist.
    NoInput = 66,
    /// The daemon, an issuer or a backend is not available; waiting may help.
    Unavailable = 69,
    /// A defect, or a corrupt store.
    Internal = 70,
    /// A system call failed.
    System = 71,
    /// It already exists, or another process was first.
    Exists = 73,
    /// Policy or file permissions deny it.
    Denied = 77,
    /// Configuration, key or credential must be corrected; waiting does not help.
    Config = 78,
    /// SIGINT ended it; shells report the same.
    Interrupted = 130,
}

impl Exit {
    /// All codes, in numeric order.
    pub const ALL: [Self; 10] = [
        Self::Done,
        Self::Usage,
        Self::NoInput,
        Self::Unavailable,
        Self::Internal,
        Self::System,
        Self::Exists,
        Self::Denied,
        Self::Config,
        Self::Interrupted,
    ];

    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The meaning, for help, manual and documentation.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Done => "success",
            Self::Usage => "the command line or the request is wrong",
            Self::NoInput => "a named file, secret or version does not exist",
            Self::Unavailable => {
                "the daemon, a backend or an issuer is not available; waiting may help"
            }
            Self::Internal => "internal error or corrupt store",
            Self::System => "the operating system refused",
            Self::Exists => "already exists, already running, or lost a race",
            Self::Denied => "denied by policy or by permissions",
            Self::Config => {
                "the configuration, a key, a credential or a certificate must be corrected"
            }
            Self::Interrupted => "interrupted by SIGINT",
        }
    }
}
