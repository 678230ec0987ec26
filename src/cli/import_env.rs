//! `claviger import-env`.
//!
//! Owns its arguments, its help, its exit codes and what it says; `import` does the work, in its order. Says names, lines and
//! lengths, never a value, and nothing of variables that are not imported: a secret may have been pasted where a name belongs.
//! Talks to no daemon.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use claviger_backend::Class;
use serde::Serialize;

use crate::cli::{CONFIG, Exit, Failure, client, output, run};
use crate::config::Config;
use crate::import::{self, Error, Import, Outcome, SourceFault, Wish};
use claviger_core::rotation::{Change, PlaceError, Placement};
use claviger_kernel::NotOpened;
use claviger_runtime::clock::SystemClock;
use claviger_runtime::reason::Reasoned as _;
use claviger_runtime::telemetry::Causes;

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Finds a client's identifier and secret in FILE by the names of their variables, PREFIX_ID and
PREFIX_SECRET (by itself OAUTH_CLIENT_SECRET, GOOGLE_CLIENT_SECRET, OAUTH_GOOGLE_SECRET and the like),
and moves them to where the configuration refers to (clients.NAME.id and clients.NAME.auth.secret):

  1. gets a token from the issuer with them, so that what is moved is known to work
  2. writes them to the backend and compares what it gives back; only then do readers see them
  3. marks the secret, because it has lain in the clear: `claviger check` says so until another
     version takes its place
  4. overwrites and removes FILE; if it sets anything else, removes only these lines

If a step fails, backend and FILE are as they were. After a crash, run the same command again. Needs
no daemon; after `claviger refresh` a running one uses the new values at once. Run it as the user
who owns the backend's store.

Examples:
  claviger import-env .env --dry-run
      What would happen: names and lengths, never values.
  claviger import-env .env
  claviger import-env /srv/app/.env --client billing --token billing-api
  claviger import-env .env --prefix PARTNER_ --keep-file")]
pub(super) struct ImportEnvArgs {
    /// The file, at most 64 KiB of NAME=value lines
    file: PathBuf,
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// The client whose credential it is, if more than one is configured
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// The token that proves the credential; by default the first of the client's, by name
    #[arg(long, value_name = "NAME")]
    token: Option<String>,
    /// The part of both variables' names before ID and SECRET
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
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
        Failure::new(exit, problems.to_string(), "Fix the configuration first.")
    })?;
    // A dry run finds out as well whether the file could be removed.
    let source = import::open(&args.file, args.keep_file)?;
    let backends = run::open(&config.backends)?;
    let wish = Wish {
        client: args.client.as_deref(),
        token: args.token.as_deref(),
        prefix: args.prefix.as_deref(),
    };
    client::block_on(async {
        let import = Import::prepare(&config, &backends, source, &wish).await?;
        let mut report = Report::of(&import, args);
        if !args.dry_run {
            let issuer = &*import.choice.client.issuer.name;
            drop(writeln!(
                io::stderr(),
                "asking issuer \"{issuer}\" for a token …"
            ));
            let outcome = import
                .carry_out(Arc::new(SystemClock), args.keep_file)
                .await?;
            report.add(&outcome);
        }
        if as_json {
            let report = serde_json::to_value(&report).map_err(io::Error::from)?;
            output::json(out, &report)?;
        } else {
            report.print(out)?;
        }
        Ok(())
    })
}

/// What is told, to programs as JSON and to people by [`Report::print`].
#[derive(Serialize)]
struct Report {
    dry_run: bool,
    client: String,
    issuer: String,
    token: String,
    variables: Vec<VariableRow>,
    secrets: Vec<SecretRow>,
    file: String,
    /// What becomes of the file: `removed`, `rewritten` or `kept`.
    file_is: &'static str,
    rotate_now: String,
    /// Whether the secret is marked for rotation; null in a dry run.
    marked: Option<bool>,
    not_marked_because: Option<String>,
}

#[derive(Serialize)]
struct VariableRow {
    name: String,
    line: usize,
    bytes: usize,
}

#[derive(Serialize)]
struct SecretRow {
    secret: String,
    change: &'static str,
    before: Option<String>,
    version: Option<String>,
}

impl SecretRow {
    fn of(placement: &Placement) -> Self {
        let (change, before) = match placement.change() {
            Change::Created => ("created", None),
            Change::Replaced(before) => ("replaced", Some(before.to_string())),
            Change::Unchanged(before) => ("unchanged", Some(before.to_string())),
        };
        Self {
            secret: placement.target().address.clone(),
            change,
            before,
            version: None,
        }
    }
}

impl Report {
    fn of(import: &Import<'_>, args: &ImportEnvArgs) -> Self {
        let choice = &import.choice;
        let variables = choice.id.iter().chain([&choice.secret]);
        Self {
            dry_run: args.dry_run,
            client: choice.client.name.to_string(),
            issuer: choice.client.issuer.name.to_string(),
            token: choice.token.name.to_string(),
            variables: variables
                .map(|variable| VariableRow {
                    name: variable.name.clone(),
                    line: variable.line,
                    bytes: variable.value.len(),
                })
                .collect(),
            secrets: import.placements.iter().map(SecretRow::of).collect(),
            file: args.file.display().to_string(),
            file_is: match (args.keep_file, choice.has_others) {
                (true, _) => "kept",
                (false, true) => "rewritten",
                (false, false) => "removed",
            },
            rotate_now: choice.client.auth.secret().to_string(),
            marked: None,
            not_marked_because: None,
        }
    }

    fn add(&mut self, outcome: &Outcome) {
        for (secret, version) in self.secrets.iter_mut().zip(&outcome.versions) {
            secret.version = Some(version.to_string());
        }
        self.marked = Some(outcome.mark.is_ok());
        self.not_marked_because = outcome.mark.as_ref().err().map(ToString::to_string);
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.dry_run {
            writeln!(
                out,
                "Dry run: nothing was changed. An import would do this:"
            )?;
        }
        writeln!(
            out,
            "Credential of client \"{}\", proved by token \"{}\" of issuer \"{}\".",
            self.client, self.token, self.issuer
        )?;
        let rows = self.variables.iter().map(|variable| {
            let VariableRow { name, line, bytes } = variable;
            vec![name.clone(), line.to_string(), bytes.to_string()]
        });
        output::table(
            out,
            &["VARIABLE", "LINE", "BYTES"],
            &rows.collect::<Vec<_>>(),
        )?;
        let rows = self.secrets.iter().map(|secret| {
            let version =
                |version: &Option<String>| output::or_dash(version.as_deref().unwrap_or(""));
            let SecretRow {
                before,
                version: after,
                ..
            } = secret;
            vec![
                secret.secret.clone(),
                secret.change.to_owned(),
                version(before),
                version(after),
            ]
        });
        let head = ["SECRET", "CHANGE", "BEFORE", "NOW"];
        output::table(out, &head, &rows.collect::<Vec<_>>())?;
        writeln!(out, "{}: {}", output::plain(&self.file), self.file_is)?;
        let Some(marked) = self.marked else {
            return Ok(());
        };
        writeln!(
            out,
            "Overwriting reaches no git history, backup or snapshot, and not every old block of an SSD.\n\
             Run `claviger refresh`, and restart what was started with the file.\n\
             ROTATE NOW: {} has lain in the clear. Make a new secret at issuer \"{}\", put it in, then revoke this one.",
            self.rotate_now, self.issuer
        )?;
        if let (false, Some(why)) = (marked, &self.not_marked_because) {
            writeln!(out, "`claviger check` will not remind of it: {why}.")?;
        }
        Ok(())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let remedy = error.remedy();
        Self::new(exit_of(&error), Causes(&error).to_string(), remedy)
    }
}

fn exit_of(error: &Error) -> Exit {
    match error {
        Error::Source { source, .. } => match source {
            SourceFault::NotOpened(NotOpened::System(error)) => exit_of_system(error.kind()),
            SourceFault::NotOpened(NotOpened::Link | NotOpened::NotFile)
            | SourceFault::HardLinks(_)
            | SourceFault::TooLarge => Exit::Usage,
            SourceFault::Directory => Exit::Denied,
            SourceFault::Changed | SourceFault::Io(..) => Exit::System,
        },
        Error::Line { .. }
        | Error::Client(_)
        | Error::Token { .. }
        | Error::NotSet(_)
        | Error::WhichSecret(_)
        | Error::Empty(_)
        | Error::OtherClient { .. }
        | Error::NoIdentifier(_) => Exit::Usage,
        Error::Pinned(_)
        | Error::Clash(_)
        | Error::Unfit { .. }
        | Error::Issuer(_)
        | Error::Place(PlaceError::Incapable(_)) => Exit::Config,
        Error::Backend { source, .. } | Error::Place(PlaceError::Backend { source, .. }) => {
            match source.kind.class() {
                Class::Authoritative | Class::Identity => Exit::Denied,
                Class::Defect => Exit::Config,
                Class::Transient | Class::Expected | Class::Unknown => Exit::Unavailable,
            }
        }
        Error::Place(PlaceError::NotReadBack(_) | PlaceError::Unconfirmed(_)) => Exit::Unavailable,
        Error::Refused(refused) => refused.kind.reason().exit(),
        Error::Unfinished { .. } => Exit::System,
        Error::Internal => Exit::Internal,
    }
}

fn exit_of_system(kind: io::ErrorKind) -> Exit {
    if matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
        Exit::NoInput
    } else if kind == io::ErrorKind::PermissionDenied {
        Exit::Denied
    } else {
        Exit::System
    }
}
