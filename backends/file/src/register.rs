//! Control documents, changed by compare-and-swap alone.
//!
//! Owns the [`Register`] on top of the records in `document`. The lock makes the comparison and the write one step; a
//! revision names one write for ever, because it holds a counter and random digits, so a document that was rolled back and
//! written again never matches. Never interprets a document: it belongs to the daemon's `rotation`.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use claviger_backend::{BackendError, Loaded, Register, Revision, SecretName};

use crate::disk::Write;
use crate::document::Document;
use crate::error::Error;
use crate::store::FileStore;
use crate::{Effect, FileBackend};

/// No document is larger, in bytes.
const MAX_DOCUMENT: usize = 2048;

impl FileStore {
    /// The document of a secret and its revision; `None` if there is none yet. There need not be such a secret. What is
    /// loaded after a swap that was in doubt, by this process or by one before it, is durable.
    ///
    /// # Errors
    /// Why the store cannot be read.
    pub fn load(&self, name: &SecretName) -> Result<Option<(Revision, Vec<u8>)>, Error> {
        self.reading(|generation, roster| {
            let Some(document) = generation.document(roster, name)? else {
                return Ok(None);
            };
            if self.unsure.load(Ordering::SeqCst) {
                generation.dir().sync()?;
                self.unsure.store(false, Ordering::SeqCst);
            }
            let content = document
                .content()
                .map_err(|damage| Error::damaged(generation.dir().path().to_owned(), damage))?;
            Ok(Some((document.revision(), content)))
        })
    }

    /// Writes a document if the register is at `expected`, and returns the new revision.
    ///
    /// # Errors
    /// [`Error::Conflict`] if it is not, [`Error::TooLarge`], [`Error::Full`], or why the store cannot be written.
    pub fn swap(
        &self,
        name: &SecretName,
        expected: Option<&Revision>,
        content: &[u8],
    ) -> Result<Revision, Error> {
        if content.len() > MAX_DOCUMENT {
            return Err(Error::TooLarge {
                length: content.len(),
                limit: MAX_DOCUMENT,
            });
        }
        let mut writing = self.writing()?;
        let former = writing.generation.document(&writing.roster, name)?;
        if former.as_ref().map(Document::revision).as_ref() != expected {
            return Err(Error::Conflict(None));
        }
        let how = if former.is_some() {
            Write::Replace
        } else {
            writing.make_room()?;
            Write::New
        };
        let document = Document::following(former.as_ref(), name, content)?;
        let written = writing
            .generation
            .write_document(&document, how)
            .and_then(|file| writing.note(&file, document.counter()));
        if let Err(error) = written {
            self.unsure.store(true, Ordering::SeqCst);
            return Err(error);
        }
        Ok(document.revision())
    }
}

#[async_trait]
impl Register for FileBackend {
    async fn load(&self, name: &SecretName) -> Result<Option<Loaded>, BackendError> {
        let name = name.clone();
        let found = self.run("load", Effect::Reads, move |store| {
            store.require_local()?;
            store.load(&name)
        });
        Ok(found.await?.map(|(revision, document)| Loaded {
            revision,
            document,
            // One host has one clock.
            answered: None,
        }))
    }

    async fn swap(
        &self,
        name: &SecretName,
        expected: Option<&Revision>,
        document: &[u8],
    ) -> Result<Revision, BackendError> {
        let (name, expected) = (name.clone(), expected.cloned());
        let document = document.to_vec();
        self.run("swap", Effect::Writes, move |store| {
            store.require_local()?;
            store.swap(&name, expected.as_ref(), &document)
        })
        .await
    }
}
