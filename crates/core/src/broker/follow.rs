//! Following a token or a secret, release by release.
//!
//! Owns what must hold for each message of a watch, because each is a release: the rules that permitted the watch are in
//! force, and the peer is who it was. A watch ends with its configuration, and a caller that may still follow begins another
//! one. The caches know when there is something newer (`tokens::Watch`, `secrets::Watcher`); this decides whether to tell.

use std::sync::Arc;

use crate::broker::session::View;
use crate::broker::{Broker, Error, Session};
use crate::policy::Action;
use crate::secrets::{self, Reading};
use crate::tokens::{self, Answer};

/// A peer that follows something. Made by [`Broker::watch_token`] and [`Broker::watch_secret`].
#[derive(Debug)]
pub struct Following<W> {
    broker: Arc<Broker>,
    session: Arc<Session>,
    /// The world whose rules permitted it. By its number: a peer that takes no answers must not keep that world.
    generation: u64,
    what: (Action, String),
    watch: W,
}

impl<W> Following<W> {
    pub(super) fn new(
        (broker, session): (&Arc<Broker>, &Arc<Session>),
        view: &View,
        what: (Action, &str),
        watch: W,
    ) -> Self {
        Self {
            broker: Arc::clone(broker),
            session: Arc::clone(session),
            generation: view.world.generation,
            what: (what.0, what.1.to_owned()),
            watch,
        }
    }

    /// Decides about the release of what the watch brought.
    fn release<T>(&self, brought: Result<T, Error>, over: Error) -> Result<T, Error> {
        let in_force = self.broker.is_in_force(self.generation);
        let outcome = match brought {
            Ok(_) if !in_force => Err(over),
            Ok(value) => self.session.confirm().map(|()| value),
            Err(error) => Err(error),
        };
        match outcome {
            Err(error) if error.is_denial() => {
                let (action, name) = &self.what;
                self.broker.record(&self.session, *action, name, Err(error))
            }
            other => other,
        }
    }
}

impl Following<tokens::Watch> {
    /// The current token, at first; then waits for each newer one. Safe to cancel.
    ///
    /// # Errors
    /// Why there is nothing to release. [`tokens::Error::Stopping`] if the configuration was replaced or the daemon ends.
    pub async fn next(&mut self) -> Result<Answer, Error> {
        let brought = self.watch.next().await;
        self.release(brought.map_err(Error::from), tokens::Error::Stopping.into())
    }
}

impl Following<secrets::Watcher> {
    /// The current value, at first; then waits for each newer version. Safe to cancel.
    ///
    /// # Errors
    /// Why there is nothing to release. [`secrets::Error::Stopping`] if the configuration was replaced or the daemon ends.
    pub async fn next(&mut self) -> Result<Reading, Error> {
        let brought = self.watch.next().await;
        self.release(
            brought.map_err(Error::from),
            secrets::Error::Stopping.into(),
        )
    }
}
