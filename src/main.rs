//! The `claviger` program: shields itself, reads its environment, then calls the command line.

#![forbid(unsafe_code)]

use std::io::{self, BufWriter};
use std::process::ExitCode;

use claviger::cli::{self, Surroundings};
use claviger_kernel::WipingAllocator;
use claviger_runtime::telemetry;
use listenfd::ListenFd;

#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator::system();

fn main() -> ExitCode {
    telemetry::report_panics_by_place();
    if let Err(error) = claviger_kernel::shield() {
        return cli::unshielded(&error);
    }
    let surroundings = surroundings();
    cli::main(surroundings, &mut BufWriter::new(io::stdout().lock()))
}

/// The only reader of the environment; it keeps no value but the names of passed sockets.
#[expect(clippy::disallowed_methods, reason = "only main reads the environment")]
fn surroundings() -> Surroundings {
    // The names must be read first: taking the sockets clears the variables.
    let listener_names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut passed = ListenFd::from_env();
    // Other descriptors keep their position, because the names are matched by position.
    let listeners = (0..passed.len())
        .map(|index| passed.take_unix_listener(index).ok().flatten())
        .collect();
    Surroundings {
        arguments: std::env::args_os().collect(),
        executable: std::env::current_exe().ok(),
        variables: std::env::vars_os()
            .map(|(name, _value)| name.to_string_lossy().into_owned())
            .collect(),
        listeners,
        listener_names,
    }
}
