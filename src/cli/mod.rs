//! The command line.
//!
//! Owns the subcommands, their output and the exit codes. Most are clients of a running daemon; `run` becomes one, `check`
//! checks a configuration, `file` edits a sealed store, `import-env` fills one, `demo` shows all of it. Prints text by default
//! and JSON with `--output json`; a secret goes to standard output alone, and only on request. Never reads the environment:
//! `main` passes it ([`Surroundings`]).
//!
//! Each subcommand is a file of its own; `manual` makes the manual pages. Errors are a `Failure`: what happened, what to
//! do, and an exit code.

mod check;
mod client;
#[cfg(feature = "demo")]
mod demo;
mod explain;
mod failure;
mod file;
mod import_env;
mod manual;
mod output;
mod refresh;
mod reload;
mod revoke;
mod run;
mod status;
mod surroundings;
mod token;

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use claviger_kernel::HardenError;

pub(crate) use claviger_runtime::reason::Exit;
pub(crate) use failure::Failure;
pub use surroundings::Surroundings;

/// The default path of the broker socket.
pub(crate) const BROKER_SOCKET: &str = "/run/claviger/broker.sock";
/// The default path of the admin socket.
pub(crate) const ADMIN_SOCKET: &str = "/run/claviger/admin/admin.sock";
/// The default path of the configuration.
pub(crate) const CONFIG: &str = "/etc/claviger/claviger.toml";

/// The line before the examples in the help of commands.
const EXAMPLES: &str = "Examples:\n";
/// The line before the exit codes in the help of the program.
const EXIT_CODES: &str = "Exit codes:";

/// Hands short-lived tokens to local processes, and keeps the secrets to itself.
#[derive(Debug, Parser)]
#[command(
    name = "claviger",
    version,
    max_term_width = 100,
    after_help = after_help()
)]
struct Cli {
    /// How results are printed: for people, or for programs
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

/// How results are printed. Its values have no documentation, which clap would print in the help of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show everything on an embedded default: a daemon, an issuer, tokens, a refusal
    #[cfg(feature = "demo")]
    Demo(demo::DemoArgs),
    /// Run the daemon in the foreground
    Run(run::RunArgs),
    /// Validate a configuration, and probe its backends and issuers
    Check(check::CheckArgs),
    /// Get a token from the running daemon
    Token(token::TokenArgs),
    /// Drop a token and have its issuer revoke it
    Revoke(revoke::RevokeArgs),
    /// Show the tokens, secrets and health of the running daemon
    Status(status::StatusArgs),
    /// Show which rule allows a process something, or what is missing
    Explain(explain::ExplainArgs),
    /// Fetch secrets and renew tokens now
    Refresh(refresh::RefreshArgs),
    /// Make the running daemon read its configuration again
    Reload(reload::ReloadArgs),
    /// Create, fill and inspect a sealed local file
    #[command(subcommand)]
    File(file::FileCommand),
    /// Move a client's credential out of a .env file into its backend
    ImportEnv(import_env::ImportEnvArgs),
    /// Print a completion script for a shell
    #[command(after_help = "\
Examples:
  claviger completions bash > /etc/bash_completion.d/claviger
  claviger completions zsh > /usr/local/share/zsh/site-functions/_claviger
  claviger completions fish > ~/.config/fish/completions/claviger.fish")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print a manual page (troff), or write all of them
    Man(manual::ManArgs),
}

/// Where operators connect.
#[derive(Args, Clone, Debug)]
pub(crate) struct AdminArgs {
    /// The daemon's admin socket
    #[arg(long, value_name = "PATH", default_value = ADMIN_SOCKET)]
    admin_socket: PathBuf,
}

fn after_help() -> String {
    let codes = Exit::ALL.map(|exit| format!("\n  {:>3}  {}", exit.code(), exit.meaning()));
    let demo = if cfg!(feature = "demo") {
        "Begin with `claviger demo`: it starts everything on an embedded default and shows what it does.\n\n"
    } else {
        ""
    };
    format!("{demo}{EXIT_CODES}{}", codes.concat())
}

/// Reports that the process could not be shielded; it must exit with this code.
pub fn unshielded(error: &HardenError) -> ExitCode {
    Failure::caused(Exit::System, error).report(false, &mut io::sink())
}

/// Parses the command line and runs it. Everything that is printed goes to `out` or, for errors, to standard error.
pub fn main(surroundings: Surroundings, out: &mut dyn io::Write) -> ExitCode {
    let cli = match Cli::try_parse_from(&surroundings.arguments) {
        Ok(cli) => cli,
        // Help and version are not errors; clap prints each to the right stream.
        Err(error) => {
            return match error.print() {
                Ok(()) if error.use_stderr() => Exit::Usage.code().into(),
                Ok(()) => ExitCode::SUCCESS,
                Err(unprinted) => Failure::from(unprinted).report(false, out),
            };
        }
    };
    let as_json = cli.output == Format::Json;
    let done = dispatch(cli, surroundings, out);
    // The output goes out before the failure is printed.
    let printed = out.flush().map_err(Failure::from);
    match done.and(printed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(as_json, out),
    }
}

fn dispatch(cli: Cli, surroundings: Surroundings, out: &mut dyn io::Write) -> Result<(), Failure> {
    let json = cli.output == Format::Json;
    if json && cli.command.is_for_people() {
        let what = "this command has no JSON output";
        return Err(Failure::new(Exit::Usage, what, "Leave `--output json` out.").after_result());
    }
    let is_terminal = io::stdout().is_terminal();
    match cli.command {
        Command::Run(args) => run::run(&args, surroundings),
        Command::Check(args) => check::check(&args, json, out),
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::demo(&args, surroundings.executable, out),
        Command::Token(args) => client::block_on(token::token(&args, json, out, is_terminal)),
        Command::Revoke(args) => client::block_on(revoke::revoke(&args, json, out)),
        Command::Status(args) => client::block_on(status::status(&args, json, out, is_terminal)),
        Command::Explain(args) => client::block_on(explain::explain(&args, json, out)),
        Command::Refresh(args) => client::block_on(refresh::refresh(&args, json, out)),
        Command::Reload(args) => client::block_on(reload::reload(&args, json, out)),
        Command::ImportEnv(args) => import_env::import_env(&args, json, out),
        Command::File(command) => work_on_file(command, json, out),
        Command::Completions { shell } => {
            // Into memory first, because the generator panics when it cannot write.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "claviger", &mut script);
            Ok(out.write_all(&script)?)
        }
        Command::Man(args) => manual::man(&args, Cli::command(), out),
    }
}

impl Command {
    fn is_for_people(&self) -> bool {
        match self {
            #[cfg(feature = "demo")]
            Self::Demo(_) => true,
            Self::Run(_) | Self::Completions { .. } | Self::Man(_) => true,
            Self::Check(_)
            | Self::Token(_)
            | Self::Revoke(_)
            | Self::Status(_)
            | Self::Explain(_)
            | Self::Refresh(_)
            | Self::Reload(_)
            | Self::ImportEnv(_)
            | Self::File(_) => false,
        }
    }
}

/// Runs `claviger file` on the terminal, or the pipes, that the process has.
fn work_on_file(
    command: file::FileCommand,
    json: bool,
    out: &mut dyn io::Write,
) -> Result<(), Failure> {
    let input = io::stdin();
    let mut console = file::Console {
        input_is_terminal: input.is_terminal(),
        input: &mut input.lock(),
        out_is_terminal: io::stdout().is_terminal(),
        out,
        ask: &mut file::ask,
    };
    file::run(command, &mut console, json).map_err(|error| {
        let failure = Failure::caused(error.exit(), &error);
        if let file::Error::Output(error) = error {
            return error.into();
        }
        failure
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// clap builds a command only when it is used, so a clash of its arguments with those of the program shows only then.
    #[test]
    fn every_command_can_be_parsed() {
        fn paths(command: &clap::Command, path: &[String], found: &mut Vec<Vec<String>>) {
            for sub in command.get_subcommands() {
                let path = [path, &[sub.get_name().to_owned()]].concat();
                paths(sub, &path, found);
                found.push(path);
            }
        }
        let mut found = Vec::new();
        paths(&Cli::command(), &[], &mut found);
        assert!(found.len() >= 15, "{found:?}");
        for path in found {
            let arguments = [&["claviger".to_owned()][..], &path, &["--help".to_owned()]].concat();
            let error = Cli::try_parse_from(arguments).unwrap_err();
            assert_eq!(
                error.kind(),
                clap::error::ErrorKind::DisplayHelp,
                "{path:?}"
            );
        }
    }

    #[test]
    fn every_command_and_option_is_explained() {
        fn look(command: &clap::Command, unexplained: &mut Vec<String>) {
            for argument in command.get_arguments() {
                if argument
                    .get_help()
                    .is_none_or(|help| help.to_string().ends_with('.'))
                {
                    unexplained.push(format!("{} {}", command.get_name(), argument.get_id()));
                }
            }
            for sub in command.get_subcommands() {
                if sub
                    .get_about()
                    .is_none_or(|about| about.to_string().ends_with('.'))
                {
                    unexplained.push(sub.get_name().to_owned());
                }
                look(sub, unexplained);
            }
        }
        let mut unexplained = Vec::new();
        look(&Cli::command(), &mut unexplained);
        assert!(
            unexplained.is_empty(),
            "without help, or with a full stop: {unexplained:?}"
        );
    }
}
