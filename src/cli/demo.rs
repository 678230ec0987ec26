//! `claviger demo`, which a build without the feature `demo` does not have.
//!
//! Owns its arguments and its exit codes. `claviger_demo` does the rest: it starts this same program as a daemon, with an
//! issuer of its own. Never touches the host's configuration or sockets.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use claviger_demo::Error;

use crate::cli::{Exit, Failure};
use claviger_core::peer::is_overflow;
use claviger_runtime::telemetry::Causes;

#[derive(Args, Clone, Debug)]
pub(super) struct DemoArgs {
    /// Keep the daemon up, and print commands to try
    #[arg(long)]
    stay: bool,
}

/// Runs the demo with the program at `executable`.
pub(super) fn demo(
    args: &DemoArgs,
    executable: Option<PathBuf>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let user = rustix::process::geteuid().as_raw();
    if is_overflow(user) {
        let what = format!(
            "a daemon identifies no process of user {user}, because the kernel reports it for users that it cannot name"
        );
        return Err(Failure::new(
            Exit::Denied,
            what,
            "Run the demo as another user.",
        ));
    }
    Ok(claviger_demo::run(args.stay, executable, out)?)
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error {
            Error::Output(error) => return error.into(),
            Error::NoExecutable | Error::System(..) | Error::Folder { .. } | Error::Unfit(_) => {
                Exit::System
            }
            Error::Interrupted => Exit::Interrupted,
            Error::NotReady(_) | Error::Refused(_) | Error::Unexpected(_) | Error::Leaked(_) => {
                Exit::Internal
            }
        };
        Self::new(exit, Causes(&error).to_string(), error.remedy())
    }
}
