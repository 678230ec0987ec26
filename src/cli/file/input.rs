//! The console: the source of values and passphrases, and the destination of answers.
//!
//! Owns [`Console`], the process's streams or those of a test. A value is read whole and within its limit; a prompt for a
//! passphrase has no echo, and repeats if the passphrase will seal a store. Never reads a secret from an argument or the
//! environment.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use claviger_backend::{FieldName, MAX_VALUE_BYTES, Secret, SecretName};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Error, Place};
use crate::registry::file_store::{Error as StoreError, FileSettings, FileStore, StoreKey};

/// Where a subcommand reads from and writes to.
pub(crate) struct Console<'a> {
    /// Values, if it is not a terminal.
    pub(crate) input: &'a mut dyn Read,
    /// Whether `input` is a terminal, so that prompts are possible.
    pub(crate) input_is_terminal: bool,
    /// Answers.
    pub(crate) out: &'a mut dyn Write,
    /// Whether `out` is a terminal.
    pub(crate) out_is_terminal: bool,
    /// Prompts and reads the answer without echo; [`ask`] outside tests.
    pub(crate) ask: &'a mut dyn FnMut(&str) -> io::Result<Secret>,
}

impl fmt::Debug for Console<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("input_is_terminal", &self.input_is_terminal)
            .field("out_is_terminal", &self.out_is_terminal)
            .finish_non_exhaustive()
    }
}

/// A value that was read.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) secret: Secret,
    /// Whether it ends in a newline, mostly an accident of `echo` that deserves a warning.
    pub(super) ends_in_line_end: bool,
}

/// Prompts on the terminal of the process and reads one line without echo.
///
/// # Errors
/// If there is no terminal, or it was closed.
pub(crate) fn ask(question: &str) -> io::Result<Secret> {
    // SIGINT would end the process before the terminal has its echo back. So it is blocked until the terminal is restored,
    // and ends the process only then.
    let mut interrupt = SigSet::empty();
    interrupt.add(Signal::SIGINT);
    let before = interrupt.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let answer = rpassword::prompt_password(question).map(Secret::from_text);
    before.thread_set_mask()?;
    answer
}

impl Console<'_> {
    /// Opens the store that the arguments name.
    pub(super) fn open(&mut self, place: Place) -> Result<FileStore, Error> {
        let key = match (place.key_file, place.passphrase_file) {
            (Some(path), _) => StoreKey::KeyFile(path),
            (None, Some(path)) => StoreKey::PassphraseFile(path),
            (None, None) => StoreKey::Passphrase(Arc::new(self.passphrase("Passphrase: ")?)),
        };
        Ok(FileStore::open(FileSettings {
            directory: place.store,
            key,
        })?)
    }

    /// The key that will seal a store.
    pub(super) fn new_key(
        &mut self,
        key_file: Option<PathBuf>,
        passphrase_file: Option<PathBuf>,
    ) -> Result<StoreKey, Error> {
        if let Some(path) = key_file {
            return Ok(StoreKey::KeyFile(path));
        }
        if let Some(path) = passphrase_file {
            return Ok(StoreKey::PassphraseFile(path));
        }
        let first = self.passphrase("New passphrase: ")?;
        let second = self.passphrase("Repeat passphrase: ")?;
        if first.same_as(&second) {
            Ok(StoreKey::Passphrase(Arc::new(first)))
        } else {
            Err(Error::Mismatch)
        }
    }

    fn passphrase(&mut self, question: &str) -> Result<Secret, Error> {
        if !self.input_is_terminal {
            return Err(Error::NoKey);
        }
        (self.ask)(question).map_err(Error::Input)
    }

    /// The value to write.
    pub(super) fn value(
        &mut self,
        name: &SecretName,
        field: Option<&FieldName>,
        trim: bool,
    ) -> Result<Input, Error> {
        if self.input_is_terminal {
            let question = match field {
                Some(field) => format!("{field} of {name}: "),
                None => format!("Value of {name}: "),
            };
            return Ok(Input {
                secret: (self.ask)(&question).map_err(Error::Input)?,
                ends_in_line_end: false,
            });
        }
        // One byte beyond the limit, so that the buffer never grows and a larger value is detected.
        let limit = MAX_VALUE_BYTES.saturating_add(1);
        let mut bytes = Zeroizing::new(Vec::with_capacity(limit));
        self.input
            .take(limit.try_into().unwrap_or(u64::MAX))
            .read_to_end(&mut bytes)
            .map_err(Error::Input)?;
        if bytes.len() > MAX_VALUE_BYTES {
            return Err(StoreError::TooLarge {
                length: bytes.len(),
                limit: MAX_VALUE_BYTES,
            }
            .into());
        }
        while trim && matches!(bytes.last(), Some(b'\n' | b'\r')) {
            bytes.pop();
        }
        Ok(Input {
            ends_in_line_end: bytes.ends_with(b"\n"),
            secret: Secret::new(std::mem::take(&mut *bytes)),
        })
    }

    /// Answers: one line of JSON if there is any, else the text for people.
    pub(super) fn say(
        &mut self,
        json: Option<&Value>,
        text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Error> {
        match json {
            Some(value) => writeln!(self.out, "{value}"),
            None => text(self.out),
        }
        .and_then(|()| self.out.flush())
        .map_err(Error::Output)
    }
}
