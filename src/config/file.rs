//! The configuration as a file.
//!
//! Owns the words for a file that cannot be read. `claviger_kernel` judges the file, its directories and its links: only root
//! and the daemon's own user may be able to change what is read.

use std::io::ErrorKind;
use std::path::Path;

use claviger_kernel::{Flaw, Untrusted};

use crate::config::problems::Problems;

/// The largest file that is read.
pub(super) const MOST_BYTES: usize = 1024 * 1024;

/// Reads the text of the file at `path`.
pub(super) fn read(path: &Path) -> Result<String, Problems> {
    let refuse = |message: String| Problems::of_file(path, message);
    let limit = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX);
    let bytes = claviger_kernel::read_trusted(path, limit)
        .map_err(|error| refuse(cannot_read(&error, path)))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..valid).unwrap_or_default();
        let line = before.split(|byte| *byte == b'\n').count();
        refuse(format!("line {line} is not UTF-8, as TOML must be"))
    })
}

fn cannot_read(error: &Untrusted, path: &Path) -> String {
    if let Flaw::System(why) = &error.what {
        let kind = why.kind();
        if kind == ErrorKind::NotFound {
            return "does not exist; give another path with --config".to_owned();
        }
        if kind == ErrorKind::PermissionDenied {
            return format!(
                "cannot be opened by the daemon's user; let its group read it, with `chgrp` and `chmod 0640 {}`",
                path.display()
            );
        }
    }
    if error.path == path {
        error.what.to_string()
    } else {
        format!("is not safe, because {error}")
    }
}
