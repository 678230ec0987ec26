//! `claviger run`.
//!
//! Owns the order of the start. The configuration is read, the backends' own credentials are read, the sockets are made, and
//! only then is the process hardened; the runtime and with it every thread comes last, so that each thread has what was
//! taken from the process.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::{CONFIG, Exit, Failure, Surroundings};
use crate::config::{Config, Mode};
use crate::daemon::{self, Launch};
use crate::server::Sockets;
use crate::{memory, registry, telemetry};

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
The daemon stays in the foreground and tells a service manager when it is ready (sd_notify). SIGTERM ends it in good order,
SIGHUP makes it read its configuration again. It takes sockets over from a service manager if it passes two, named
`broker` and `admin`.")]
pub(super) struct RunArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
}

pub(super) fn run(args: &RunArgs, surroundings: Surroundings) -> Result<(), Failure> {
    let config = Config::load(&args.config)
        .map_err(|problems| Failure::new(exit_of_faulty(&args.config), problems.to_string(), ""))?;
    telemetry::start(&config.log);
    refuse_secrets_in_environment(&config, &surroundings)?;
    let backends = registry::open_all(&config.backends, &registry::Backends::default())
        .map_err(|error| Failure::new(Exit::Config, error.to_string(), ""))?;
    let sockets = if surroundings.listeners.is_empty() {
        Sockets::bind(&config.server)
    } else {
        Sockets::inherit(surroundings.listeners, &surroundings.listener_names)
    };
    let sockets = sockets.map_err(|error| Failure::new(Exit::System, error.to_string(), ""))?;
    let protections = memory::harden(&memory::Settings::default())
        .map_err(|error| Failure::new(Exit::System, error.to_string(), ""))?;
    let launch = Launch {
        config,
        backends,
        sockets,
        protections,
    };
    daemon::run(launch).map_err(|error| {
        let exit = if error.is_configuration() {
            Exit::Config
        } else {
            Exit::System
        };
        Failure::new(exit, error.to_string(), "")
    })
}

/// How to exit over a configuration that cannot be read: a file that is not there is no faulty one.
pub(super) fn exit_of_faulty(config: &Path) -> Exit {
    match config.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Exit::NoInput,
        _ => Exit::Config,
    }
}

/// A secret in the environment is there for every child, every crash report and every `docker inspect` to see.
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
