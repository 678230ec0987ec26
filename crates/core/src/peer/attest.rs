//! Evidence about a peer beyond its ids and its cgroup.
//!
//! Owns the interface for it, [`Attestor`], and the implementation that needs only `/proc`: [`ProcExecutable`]. An attestor
//! reads the facts and returns evidence; it cannot change the identity of the peer. Evidence only narrows: without it fewer
//! rules match, never more, so a failing attestor can deny access but never grant it.

use std::fmt::Debug;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::{fs, io};

use async_trait::async_trait;

use super::Facts;

/// Collects evidence about a peer, beyond what the kernel reports for every process.
#[async_trait]
pub trait Attestor: Debug + Send + Sync {
    /// Evidence about the process of `pidfd`, whose other facts are `facts`. Called once per connection, on its worker: it may
    /// wait, but may block the thread only for system calls. `facts.pid` names that process as long as the pidfd is not
    /// readable, which the caller checks afterwards: evidence about a process that has exited is discarded.
    ///
    /// # Errors
    /// [`AttestError`] if the evidence could not be collected. The error is logged, and the peer is identified without the
    /// evidence.
    async fn attest(&self, facts: &Facts, pidfd: BorrowedFd<'_>) -> Result<Evidence, AttestError>;
}

/// The evidence of an attestor. `None` is no evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The executable.
    pub executable: Option<PathBuf>,
}

/// Why an attestor has no evidence.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The executable cannot be read.
    #[error("the executable cannot be read")]
    Executable(#[source] io::Error),
}

/// Reads a peer's executable from `/proc`. The kernel shows it only to the same user and to root, so this works for a daemon
/// that runs for one user; peers of other users have no executable, and rules that name one do not match them.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcExecutable;

#[async_trait]
impl Attestor for ProcExecutable {
    async fn attest(&self, facts: &Facts, _pidfd: BorrowedFd<'_>) -> Result<Evidence, AttestError> {
        let link = format!("/proc/{}/exe", facts.pid);
        let executable = match executable(&link) {
            Ok(executable) => executable,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
            Err(error) => return Err(AttestError::Executable(error)),
        };
        Ok(Evidence { executable })
    }
}

/// The path of the file behind `link`, if that file is at this path here: the kernel reports the path in the *peer's* mount
/// namespace, where an unprivileged process may mount anything anywhere.
fn executable(link: &str) -> io::Result<Option<PathBuf>> {
    let path = fs::read_link(link)?;
    let running = fs::metadata(link)?;
    Ok(match fs::symlink_metadata(&path) {
        Ok(file) if (file.dev(), file.ino()) == (running.dev(), running.ino()) => Some(path),
        // Another file, or none: replaced since the process started, or in a container. Not an error, because a peer can choose
        // what its path refers to here.
        Ok(_) | Err(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::process::{Command, Stdio};

    use super::*;

    async fn evidence_on(pid: u32) -> Result<Evidence, AttestError> {
        let facts = Facts {
            pid,
            ..Facts::default()
        };
        ProcExecutable.attest(&facts, io::stderr().as_fd()).await
    }

    #[tokio::test]
    async fn an_executable_is_reported_until_it_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs::copy("/bin/cat", &program).unwrap();
        let mut child = Command::new(&program)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let known = evidence_on(child.id()).await.unwrap().executable;
        assert_eq!(known, Some(program.canonicalize().unwrap()));

        fs::remove_file(&program).unwrap();
        assert_eq!(evidence_on(child.id()).await.unwrap().executable, None);
        fs::copy("/bin/cat", &program).unwrap();
        assert_eq!(evidence_on(child.id()).await.unwrap().executable, None);

        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(
            evidence_on(child.id()).await.is_err(),
            "the process has exited"
        );
    }
}
