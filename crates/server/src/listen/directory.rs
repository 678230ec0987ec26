//! Where a socket may lie.
//!
//! Owns the directory of a socket: makes it with its mode, and refuses one in which another user could replace the socket,
//! in the directory itself or by replacing one of its ancestors.

use std::fs::{self, DirBuilder, Metadata};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::process::geteuid;

use super::{ListenError, masked};

/// In a directory with this bit a user can rename and remove only files of its own.
const STICKY: u32 = 0o1000;

/// Makes the directory if it is missing, and refuses one in which others could replace the socket.
pub(super) fn prepare(directory: &Path, mode: u32) -> Result<(), ListenError> {
    let os = |doing| move |error| ListenError::Os(directory.to_owned(), doing, error);
    if !directory.exists() {
        // A narrow umask of the caller would leave it inaccessible.
        masked(mode, || {
            DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(directory)
        })
        .map_err(os("create"))?;
    }
    let meta = fs::metadata(directory).map_err(os("inspect"))?;
    check_owner(directory, &meta)?;
    let forbidden = if mode == 0o700 { 0o077 } else { 0o022 };
    let actual = meta.permissions().mode() & 0o7777;
    if actual & forbidden != 0 {
        return Err(ListenError::OpenDirectory(directory.to_owned(), actual));
    }
    // As it is written, and where that leads: a link may be replaced where it lies, and its target where that lies.
    let real = fs::canonicalize(directory).map_err(os("inspect"))?;
    for path in [directory, real.as_path()] {
        path.ancestors()
            .skip(1)
            .filter(|ancestor| !ancestor.as_os_str().is_empty())
            .try_for_each(check_ancestor)?;
    }
    Ok(())
}

/// A user who may rename entries of an ancestor may replace the whole directory of the socket.
fn check_ancestor(ancestor: &Path) -> Result<(), ListenError> {
    let os = |error| ListenError::Os(ancestor.to_owned(), "inspect", error);
    let meta = fs::metadata(ancestor).map_err(os)?;
    check_owner(ancestor, &meta)?;
    let mode = meta.permissions().mode() & 0o7777;
    if mode & 0o022 != 0 && mode & STICKY == 0 {
        return Err(ListenError::OpenDirectory(ancestor.to_owned(), mode));
    }
    Ok(())
}

fn check_owner(directory: &Path, meta: &Metadata) -> Result<(), ListenError> {
    let owner = meta.uid();
    if owner == 0 || owner == geteuid().as_raw() {
        return Ok(());
    }
    Err(ListenError::ForeignDirectory(directory.to_owned(), owner))
}
