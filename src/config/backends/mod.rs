//! The sections `[backends.NAME]`.
//!
//! Owns the choice of the reader by `type`; each type has a file here, which reads into the settings of its backend crate.
//! `registry` lists the types of this build. Next: `file`.
//!
//! Each file beside this one reads the table of one type into the settings of its crate. Nothing here opens a backend.

mod file;

use claviger_backend::BackendName;

use crate::config::Context;
use crate::config::reader::Section;
use crate::config::report::nearest;
use crate::registry::{self, BackendSettings};

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
        Some("file") if registry::TYPES.contains(&"file") => {
            file::read(section).map(BackendSettings::File)
        }
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
