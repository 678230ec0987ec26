//! Where a socket may lie.
//!
//! Owns the directory of a socket: makes it with its mode, and refuses one in which another user could replace the socket: in
//! the directory itself, or by replacing a directory or link on the way to it. `claviger_kernel` judges the way.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use claviger_kernel::{Found, Untrusted, follow, remedy};

use super::{ListenError, masked};

/// Makes the directory if it is missing, and refuses one in which others could replace the socket.
pub(super) fn prepare(directory: &Path, mode: u32) -> Result<(), ListenError> {
    if judge(directory, mode)? {
        return Ok(());
    }
    // A narrow umask of the caller would leave it inaccessible.
    masked(mode, || {
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(directory)
    })
    .map_err(|error| ListenError::Os(directory.to_owned(), "create", error))?;
    // Made by this process, unless another user was quicker.
    judge(directory, mode).map(drop)
}

/// Whether the directory exists. Changes nothing.
pub(super) fn judge(directory: &Path, mode: u32) -> Result<bool, ListenError> {
    let (path, actual) = match follow(directory)? {
        Found::Missing => return Ok(false),
        Found::Other(_) => return Err(ListenError::NotADirectory(directory.to_owned())),
        Found::Directory { path, mode } => (path, mode),
    };
    if actual & 0o022 != 0 {
        return Err(Untrusted::writable(&path, actual).into());
    }
    if mode == 0o700 && actual & 0o077 != 0 {
        return Err(ListenError::OpenDirectory {
            remedy: remedy(&path, actual, "0700"),
            mode: actual,
            path,
        });
    }
    Ok(true)
}
