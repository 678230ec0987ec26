//! The other end of a connection.
//!
//! Owns the kinds of caller that the broker serves. Each has facts that policy judges, and can be asked whether it is still
//! the caller that was judged; nothing else of the broker depends on the kind.

use crate::peer::{Changed, Facts, Peer};

/// The other end of a connection.
#[derive(Debug)]
pub enum Caller {
    /// A process at the other end of a unix socket.
    Process(Peer),
}

impl Caller {
    /// What policy judges.
    pub(crate) fn facts(&self) -> &Facts {
        match self {
            Self::Process(peer) => peer.facts(),
        }
    }

    /// Forgets its groups that are not `named`.
    pub(crate) fn keep_groups(&mut self, named: impl Fn(u32) -> bool) {
        match self {
            Self::Process(peer) => peer.keep_groups(named),
        }
    }

    /// Checks that it is still the caller that was judged. Before every release.
    ///
    /// # Errors
    /// [`Changed`] if it is not; the connection is then of no further use.
    pub(crate) fn confirm(&self) -> Result<(), Changed> {
        match self {
            Self::Process(peer) => peer.confirm(),
        }
    }
}
