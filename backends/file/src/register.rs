//! Control documents, changed only by compare-and-swap.
//!
//! Owns the [`Register`] on top of the records in `document`. The lock makes comparison and write atomic. A revision identifies
//! one write permanently: it contains a counter and random digits, so the revision of a document that was rolled back and
//! written again never matches. Never interprets a document: that is up to the daemon's `rotation`.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use claviger_backend::{BackendError, Loaded, Register, Revision, SecretName};

use crate::disk::Write;
use crate::document::Document;
use crate::error::Error;
use crate::store::FileStore;
use crate::{Effect, FileBackend};

/// The size limit of a document, in bytes.
const MAX_DOCUMENT: usize = 2048;

impl FileStore {
    /// The document of a secret and its revision; `None` if there is none yet. The secret need not exist. The document returned
    /// after a swap in doubt, by this process or an earlier one, is durable.
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

    /// Writes a document if its current revision is `expected`, and returns the new revision.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the revision is not the current one, [`Error::TooLarge`], [`Error::Full`], or why the store
    /// cannot be written.
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
            // The register has the clock of this host.
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
