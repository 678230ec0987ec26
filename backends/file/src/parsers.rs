//! The parsers of the on-disk format, only for the fuzz target.
//!
//! Without the key, no input reaches the parsers of a record's contents, because it does not authenticate. These functions let
//! the fuzzer call the parsers directly. They are not part of the interface, and return no plaintext and no key.

use claviger_backend::{HeapKeeper, Secret, VersionSelector};

use crate::config::{KEY_BYTES, Unsealer};
use crate::document::Document;
use crate::index::Index;
use crate::roster::Roster;
use crate::seal::{Header, Label, RecordKind};

/// Parses `bytes` as the header of a generation, then opens them as a sealed record. Returns whether the record opened, which
/// must be false for bytes that were not sealed.
#[must_use]
pub fn header_then_open(bytes: &[u8]) -> bool {
    if let Ok(header) = Header::from_bytes(bytes) {
        let _printable = header.to_bytes();
    }
    let unsealer = Unsealer::Key(Secret::new(vec![7; KEY_BYTES]));
    let Ok(keys) = Header::new(&unsealer).and_then(|header| header.derive(&unsealer, &HeapKeeper))
    else {
        return false;
    };
    let label = Label {
        kind: RecordKind::Value,
        subject: "ab",
        version: "1",
    };
    keys.open(label, bytes.to_vec()).is_ok()
}

/// Parses `bytes` as the contents of every kind of record, and applies all operations of a store to an index. Returns whether
/// the resulting index can be parsed again, which must be true.
#[must_use]
pub fn contents_hold(bytes: &[u8]) -> bool {
    drop(Roster::from_bytes(bytes));
    drop(Document::from_bytes(bytes));
    let Ok(mut index) = Index::from_bytes(bytes) else {
        return true;
    };
    let before = index.current();
    drop(index.select(&VersionSelector::Current));
    for version in index.versions() {
        drop(index.select(&VersionSelector::Exact(version.version.clone())));
        drop(index.retire(&version.version));
    }
    if index.allocate().is_ok() {
        let operation = "fuzz-fuzz-fuzz-fuzz-fuzz-fuzz-fuzz".parse().ok();
        index.add(operation.as_ref(), std::time::SystemTime::UNIX_EPOCH);
        let staged = operation
            .as_ref()
            .and_then(|operation| index.staged_by(operation));
        if let (Some(from), Some(to)) = (before, staged) {
            drop(index.promote(&from, &to));
        }
    }
    index.count();
    let again = serde_json::to_vec(&index).ok();
    let again = again.and_then(|bytes| Index::from_bytes(&bytes).ok());
    again == Some(index)
}
