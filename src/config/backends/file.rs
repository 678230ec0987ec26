//! `type = "file"`: the sealed local file.
//!
//! Owns the keys of that type and the rule that exactly one key or passphrase file unseals it. Reads no file.

use crate::config::reader::Section;
use crate::registry::file_store::{FileSettings, StoreKey};

/// The settings of one sealed file; `None` after a reported problem.
pub(super) fn read(section: &Section<'_>) -> Option<FileSettings> {
    if !section.has("directory") {
        section.missing("directory", "the directory of the sealed records");
    }
    let directory = section.path("directory");
    let key_file = section.path("key_file");
    let passphrase_file = section.path("passphrase_file");
    let key = match (section.has("key_file"), section.has("passphrase_file")) {
        (true, false) => key_file.map(|found| StoreKey::KeyFile(found.value)),
        (false, true) => passphrase_file.map(|found| StoreKey::PassphraseFile(found.value)),
        (true, true) => {
            let place = section.place_at("passphrase_file");
            let message = "either key_file or passphrase_file unseals the file, not both";
            section.report.problem(&place, message);
            None
        }
        (false, false) => {
            section.missing(
                "key_file",
                "key_file or passphrase_file, which unseals the file",
            );
            None
        }
    };
    Some(FileSettings {
        directory: directory?.value,
        key: key?,
    })
}
