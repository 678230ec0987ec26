//! `claviger file`: creates, fills and maintains the sealed local file.
//!
//! Owns the subcommands, what they print and their exit codes. Values come from standard input or a prompt, never from an
//! argument, and go to standard output only; a terminal gets one if asked for with `--reveal`. Works on the directory itself,
//! with or without a running daemon, which sees every change at its next read. Blocks its thread.
//!
//! `input` asks for values and keys; `secrets::object` edits one field of a JSON object. The store is
//! `registry::file_store`.

mod args;
mod error;
mod input;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use claviger_backend::{
    FieldName, Kind, Secret, SecretName, VersionId, VersionInfo, VersionSelector, VersionState,
};
use serde_json::json;

use crate::cli::output;
use crate::config;
use crate::registry::file_store::{
    Error as StoreError, Expected, FileSettings, FileStore, Listed, StoreKey, generate_key_file,
};
use claviger_core::secrets::object;

pub(crate) use args::{FileCommand, Get, Init, List, Place, Put, Rekey, Retire, Versions};
pub(crate) use error::Error;
pub(crate) use input::{Console, ask};

/// How often an edit of a field is retried after a concurrent write.
const ATTEMPTS: usize = 5;

/// Carries out one subcommand. With `json`, prints one line of JSON instead of text for people.
///
/// # Errors
/// [`Error`], with the remedy where there is one. Nothing was changed, unless the error is about an outcome in doubt.
pub(crate) fn run(
    command: FileCommand,
    console: &mut Console<'_>,
    json: bool,
) -> Result<(), Error> {
    match command {
        FileCommand::Init(args) => init(args, console, json),
        FileCommand::Put(args) => put(args, console, json),
        FileCommand::Get(args) => get(args, console, json),
        FileCommand::List(args) => list(args, console, json),
        FileCommand::Versions(args) => versions(args, console, json),
        FileCommand::Retire(args) => retire(args, console, json),
        FileCommand::Rekey(args) => rekey(args, console, json),
    }
}

fn init(args: Init, console: &mut Console<'_>, json: bool) -> Result<(), Error> {
    let directory = args.place.store.clone();
    let key = match &args.generate_key {
        Some(path) => StoreKey::KeyFile(path.clone()),
        None => console.new_key(args.place.key_file, args.place.passphrase_file)?,
    };
    let settings = FileSettings {
        directory: directory.clone(),
        key,
    };
    with_new_key(args.generate_key.as_deref(), || FileStore::init(settings))?;
    let made = json!({ "store": directory, "key_file": args.generate_key });
    console.say(json.then_some(&made), |out| {
        writeln!(out, "created a store at {}", directory.display())?;
        if let Some(path) = &args.generate_key {
            let path = path.display();
            writeln!(
                out,
                "its key is in {path}; without it the store cannot be opened, so keep a copy elsewhere"
            )?;
        }
        Ok(())
    })
}

/// Writes a new key if requested, and removes it again if nothing was sealed with it.
fn with_new_key<T>(
    generate: Option<&Path>,
    work: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, Error> {
    let Some(path) = generate else {
        return Ok(work()?);
    };
    generate_key_file(path)?;
    work().map_err(|error| {
        if error.kind() == Kind::InDoubt {
            return Error::Store(error);
        }
        match std::fs::remove_file(path) {
            Ok(()) => Error::Store(error),
            Err(_left) => Error::KeyLeft {
                path: path.to_owned(),
                source: error,
            },
        }
    })
}

fn put(args: Put, console: &mut Console<'_>, json: bool) -> Result<(), Error> {
    let name = args.name;
    // Opened before the prompt, so that a wrong key fails before the operator types a secret.
    let store = console.open(args.place)?;
    let value = console.value(&name, args.field.as_ref(), args.trim)?;
    if value.secret.is_empty() {
        // Fields, too: an empty value is an empty password, set by pressing Enter too early.
        return Err(StoreError::Empty.into());
    }
    let expected = match args.expect {
        Some(version) => Expected::Version(version),
        None if args.new => Expected::Nothing,
        None => Expected::Anything,
    };
    let written = match &args.field {
        None => store
            .put(&name, &value.secret, &expected)
            .map_err(Error::from),
        Some(field) => put_field(&store, &name, field, &value.secret, &expected),
    };
    let written = written.map_err(|error| {
        if let Error::Store(StoreError::Conflict(Some(version))) = &error
            && args.new
        {
            return Error::NotNew {
                name: name.clone(),
                version: version.clone(),
            };
        }
        about(&store, &name, error)
    })?;
    let made = json!({ "name": name.as_str(), "version": written.as_str() });
    console.say(json.then_some(&made), |out| {
        write!(out, "{name} is now at version {written}")?;
        if value.ends_in_line_end {
            write!(out, "; its value ends in a newline, which --trim strips")?;
        }
        writeln!(out)?;
        if written.as_str() != FIRST_VERSION {
            writeln!(
                out,
                "A running daemon uses it after `claviger refresh`, or when it next fetches the value."
            )?;
        }
        Ok(())
    })
}

/// The version of a value that replaced none.
const FIRST_VERSION: &str = "1";

/// Sets one field and leaves the others as they are, also under concurrent writes.
fn put_field(
    store: &FileStore,
    name: &SecretName,
    field: &FieldName,
    text: &Secret,
    expected: &Expected,
) -> Result<VersionId, Error> {
    for _ in 0..ATTEMPTS {
        let (former, seen) = match store.get(name, &VersionSelector::Current) {
            Ok(fetched) => (Some(fetched.value), Expected::Version(fetched.version)),
            Err(StoreError::NoSecret) => (None, Expected::Nothing),
            Err(error) => return Err(error.into()),
        };
        let chosen = *expected != Expected::Anything;
        // The write expects the version that was read, which must be the one that the caller expects.
        if chosen && *expected != seen {
            return Err(match seen {
                Expected::Version(current) => StoreError::Conflict(Some(current)),
                Expected::Nothing | Expected::Anything => StoreError::NoSecret,
            }
            .into());
        }
        let value = object::with_field(former.as_ref(), field, text)?;
        match store.put(name, &value, &seen) {
            Err(StoreError::Conflict(_)) if !chosen => {}
            other => return Ok(other?),
        }
    }
    Err(StoreError::Conflict(None).into())
}

fn get(args: Get, console: &mut Console<'_>, json: bool) -> Result<(), Error> {
    if console.out_is_terminal && !args.reveal {
        return Err(Error::WouldReveal);
    }
    let store = console.open(args.place)?;
    let version = args
        .version
        .map_or(VersionSelector::Current, VersionSelector::Exact);
    let fetched = store
        .get(&args.name, &version)
        .map_err(|error| about(&store, &args.name, error))?;
    let value = match &args.field {
        Some(field) => object::field(&fetched.value, field)?,
        None => fetched.value,
    };
    #[expect(clippy::disallowed_methods, reason = "printing it was requested")]
    let bytes = value.expose();
    if json {
        let text = std::str::from_utf8(bytes).ok();
        let answer = json!({
            "name": args.name.as_str(),
            "version": fetched.version.as_str(),
            "created": fetched.created.map(utc),
            "value": text,
            "value_base64": text.is_none().then(|| STANDARD.encode(bytes)),
        });
        return console.say(Some(&answer), |_out| Ok(()));
    }
    let separate = console.out_is_terminal && !bytes.ends_with(b"\n");
    console.say(None, |out| {
        out.write_all(bytes)?;
        if separate { writeln!(out) } else { Ok(()) }
    })
}

fn list(args: List, console: &mut Console<'_>, json: bool) -> Result<(), Error> {
    let listed = console.open(args.place)?.list()?;
    let row = |secret: &Listed| {
        [
            secret.name.to_string(),
            secret.current.version.to_string(),
            secret.versions.to_string(),
            secret.current.created.map(utc).unwrap_or_default(),
        ]
    };
    let object = |secret: &Listed| {
        json!({
            "name": secret.name.as_str(),
            "current": secret.current.version.as_str(),
            "versions": secret.versions,
            "changed": secret.current.created.map(utc),
        })
    };
    let all = listed.iter().map(object).collect();
    console.say(json.then_some(&all), |out| {
        if listed.is_empty() {
            return writeln!(out, "the store is empty; `claviger file put` adds a secret");
        }
        let rows = listed.iter().map(row).collect::<Vec<_>>();
        table(out, ["NAME", "CURRENT", "VERSIONS", "CHANGED"], &rows)
    })
}

fn versions(args: Versions, console: &mut Console<'_>, json: bool) -> Result<(), Error> {
    let store = console.open(args.place)?;
    let versions = store
        .versions(&args.name)
        .map_err(|error| about(&store, &args.name, error))?;
    let row = |info: &VersionInfo| {
        [
            info.version.to_string(),
            state(info.state).to_owned(),
            info.created.map(utc).unwrap_or_default(),
        ]
    };
    let object = |info: &VersionInfo| {
        json!({
            "version": info.version.as_str(),
            "state": state(info.state),
            "created": info.created.map(utc),
        })
    };
    let all = versions.iter().map(object).collect();
    console.say(json.then_some(&all), |out| {
        let rows = versions.iter().map(row).collect::<Vec<_>>();
        table(out, ["VERSION", "STATE", "CREATED"], &rows)
    })
}

fn retire(args: Retire, console: &mut Console<'_>, json: bool) -> Result<(), Error> {
    let Retire {
        name,
        version,
        place,
    } = args;
    let store = console.open(place)?;
    store.retire(&name, &version).map_err(|error| {
        if matches!(&error, StoreError::Conflict(Some(current)) if *current == version) {
            return Error::IsCurrent;
        }
        about(&store, &name, error)
    })?;
    let done = json!({ "name": name.as_str(), "retired": version.as_str() });
    console.say(json.then_some(&done), |out| {
        writeln!(out, "the value of version {version} of {name} is destroyed")
    })
}

fn rekey(args: Rekey, console: &mut Console<'_>, json: bool) -> Result<(), Error> {
    let directory = args.place.store.clone();
    let store = console.open(args.place)?;
    let key = match &args.generate_key {
        Some(path) => StoreKey::KeyFile(path.clone()),
        None => console.new_key(args.new_key_file, args.new_passphrase_file)?,
    };
    let count = with_new_key(args.generate_key.as_deref(), || store.rekey(&key))?;
    let done = json!({ "store": directory, "secrets": count });
    console.say(json.then_some(&done), |out| {
        let directory = directory.display();
        writeln!(
            out,
            "{count} secrets at {directory} are re-encrypted; the old key no longer opens the store"
        )?;
        writeln!(out, "give the new key to the daemon that reads this store")
    })
}

/// The error about a missing secret, with a similar name.
fn about(store: &FileStore, name: &SecretName, error: impl Into<Error>) -> Error {
    let error = error.into();
    if !matches!(error, Error::Store(StoreError::NoSecret)) {
        return error;
    }
    let listed = store.list().unwrap_or_default();
    let known = listed.iter().map(|secret| secret.name.as_str());
    let meant = config::nearest(name.as_str(), known).and_then(|meant| meant.parse().ok());
    Error::NoSecret {
        name: name.clone(),
        meant,
    }
}

fn state(state: VersionState) -> &'static str {
    match state {
        VersionState::Current => "current",
        VersionState::Staged => "staged",
        VersionState::Previous => "previous",
        VersionState::Retired => "retired",
    }
}

/// Writes columns as wide as their widest entry.
fn table<const N: usize>(
    out: &mut dyn std::io::Write,
    head: [&str; N],
    rows: &[[String; N]],
) -> std::io::Result<()> {
    let head = head.map(str::to_owned);
    let mut widths = [0; N];
    for row in std::iter::once(&head).chain(rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    for row in std::iter::once(&head).chain(rows) {
        let cells = row.iter().zip(widths);
        let line = cells.map(|(cell, width)| format!("{cell:width$}"));
        let line = line.collect::<Vec<_>>().join("  ");
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A time as RFC 3339 writes it, in UTC and whole seconds.
fn utc(time: SystemTime) -> String {
    output::time(Some(&time.into()))
}
