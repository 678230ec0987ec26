//! `claviger run`.
//!
//! Owns the order of the start. The configuration and the backends' own credentials are read and the sockets are bound before
//! the process is hardened; the runtime and with it every thread comes last, so that each thread inherits
//! the hardening.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use claviger_backend::BackendName;

use crate::cli::{CONFIG, Exit, Failure, Surroundings, client};
use crate::config::{Config, Mode};
use crate::daemon::{self, Launch};
use crate::registry::{self, BackendSettings, Backends, Unopened};
use claviger_runtime::clock::SystemClock;
use claviger_runtime::telemetry;
use claviger_runtime::telemetry::Causes;
use claviger_server::{ListenError, Sockets};

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
The daemon stays in the foreground and notifies a service manager when it is ready (sd_notify). SIGTERM shuts it down gracefully, \
SIGHUP reloads its configuration. It uses the sockets of a service manager that passes two, named `broker` and `admin`.

Examples:
  sudo claviger run
  claviger run --config ./claviger.toml")]
pub(super) struct RunArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
}

pub(super) fn run(args: &RunArgs, surroundings: Surroundings) -> Result<(), Failure> {
    let config = Config::load(&args.config).map_err(|problems| {
        let exit = exit_of_faulty(&args.config);
        Failure::new(exit, problems.to_string(), remedy_of_faulty(exit))
    })?;
    let mut log = telemetry::start(&config.log);
    refuse_secrets_in_environment(&config, &surroundings)?;
    let backends = open(&config.backends)?;
    let sockets = if surroundings.listeners.is_empty() {
        Sockets::bind(&config.server)
    } else {
        Sockets::inherit(surroundings.listeners, &surroundings.listener_names)
    };
    let sockets = sockets.map_err(|error| {
        let what = Causes(&error).to_string();
        Failure::new(exit_of_sockets(&error), what, remedy_of_sockets(&error))
    })?;
    let protections =
        claviger_kernel::harden().map_err(|error| Failure::caused(Exit::System, &error))?;
    log.write_from_now_on().map_err(|error| {
        Failure::new(
            Exit::System,
            format!("cannot write the log: {}", error.kind()),
            "",
        )
    })?;
    let launch = Launch {
        config,
        backends,
        sockets,
        protections,
    };
    daemon::run(launch).map_err(|error| Failure::caused(exit_of(&error), &error))
}

/// Opens backends on a runtime of its own, whose threads have ended when this returns: the process is hardened after it.
pub(super) fn open(settings: &[(BackendName, BackendSettings)]) -> Result<Backends, Failure> {
    client::block_on(async {
        registry::open_all(settings, &Backends::none(Arc::new(SystemClock)))
            .await
            .map_err(|unopened| unusable(&unopened))
    })
}

fn exit_of(error: &daemon::Error) -> Exit {
    match error {
        daemon::Error::Configuration(_) => Exit::Config,
        daemon::Error::NoBackend => Exit::Unavailable,
        daemon::Error::System(..) | daemon::Error::Fingerprints(_) => Exit::System,
    }
}

/// A passing fault must not exit as a faulty configuration, after which a service manager does not start it again.
fn unusable(unopened: &Unopened) -> Failure {
    let exit = if unopened.is_passing() {
        Exit::System
    } else {
        Exit::Config
    };
    Failure::new(exit, unopened.to_string(), "")
}

/// The exit code for a configuration that cannot be read; a missing file has its own.
pub(super) fn exit_of_faulty(config: &Path) -> Exit {
    match config.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Exit::NoInput,
        _ => Exit::Config,
    }
}

/// What to do about such a configuration.
pub(super) fn remedy_of_faulty(exit: Exit) -> &'static str {
    if exit == Exit::NoInput {
        "Write it; begin with the README's first configuration or deploy/claviger.toml."
    } else {
        "Fix the file, then run `claviger check`."
    }
}

/// Another daemon on the socket has another exit code than a refusal of the operating system.
fn exit_of_sockets(error: &ListenError) -> Exit {
    match error {
        ListenError::Live(_) => Exit::Exists,
        ListenError::NotASocket(_)
        | ListenError::Untrusted(_)
        | ListenError::OpenDirectory { .. }
        | ListenError::NotADirectory(_)
        | ListenError::Os(..)
        | ListenError::Activation(..)
        | ListenError::Unfit(_) => Exit::System,
    }
}

fn remedy_of_sockets(error: &ListenError) -> &'static str {
    // The texts of the others contain the remedy.
    if let ListenError::Os(_, _, source) = error
        && source.kind() == io::ErrorKind::PermissionDenied
    {
        return "Run it as root or by the socket units, or configure a `server.socket` in a directory of this user.";
    }
    ""
}

/// Every child process, crash report and `docker inspect` shows a secret in the environment.
fn refuse_secrets_in_environment(
    config: &Config,
    surroundings: &Surroundings,
) -> Result<(), Failure> {
    let found = surroundings.secret_variables();
    if found.is_empty() {
        return Ok(());
    }
    let names = found.join(", ");
    if config.mode == Mode::Dev {
        tracing::warn!(target: "claviger", variables = names, "the environment seems to hold secrets");
        return Ok(());
    }
    Err(Failure::new(
        Exit::Config,
        format!("the environment seems to hold secrets, by the names of its variables: {names}"),
        "Keep them in a backend and remove the variables; claviger never reads a secret from the environment. `claviger import-env` moves a client's credential out of a `.env` file.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_faulty_configuration_is_reported_as_one() {
        let problems = Config::parse("nonsense = 1", Path::new("c.toml")).unwrap_err();
        let refused = daemon::Error::Configuration(problems);
        let system = daemon::Error::System("listen", io::ErrorKind::Other.into());
        for (error, exit) in [
            (refused, Exit::Config),
            (daemon::Error::NoBackend, Exit::Unavailable),
            (system, Exit::System),
        ] {
            assert_eq!(exit_of(&error), exit, "{error}");
        }
    }
}
