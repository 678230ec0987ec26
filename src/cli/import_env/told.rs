//! What `claviger import-env` says.
//!
//! Owns the words and the JSON, before and after. Says names, lines and lengths, never a value; of what is not imported it
//! says only the lines, because somebody may have pasted a secret where a name should stand.

use std::io::Write;

use serde_json::{Value, json};

use crate::cli::surroundings::is_secret;
use crate::cli::{Failure, output};
use crate::config::Config;
use crate::import::{self, Change, Ending, Import, Outcome, Remains};

/// What there is to tell, before and after.
pub(super) struct Told {
    path: String,
    names: [String; 3],
    /// One row per variable: name, line, bytes, and where it belongs.
    variables: Vec<(String, usize, usize, Option<String>)>,
    /// The lines of the variables that stay.
    left: Vec<usize>,
    /// Those of them whose names say that they are secrets.
    left_secrets: Vec<String>,
    pub(super) ending: Ending,
    remains: Remains,
    is_readable_by_others: bool,
    /// Where the next secret belongs.
    secret: String,
    /// In which time a daemon sees it by itself.
    refresh: String,
}

impl Told {
    pub(super) fn of(config: &Config, import: &Import<'_>, keep_file: bool) -> Self {
        let path = import.source().path();
        let imported = import.imported().iter();
        let left = import.left().iter();
        Self {
            path: path.display().to_string(),
            names: import.names().map(str::to_owned),
            variables: imported
                .map(|one| {
                    let reference = one.reference.as_ref().map(ToString::to_string);
                    (one.name.clone(), one.line, one.bytes, reference)
                })
                .collect(),
            left: left.clone().map(|one| one.line).collect(),
            left_secrets: left
                .filter(|one| is_secret(&one.name))
                .map(|one| format!("{} (line {})", one.name, one.line))
                .collect(),
            ending: if keep_file {
                Ending::Kept
            } else {
                import.ending()
            },
            remains: import::look(path),
            is_readable_by_others: import.source().is_readable_by_others(),
            secret: import.secret().to_string(),
            refresh: output::duration(config.refresh.interval),
        }
    }

    pub(super) fn would(
        &self,
        changes: &[(String, Change)],
        as_json: bool,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        if as_json {
            let secrets = changes.iter();
            let secrets = secrets.map(|(address, change)| secret_json(address, change, None));
            let secrets: Vec<_> = secrets.collect();
            let value = self.json(&secrets, &json!({ "dry_run": true }));
            return Ok(output::json(out, &value)?);
        }
        writeln!(out, "Nothing was changed. This would happen:")?;
        let [client, issuer, token] = &self.names;
        self.print_variables(out)?;
        writeln!(
            out,
            "  proved by token \"{token}\" of issuer \"{issuer}\" for client \"{client}\""
        )?;
        for (address, change) in changes {
            let what = match change {
                Change::Made => "would be made".to_owned(),
                Change::Replaced(before) => format!("version {before} would be replaced"),
                Change::Unchanged(version) => format!("version {version} has these values already"),
            };
            writeln!(out, "  {address}: {what}")?;
        }
        let path = &self.path;
        match self.ending {
            Ending::Removed => writeln!(out, "  {path} would be overwritten and removed")?,
            Ending::Cut => writeln!(
                out,
                "  {path} would be written anew without these variables; {} would stay",
                lines(&self.left)
            )?,
            Ending::Kept => writeln!(out, "  {path} would be left as it is")?,
        }
        self.print_warnings(out)
    }

    pub(super) fn did(
        &self,
        outcome: &Outcome,
        as_json: bool,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        if as_json {
            let secrets = outcome.done.iter().map(|done| {
                let version = Some(done.version.as_str());
                secret_json(&done.address, &done.change, version)
            });
            let secrets: Vec<_> = secrets.collect();
            let mark = outcome.mark.as_ref();
            let value = self.json(
                &secrets,
                &json!({
                    "dry_run": false,
                    "rotate_now": {
                        "reason": "lay_in_the_clear",
                        "secret": self.secret,
                        "marked": mark.is_ok(),
                        "not_marked_because": mark.err().map(ToString::to_string),
                    },
                }),
            );
            return Ok(output::json(out, &value)?);
        }
        let [client, issuer, token] = &self.names;
        writeln!(
            out,
            "The credential of client \"{client}\" is imported; issuer \"{issuer}\" gave token \"{token}\" for it."
        )?;
        self.print_variables(out)?;
        for done in &outcome.done {
            let (address, version) = (&done.address, &done.version);
            let what = match &done.change {
                Change::Made => String::new(),
                Change::Replaced(before) => format!(", instead of {before}"),
                Change::Unchanged(_) => ", which had these values already".to_owned(),
            };
            writeln!(out, "  {address} is at version {version}{what}")?;
        }
        let path = &self.path;
        match self.ending {
            Ending::Removed => writeln!(out, "  {path} is overwritten and removed")?,
            Ending::Cut => writeln!(
                out,
                "  {path} is written anew without these variables; {} stayed",
                lines(&self.left)
            )?,
            Ending::Kept => writeln!(out, "  {path} is as it was: the secret is still in it")?,
        }
        self.print_warnings(out)?;
        self.print_next(outcome, out)
    }

    fn print_variables(&self, out: &mut dyn Write) -> Result<(), Failure> {
        for (name, line, bytes, reference) in &self.variables {
            let place = match reference {
                Some(reference) => format!("→ {reference}"),
                None => "is what the configuration says".to_owned(),
            };
            writeln!(out, "  {name} (line {line}, {bytes} bytes) {place}")?;
        }
        Ok(())
    }

    /// What a person should know who believes that the secret is gone.
    fn print_warnings(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let path = &self.path;
        if !self.left_secrets.is_empty() {
            let names = self.left_secrets.join(", ");
            writeln!(
                out,
                "  ! still in {path}, and secrets by their names: {names}"
            )?;
        }
        if self.is_readable_by_others {
            writeln!(out, "  ! other users of this host could read {path}")?;
        }
        if let Some(root) = &self.remains.git {
            writeln!(
                out,
                "  ! {path} lies in the git work tree {}: if it was ever committed, the history keeps it (`git log --all -- {path}`)",
                root.display()
            )?;
        }
        if !self.remains.copies.is_empty() {
            let copies = self.remains.copies.join(", ");
            writeln!(out, "  ! files beside it that may be copies: {copies}")?;
        }
        if self.ending != Ending::Kept {
            writeln!(
                out,
                "  ! overwriting reaches no history, backup or snapshot, and on SSDs and copy-on-write file systems perhaps not the old blocks"
            )?;
        }
        Ok(())
    }

    fn print_next(&self, outcome: &Outcome, out: &mut dyn Write) -> Result<(), Failure> {
        let [_, issuer, _] = &self.names;
        writeln!(
            out,
            "Next: `claviger refresh`, and a running daemon uses it at once; by itself it does within {}.",
            self.refresh
        )?;
        writeln!(
            out,
            "Restart what was started with the file: it has the values in its environment."
        )?;
        let reminder = match &outcome.mark {
            Ok(()) => {
                "It is marked, and `claviger check` says so until another version takes its place."
                    .to_owned()
            }
            Err(why) => format!("It could not be marked ({why}), so remember it yourself."),
        };
        writeln!(
            out,
            "ROTATE NOW: the secret has lain in the clear. Make a new one at issuer \"{issuer}\", put it at {}, then revoke this one. {reminder}",
            self.secret
        )?;
        Ok(())
    }

    fn json(&self, secrets: &[Value], more: &Value) -> Value {
        let [client, issuer, token] = &self.names;
        let variables = self.variables.iter();
        let variables: Vec<_> = variables
            .map(|(name, line, bytes, reference)| {
                json!({ "name": name, "line": line, "bytes": bytes, "reference": reference })
            })
            .collect();
        let mut value = json!({
            "client": client,
            "issuer": issuer,
            "token": token,
            "variables": variables,
            "secrets": secrets,
            "file": {
                "path": self.path,
                "ending": match self.ending {
                    Ending::Removed => "removed",
                    Ending::Cut => "cut",
                    Ending::Kept => "kept",
                },
                "left_lines": self.left,
                "readable_by_others": self.is_readable_by_others,
                "git_work_tree": self.remains.git.as_ref().map(|root| root.display().to_string()),
                "possible_copies": self.remains.copies,
            },
        });
        if let (Some(value), Some(more)) = (value.as_object_mut(), more.as_object()) {
            value.extend(more.clone());
        }
        value
    }
}

fn secret_json(address: &str, change: &Change, version: Option<&str>) -> Value {
    let (what, before) = match change {
        Change::Made => ("made", None),
        Change::Replaced(before) => ("replaced", Some(before.as_str())),
        Change::Unchanged(before) => ("unchanged", Some(before.as_str())),
    };
    json!({ "secret": address, "change": what, "before": before, "version": version })
}

fn lines(lines: &[usize]) -> String {
    let numbers: Vec<_> = lines.iter().map(ToString::to_string).collect();
    let word = if lines.len() == 1 { "line" } else { "lines" };
    format!("{word} {}", numbers.join(", "))
}
