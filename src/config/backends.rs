//! The sections `[backends.NAME]`.
//!
//! Owns the keys of each type of backend. Which types there are is the registry's to say.

use claviger_backend::BackendName;

use crate::config::Context;
use crate::config::reader::Section;
use crate::config::report::nearest;
use crate::registry::{self, BackendSettings, FileKey};

/// Reads every `[backends.NAME]`.
pub(super) fn read(
    context: &Context<'_>,
    root: &Section<'_>,
) -> Vec<(BackendName, BackendSettings)> {
    root.named("backends", |name, section| {
        let name = match name.parse::<BackendName>() {
            Ok(name) => Some(name),
            Err(error) => {
                context.report.problem(&section.place, error.to_string());
                None
            }
        };
        let settings = backend(section);
        Some((name?, settings?))
    })
}

fn backend(section: &Section<'_>) -> Option<BackendSettings> {
    let types = registry::TYPES.join(", ");
    let expected = format!("the type of the backend, one of: {types}");
    let kind = section.required_text("type", &expected);
    match kind.as_ref().map(|kind| kind.value) {
        Some("file") if registry::TYPES.contains(&"file") => file(section),
        other => {
            if let (Some(text), Some(kind)) = (other, &kind) {
                let message = format!("this build has no backend of this type; it has: {types}");
                let meant = nearest(text, registry::TYPES.iter().copied());
                section.report.problem_meant(&kind.place, message, meant);
            }
            section.ignore_rest();
            None
        }
    }
}

/// The sealed local file.
fn file(section: &Section<'_>) -> Option<BackendSettings> {
    if !section.has("directory") {
        section.missing("directory", "the directory of the sealed records");
    }
    let directory = section.path("directory");
    let key_file = section.path("key_file");
    let passphrase_file = section.path("passphrase_file");
    let key = match (section.has("key_file"), section.has("passphrase_file")) {
        (true, false) => key_file.map(|found| FileKey::KeyFile(found.value)),
        (false, true) => passphrase_file.map(|found| FileKey::PassphraseFile(found.value)),
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
    Some(BackendSettings::File {
        directory: directory?.value,
        key: key?,
    })
}
