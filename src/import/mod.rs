//! A credential's way out of a `.env` file.
//!
//! Owns the import of a client's credential and the order of its steps, in which the only copy is never lost: the file is read
//! (`source`, `dotenv`) and its variables are given their places (`choice`); the issuer grants a token for them (`proof`); they
//! are written beside what is there, read back, compared and only then promoted (`place`); what readers see is compared once
//! more; the version is marked for rotation; and last the file is overwritten and removed. Whatever fails before leaves
//! backend and file as they were, and after a crash the same import can be run again. Never prints: `cli` does.

mod choice;
pub mod dotenv;
mod error;
mod place;
mod proof;
mod remains;
mod source;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use claviger_backend::{BackendName, OperationId, SecretRef, VersionId};

use crate::config::Config;
use crate::import::choice::Choice;
use crate::import::dotenv::{Reading, Variable};
use crate::import::place::{Part, Place};
use crate::registry::Backends;
use claviger_core::rotation::{self, Mark, Reason, Unmarked};
use claviger_core::secrets::Live;
use claviger_oauth::ClientId;
use claviger_runtime::clock::Clock;

pub use choice::{ChoiceFault, Wish};
pub use error::Error;
pub use place::Change;
pub use remains::{Remains, look};
pub use source::{Purpose, Source, SourceFault};

/// A variable that is imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Its name.
    pub name: String,
    /// The line on which it begins.
    pub line: usize,
    /// The length of its value.
    pub bytes: usize,
    /// Where the value belongs; `None` if the configuration itself has it.
    pub reference: Option<SecretRef>,
    span: Range<usize>,
}

/// A variable that is not imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its name. It may be a secret in a wrong place: show it only if it is named like something known.
    pub name: String,
    /// The line on which it begins.
    pub line: usize,
}

/// What becomes of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is overwritten and removed.
    Removed,
    /// It is written anew without what was imported, and the old one is overwritten.
    Cut,
    /// Nothing.
    Kept,
}

/// A step that is taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// The issuer is asked for a token.
    Proving {
        /// The issuer.
        issuer: &'a str,
        /// The token.
        token: &'a str,
    },
    /// The backend is written to.
    Writing,
    /// The file goes.
    Ending(Ending),
}

/// A secret as it is after an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// `backend:name`.
    pub address: String,
    /// What was done to it.
    pub change: Change,
    /// The version that is current now.
    pub version: VersionId,
}

/// What an import came to.
#[derive(Debug)]
pub struct Outcome {
    /// The secrets.
    pub done: Vec<Done>,
    /// Whether the credential is marked for rotation, durably and for every node.
    pub mark: Result<(), Unmarked>,
}

/// An import that is about to happen.
#[derive(Debug)]
pub struct Import<'a> {
    choice: Choice<'a>,
    source: Source,
    imported: Vec<Imported>,
    left: Vec<Left>,
    parts: Vec<Part>,
    /// Whether a value may have been meant otherwise than it was read.
    is_doubtful: bool,
    /// Names what this import does.
    operation: OperationId,
}

impl<'a> Import<'a> {
    /// Finds out what in the file belongs where. Asks nobody and changes nothing.
    ///
    /// # Errors
    /// [`Error::Line`], [`Error::Choice`], or what is wrong with a value.
    pub fn plan(config: &'a Config, source: Source, wish: &Wish<'_>) -> Result<Self, Error> {
        let variables = source.variables().map_err(|fault| Error::Line {
            path: source.path().to_owned(),
            fault,
        })?;
        let choice = choice::choose(config, &variables, wish)?;
        let operation = format!("import-env-{:032x}", fastrand::u128(..));
        let mut import = Self {
            choice,
            source,
            imported: Vec::new(),
            left: Vec::new(),
            parts: Vec::new(),
            is_doubtful: false,
            operation: operation.parse().map_err(|_never| Error::Internal)?,
        };
        for (number, variable) in variables.into_iter().enumerate() {
            import.take(number, variable)?;
        }
        Ok(import)
    }

    fn take(&mut self, number: usize, variable: Variable) -> Result<(), Error> {
        let client = self.choice.client;
        let id = match &client.id {
            ClientId::Reference(reference) => Ok(reference),
            ClientId::Literal(literal) => Err(literal),
        };
        let Variable {
            name, value, line, ..
        } = &variable;
        let reference = if number == self.choice.secret {
            check(&variable)?;
            Some(self.secret().clone())
        } else if self.choice.id == Some(number) {
            check(&variable)?;
            if id.is_err_and(|literal| !place::is_text(value, literal)) {
                let client = client.name.to_string();
                return Err(Error::OtherClient {
                    line: *line,
                    client,
                });
            }
            id.ok().cloned()
        } else {
            let (name, line) = (name.clone(), *line);
            self.left.push(Left { name, line });
            return Ok(());
        };
        self.is_doubtful |= variable.reading != Reading::Sure;
        self.imported.push(Imported {
            name: name.clone(),
            line: *line,
            bytes: value.len(),
            reference: reference.clone(),
            span: variable.span.clone(),
        });
        if let Some(reference) = reference {
            let part = Part::new(reference, variable.value)?;
            self.parts.push(part);
        }
        Ok(())
    }

    /// What is imported.
    #[must_use]
    pub fn imported(&self) -> &[Imported] {
        &self.imported
    }

    /// What is not.
    #[must_use]
    pub fn left(&self) -> &[Left] {
        &self.left
    }

    /// The file.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Whether it needs a backend.
    #[must_use]
    pub fn needs(&self, backend: &BackendName) -> bool {
        let mut references = self.choice.client.references();
        references.any(|reference| &reference.backend == backend)
    }

    /// Where the client's secret belongs.
    #[must_use]
    pub fn secret(&self) -> &'a SecretRef {
        self.choice.client.auth.secret()
    }

    /// The client whose credential it is, its issuer, and the token that proves it.
    #[must_use]
    pub fn names(&self) -> [&'a str; 3] {
        let client = self.choice.client;
        [&client.name, &client.issuer.name, &self.choice.token.name]
    }

    /// What becomes of the file, unless it is to be kept.
    #[must_use]
    pub fn ending(&self) -> Ending {
        if self.left.is_empty() {
            Ending::Removed
        } else {
            Ending::Cut
        }
    }

    /// What would be done to each secret: its address, and the change. Reads from the backends and changes nothing.
    ///
    /// # Errors
    /// Whatever would keep it from being done.
    pub async fn changes(&self, backends: &Backends) -> Result<Vec<(String, Change)>, Error> {
        self.credential(backends).await?;
        let places = Place::look(backends, &self.parts).await?;
        let changes = places.into_iter();
        Ok(changes
            .map(|place| (place.address.clone(), place.change().clone()))
            .collect())
    }

    /// Does it, and calls `now` before each step.
    ///
    /// # Errors
    /// [`Error`]. The file is as it was unless it is [`Error::Unfinished`], and readers see what they saw before unless it is
    /// that or [`Error::Unconfirmed`].
    pub async fn carry_out(
        self,
        backends: &Backends,
        clock: Arc<dyn Clock>,
        ending: Ending,
        now: &mut dyn FnMut(Step<'_>),
    ) -> Result<Outcome, Error> {
        let places = Place::look(backends, &self.parts).await?;
        let credential = self.credential(backends).await?;
        let [_, issuer, token] = self.names();
        now(Step::Proving { issuer, token });
        let (choice, is_doubtful) = (&self.choice, self.is_doubtful);
        let proved = proof::prove(choice, &credential, is_doubtful, Arc::clone(&clock));
        proved.await?;
        now(Step::Writing);
        place::write(&places, &self.operation).await?;
        let mut done = Vec::new();
        for place in &places {
            done.push(Done {
                address: place.address.clone(),
                change: place.change().clone(),
                version: place.confirm().await?,
            });
        }
        let mark = self.mark(&places, &done, &*clock).await;
        now(Step::Ending(ending));
        self.end(ending)?;
        Ok(Outcome { done, mark })
    }

    /// Handles on what the client proves itself with: values of the file, and of the backend what the file does not set.
    async fn credential(&self, backends: &Backends) -> Result<Vec<Live>, Error> {
        let mut credential: Vec<_> = self.parts.iter().map(|part| part.live.clone()).collect();
        if let (ClientId::Reference(id), None) = (&self.choice.client.id, self.choice.id) {
            credential.push(place::read(backends, id).await?);
        }
        Ok(credential)
    }

    /// Marks the version of the secret for rotation, where rotation will look for it.
    async fn mark(
        &self,
        places: &[Place],
        done: &[Done],
        clock: &dyn Clock,
    ) -> Result<(), Unmarked> {
        let secret = self.secret();
        let mut all = places.iter().zip(done);
        let Some((place, done)) = all.find(|(place, _)| place.is_of(secret)) else {
            return Err(Unmarked::Nowhere);
        };
        let register = place.register().ok_or(Unmarked::Nowhere)?;
        let mark = Mark {
            version: done.version.clone(),
            reason: Reason::LayInTheClear,
            at: clock.now().wall,
        };
        rotation::set(register, &secret.name, &mark).await
    }

    fn end(self, ending: Ending) -> Result<(), Error> {
        let path = self.source.path().to_owned();
        let spans: Vec<_> = self.imported.into_iter().map(|one| one.span).collect();
        let ended = match ending {
            Ending::Removed => self.source.remove(),
            Ending::Cut => self.source.cut(&spans),
            Ending::Kept => Ok(()),
        };
        ended.map_err(|fault| Error::Unfinished { path, fault })
    }
}

/// Opens a file to import.
///
/// # Errors
/// [`Error::Source`].
pub fn open(path: &Path, purpose: Purpose) -> Result<Source, Error> {
    Source::open(path, purpose).map_err(|fault| Error::Source {
        path: path.to_owned(),
        fault,
    })
}

/// Whether a value can be what it is taken for.
fn check(variable: &Variable) -> Result<(), Error> {
    if variable.value.is_empty() {
        Err(Error::Empty(variable.line))
    } else if variable.reading == Reading::Expands {
        Err(Error::Expands(variable.line))
    } else if variable.has_controls {
        Err(Error::Controls(variable.line))
    } else {
        Ok(())
    }
}
