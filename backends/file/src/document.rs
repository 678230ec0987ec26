//! The record of one control document.
//!
//! Owns its format on disk and its revision. A revision identifies one write permanently: it contains a counter and random
//! digits. Never interprets the document. Next: `register`, which compares and swaps.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use claviger_backend::{Revision, SecretName};
use serde::{Deserialize, Serialize};

use crate::error::{Damage, Error};
use crate::seal::random_hex;

/// The size limit of the record of a document, in bytes.
pub(crate) const MAX_BYTES: usize = 4096;

/// A control document as stored.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    name: String,
    counter: u64,
    nonce: String,
    /// In base64, because it is arbitrary bytes.
    content: String,
}

impl Document {
    pub(crate) fn following(
        former: Option<&Self>,
        name: &SecretName,
        content: &[u8],
    ) -> Result<Self, Error> {
        Ok(Self {
            name: name.as_str().to_owned(),
            counter: former.map_or(0, Self::counter).saturating_add(1),
            nonce: random_hex::<8>()?,
            content: STANDARD.encode(content),
        })
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Damage> {
        serde_json::from_slice(bytes).map_err(|_syntax| Damage::Contents)
    }

    /// The decoded document.
    pub(crate) fn content(&self) -> Result<Vec<u8>, Damage> {
        STANDARD
            .decode(&self.content)
            .map_err(|_base64| Damage::Contents)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn counter(&self) -> u64 {
        self.counter
    }

    pub(crate) fn revision(&self) -> Revision {
        Revision::new(format!("{}-{}", self.counter, self.nonce))
    }
}
