//! What can be learned of a peer beyond its ids and its cgroup.
//!
//! Owns the seam for it, [`Attestor`], and the one that needs nothing but `/proc`: [`ProcExecutable`]. An attestor sees the
//! facts and returns evidence; it cannot change who the peer is. Evidence only ever narrows: where it is missing, fewer
//! rules match, never more, so that an attestor that fails costs access and gives none.

use std::fmt::Debug;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::{fs, io};

use async_trait::async_trait;

use super::Facts;

/// Asks about a peer, beyond what the kernel tells of every process.
#[async_trait]
pub trait Attestor: Debug + Send + Sync {
    /// What is known of the process behind `pidfd`, whose other facts are `facts`. Called once per connection, on its worker: it
    /// may wait, and may block the thread only for the kernel. `facts.pid` is that process as long as the pidfd is not readable, which is checked afterwards:
    /// evidence on a process that has exited is thrown away.
    ///
    /// # Errors
    /// [`AttestError`] if it could not be asked. Logged; the peer is identified without the evidence.
    async fn attest(&self, facts: &Facts, pidfd: BorrowedFd<'_>) -> Result<Evidence, AttestError>;
}

/// What an attestor adds. `None` says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The executable.
    pub executable: Option<PathBuf>,
}

/// Why an attestor has no evidence.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// What it needs cannot be read.
    #[error("the executable cannot be read")]
    Executable(#[source] io::Error),
}

/// Reads a peer's executable from `/proc`. The kernel shows it to the same user only (and to root), so this serves a daemon
/// that runs for one person; others have no executable, and rules that name one do not match them.
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

/// Where the file behind `link` is, if it is really there: the name that the kernel gives is the one in the *peer's* mount
/// namespace, where an unprivileged process may mount anything anywhere.
fn executable(link: &str) -> io::Result<Option<PathBuf>> {
    let path = fs::read_link(link)?;
    let running = fs::metadata(link)?;
    Ok(match fs::symlink_metadata(&path) {
        Ok(file) if (file.dev(), file.ino()) == (running.dev(), running.ino()) => Some(path),
        // Another file, or none that can be looked at: replaced since it was started, or in a container. A peer chooses what
        // its path looks like from here, so that is nothing to complain of.
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
    async fn an_executable_is_known_until_it_is_replaced() {
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
        assert!(evidence_on(child.id()).await.is_err(), "gone");
    }
}
