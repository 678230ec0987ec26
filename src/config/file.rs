//! The configuration as a file.
//!
//! Owns the checks of the file's owner and mode: only root and the daemon's own user may be able to write it. The file is
//! opened once and checked by its descriptor, so that the file that was checked is the one that is read. Never follows a link
//! in the last part of the path.

use std::fs::Metadata;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::CWD;

use crate::config::problems::Problems;
use claviger_kernel::{Access, NotOpened};

/// The largest file that is read.
pub(super) const MOST_BYTES: usize = 1024 * 1024;

/// The permission bits by which group and others could write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Reads the text of the file at `path`.
pub(super) fn read(path: &Path) -> Result<String, Problems> {
    let refuse = |message: String| Problems::of_file(path, message);
    let (file, metadata) = claviger_kernel::open_regular(CWD, path, Access::Read)
        .map_err(|error| refuse(cannot_open(&error, path)))?;
    let own = rustix::process::geteuid().as_raw();
    if let Some(message) = fault(&metadata, own, path) {
        return Err(refuse(message));
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX);
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| refuse(format!("cannot be read: {}", error.kind())))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..valid).unwrap_or_default();
        let line = before.split(|byte| *byte == b'\n').count();
        refuse(format!("line {line} is not UTF-8, as TOML must be"))
    })
}

fn cannot_open(error: &NotOpened, path: &Path) -> String {
    let NotOpened::System(error) = error else {
        return error.to_string();
    };
    let kind = error.kind();
    if kind == ErrorKind::NotFound {
        return "does not exist; give another path with --config".to_owned();
    }
    if kind == ErrorKind::PermissionDenied {
        return format!(
            "cannot be opened by the daemon's user; let its group read it, with `chgrp` and `chmod 0640 {}`",
            path.display()
        );
    }
    format!("cannot be opened: {kind}")
}

/// Why a daemon that runs as user `own` must not trust the file.
pub(super) fn fault(metadata: &Metadata, own: u32, path: &Path) -> Option<String> {
    let path = path.display();
    if metadata.uid() != 0 && metadata.uid() != own {
        return Some(format!(
            "belongs to user {}, who could change it; run `chown root {path}`",
            metadata.uid()
        ));
    }
    if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        return Some(format!(
            "can be written by its group or by others; run `chmod go-w {path}`"
        ));
    }
    let most = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX);
    (metadata.len() > most).then(|| "is larger than 1 MiB".to_owned())
}
