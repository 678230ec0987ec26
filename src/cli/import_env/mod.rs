//! `claviger import-env`.
//!
//! Owns its arguments, its help and its exit codes; `told` has what it says, and `import` does the work, in its order. Opens
//! the backends that the client refers to and no others, and talks to no daemon. Progress goes to standard error, the result
//! to standard output.

mod told;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use claviger_backend::Kind;

use crate::cli::import_env::told::Told;
use crate::cli::{CONFIG, Exit, Failure, client, run};
use crate::config::Config;
use crate::import::{self, Ending, Error, Import, Purpose, SourceFault, Step, Wish};
use crate::registry::{self, Backends};
use claviger_runtime::clock::SystemClock;

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Finds a client's identifier and secret in FILE by the names of their variables (…_CLIENT_ID and
…_CLIENT_SECRET, OAUTH_…_ID and OAUTH_…_SECRET) and moves them to where the configuration refers to
(clients.NAME.id and clients.NAME.auth.secret):

  1. gets a token from the issuer with them, so that what is moved is known to work
  2. writes them to the backend and compares what it gives back; only then do readers see them
  3. marks the secret, because it has lain in the clear: `claviger check` says so until another
     version takes its place
  4. overwrites and removes FILE, or writes it anew if it sets more than the credential

If a step fails, backend and FILE are as they were. After a crash, run the same again. Needs no
daemon; after `claviger refresh` a running one uses the new values at once. Run it as the user
to whom the backend's store belongs.

Examples:
  claviger import-env .env --dry-run
      What would happen: names and lengths, never values.
  claviger import-env .env
  claviger import-env /srv/app/.env --client billing --token billing-api
  claviger import-env .env --id-variable PARTNER --secret-variable PARTNER_KEY --keep-file")]
pub(super) struct ImportEnvArgs {
    /// The file, at most 64 KiB of NAME=value lines
    file: PathBuf,
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// The client whose credential it is, if more than one is configured
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// The token that is asked for as a proof; by default the first of the client's, by name
    #[arg(long, value_name = "NAME")]
    token: Option<String>,
    /// The variable that holds the client's identifier
    #[arg(long, value_name = "NAME")]
    id_variable: Option<String>,
    /// The variable that holds the client's secret
    #[arg(long, value_name = "NAME")]
    secret_variable: Option<String>,
    /// Leave the identifier as it is in the configuration or the backend
    #[arg(long, conflicts_with = "id_variable")]
    secret_alone: bool,
    /// Say what would happen; ask no issuer and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Leave the file as it is
    #[arg(long)]
    keep_file: bool,
}

/// Moves a credential, and says what was done and what is left to do.
pub(super) fn import_env(
    args: &ImportEnvArgs,
    as_json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let config = Config::load(&args.config).map_err(|problems| {
        let exit = run::exit_of_faulty(&args.config);
        Failure::new(exit, problems.to_string(), "Mend the configuration first.")
    })?;
    // A dry run finds out as well whether the file could be removed.
    let purpose = if args.keep_file {
        Purpose::Read
    } else {
        Purpose::Remove
    };
    let source = import::open(&args.file, purpose)?;
    let wish = Wish {
        client: args.client.as_deref(),
        token: args.token.as_deref(),
        id_variable: args.id_variable.as_deref(),
        secret_variable: args.secret_variable.as_deref(),
        secret_alone: args.secret_alone,
    };
    let import = Import::plan(&config, source, &wish)?;
    let backends = open(&config, &import)?;
    let told = Told::of(&config, &import, args.keep_file);
    if args.dry_run {
        let changes = client::block_on(async {
            let changes = import.changes(&backends).await;
            changes.map_err(Failure::from)
        })?;
        return told.would(&changes, as_json, out);
    }
    let ending = told.ending;
    let outcome = client::block_on(async {
        let clock = Arc::new(SystemClock);
        let mut progress = progress;
        let outcome = import.carry_out(&backends, clock, ending, &mut progress);
        outcome.await.map_err(Failure::from)
    })?;
    told.did(&outcome, as_json, out)
}

/// Opens the backends that the client refers to, and no others: what is wrong with them is none of this.
fn open(config: &Config, import: &Import<'_>) -> Result<Backends, Failure> {
    let all = config.backends.iter();
    let needed: Vec<_> = all
        .filter(|(name, _)| import.needs(name))
        .cloned()
        .collect();
    registry::open_all(&needed, &Backends::default()).map_err(|errors| run::unusable(&errors))
}

/// Says what is done now to whoever waits. If nobody listens, it is done all the same.
fn progress(step: Step<'_>) {
    let told = match step {
        Step::Proving { issuer, token } => {
            format!("asking issuer \"{issuer}\" for token \"{token}\" with what the file holds …")
        }
        Step::Writing => "it grants one; writing to the backend and reading back …".to_owned(),
        Step::Ending(Ending::Kept) => "the backend has it".to_owned(),
        Step::Ending(Ending::Removed) => "the backend has it; removing the file …".to_owned(),
        Step::Ending(Ending::Cut) => "the backend has it; writing the file anew …".to_owned(),
    };
    drop(writeln!(io::stderr(), "{told}"));
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(exit_of(&error), error.to_string(), error.remedy())
    }
}

fn exit_of(error: &Error) -> Exit {
    match error {
        Error::Source { fault, .. } => exit_of_source(fault),
        Error::Choice(fault) if fault.is_configuration() => Exit::Config,
        Error::Line { .. }
        | Error::Choice(_)
        | Error::Empty(_)
        | Error::Controls(_)
        | Error::Expands(_)
        | Error::OtherClient { .. }
        | Error::NoIdentifier(_) => Exit::Usage,
        Error::Pinned(_)
        | Error::Incapable(_)
        | Error::Clash(_)
        | Error::Unfit { .. }
        | Error::Issuer(_) => Exit::Config,
        Error::Backend { source, .. } => exit_of_backend(source.kind),
        Error::NotGivenBack(_) | Error::Unconfirmed(_) | Error::Refused { .. } => Exit::Unavailable,
        Error::Unfinished { .. } => Exit::System,
        Error::Internal => Exit::Internal,
    }
}

fn exit_of_source(fault: &SourceFault) -> Exit {
    match fault {
        SourceFault::Missing => Exit::NoInput,
        SourceFault::Link
        | SourceFault::NotFile
        | SourceFault::HardLinks(_)
        | SourceFault::TooLarge => Exit::Usage,
        SourceFault::Denied(_) | SourceFault::Folder => Exit::Denied,
        SourceFault::Changed | SourceFault::Io(..) => Exit::System,
    }
}

fn exit_of_backend(kind: Kind) -> Exit {
    match kind {
        Kind::PermissionDenied | Kind::Unauthenticated | Kind::NoCredentials => Exit::Denied,
        Kind::Misconfigured | Kind::Undecryptable | Kind::Gone | Kind::NotFound => Exit::Config,
        Kind::Conflict
        | Kind::RateLimited { .. }
        | Kind::Quota
        | Kind::Timeout
        | Kind::Unreachable
        | Kind::Unavailable
        | Kind::InvalidResponse
        | Kind::InDoubt => Exit::Unavailable,
    }
}
