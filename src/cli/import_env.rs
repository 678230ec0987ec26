//! `claviger import-env`.
//!
//! Owns its arguments, its help, its exit codes and its report; `import` does the work. Prints names, lines and lengths, never
//! a value, and nothing about other variables: a secret may have been pasted in place of a name. Never contacts a daemon.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use claviger_backend::{Class, VersionId};
use serde_json::{Value, json};

use crate::cli::{CONFIG, Exit, Failure, client, output, run};
use crate::config::Config;
use crate::import::{self, Choice, Error, Import, Outcome, SourceFault, Wish};
use claviger_core::rotation::{Change, PlaceError, Placement};
use claviger_kernel::NotOpened;
use claviger_runtime::clock::SystemClock;
use claviger_runtime::reason::Reasoned as _;
use claviger_runtime::telemetry::Causes;

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Finds a client's identifier and secret in FILE by the names of their variables, PREFIX_ID and
PREFIX_SECRET (without --prefix: OAUTH_CLIENT_SECRET, GOOGLE_CLIENT_SECRET, OAUTH_GOOGLE_SECRET and
the like),
and moves them to the configured references (clients.NAME.id and clients.NAME.auth.secret):

  1. requests a token with them, which proves that they work
  2. stages them in the backend, reads them back, and only then makes them current
  3. marks the secret, because it was in plaintext: `claviger check` reports it until another version
     replaces it
  4. overwrites and removes FILE; if it sets anything else, removes only these lines

If a step fails, backend and FILE are unchanged. After a crash, run the same command again. Needs no
daemon; a running one uses the new values after `claviger refresh`. Run it as the user who owns the
backend's store.

Examples:
  claviger import-env .env --dry-run
      What would happen: names and lengths, never values.
  claviger import-env .env
  claviger import-env /srv/app/.env --client billing --token billing-api
  claviger import-env .env --prefix PARTNER_")]
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
    /// Print what would happen; contact no issuer and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Moves a credential, and prints what was done and what is left to do.
pub(super) fn import_env(
    args: &ImportEnvArgs,
    as_json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let config = Config::load(&args.config).map_err(|problems| {
        let exit = run::exit_of_faulty(&args.config);
        Failure::new(exit, problems.to_string(), "Fix the configuration first.")
    })?;
    // A dry run checks as well whether the file can be removed.
    let source = import::open(&args.file)?;
    let backends = run::open(&config.backends)?;
    let wish = Wish {
        client: args.client.as_deref(),
        token: args.token.as_deref(),
        prefix: args.prefix.as_deref(),
    };
    client::block_on(async {
        let import = Import::prepare(&config, &backends, source, &wish).await?;
        let outcome = if args.dry_run {
            None
        } else {
            Some(import.carry_out(Arc::new(SystemClock)).await?)
        };
        let report = Report {
            file: &args.file,
            import: &import,
            outcome: outcome.as_ref(),
        };
        if as_json {
            output::json(out, &report.describe())?;
        } else {
            report.print(out)?;
        }
        Ok(())
    })
}

/// What was done, or would be.
struct Report<'a> {
    file: &'a Path,
    import: &'a Import<'a>,
    /// `None` in a dry run.
    outcome: Option<&'a Outcome>,
}

impl Report<'_> {
    fn describe(&self) -> Value {
        let Choice { client, token, .. } = &self.import.choice;
        let mark = self.outcome.map(|outcome| &outcome.mark);
        json!({
            "dry_run": self.outcome.is_none(),
            "client": *client.name,
            "issuer": *client.issuer.name,
            "token": *token.name,
            "variables": self.import.choice.variables().map(|variable| json!({
                "name": variable.name, "line": variable.line, "bytes": variable.value.len(),
            })).collect::<Vec<_>>(),
            "secrets": self.secrets().map(|(placement, version)| {
                let (change, before) = words(placement.change());
                json!({
                    "secret": placement.target().address,
                    "change": change,
                    "before": before.map(VersionId::as_str),
                    "version": version.map(VersionId::as_str),
                })
            }).collect::<Vec<_>>(),
            "file": self.file.display().to_string(),
            "file_is": self.file_is(),
            "rotate_now": client.auth.secret().to_string(),
            "marked": mark.map(Result::is_ok),
            "not_marked_because": mark.and_then(|mark| mark.as_ref().err()).map(ToString::to_string),
        })
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let Choice { client, token, .. } = &self.import.choice;
        let issuer = &client.issuer.name;
        if self.outcome.is_none() {
            writeln!(
                out,
                "Dry run: nothing was changed. An import would do this:"
            )?;
        }
        writeln!(
            out,
            "Credential of client \"{}\", proved by token \"{}\" of issuer \"{issuer}\".",
            client.name, token.name
        )?;
        for variable in self.import.choice.variables() {
            let (line, bytes) = (variable.line, variable.value.len());
            writeln!(out, "{}: line {line}, {bytes} bytes", variable.name)?;
        }
        for (placement, version) in self.secrets() {
            let (change, before) = words(placement.change());
            write!(out, "{}: {change}", placement.target().address)?;
            if let Some(before) = before {
                write!(out, ", before version {before}")?;
            }
            match version {
                Some(version) => writeln!(out, ", now version {version}")?,
                None => writeln!(out)?,
            }
        }
        let file = output::plain(&self.file.display().to_string());
        writeln!(out, "{file}: {}", self.file_is())?;
        let Some(outcome) = self.outcome else {
            return Ok(());
        };
        writeln!(
            out,
            "Overwriting reaches no git history, backup or snapshot, and not every old block of an SSD.\n\
             Run `claviger refresh`, and restart what was started with the file."
        )?;
        if let Err(why) = &outcome.mark {
            writeln!(out, "`claviger check` cannot remind of it: {why}.")?;
        }
        writeln!(
            out,
            "ROTATE NOW: {} was in plaintext. Create a new secret at issuer \"{issuer}\", put it into the backend, then revoke this one.",
            client.auth.secret()
        )
    }

    /// Each secret, with its version after an import.
    fn secrets(&self) -> impl Iterator<Item = (&Placement, Option<&VersionId>)> {
        self.import
            .placements
            .iter()
            .enumerate()
            .map(|(at, placement)| {
                let version = self.outcome.and_then(|outcome| outcome.versions.get(at));
                (placement, version)
            })
    }

    fn file_is(&self) -> &'static str {
        if self.import.choice.has_others {
            "rewritten"
        } else {
            "removed"
        }
    }
}

/// What happens to a secret, and the version that readers saw before.
fn words(change: &Change) -> (&'static str, Option<&VersionId>) {
    match change {
        Change::Created => ("created", None),
        Change::Replaced(before) => ("replaced", Some(before)),
        Change::Unchanged(before) => ("unchanged", Some(before)),
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
