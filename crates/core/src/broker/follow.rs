//! Following a token or a secret, release by release.
//!
//! Owns what must hold for each message of a watch, because each is a release of its own: the rules that permitted the watch
//! are in force, the peer is the process that connected, and the message is recorded. A watch ends with its configuration,
//! and a caller that may still follow begins another one. The caches know when there is something newer (`tokens::Watch`,
//! `secrets::Watcher`); the broker's release path decides whether the caller gets it.

use std::sync::Arc;

use crate::audit::{Operation, Released};
use crate::broker::ask::{Ask, Permitted, Subject};
use crate::broker::session::View;
use crate::broker::{Broker, Error, Session, World};
use crate::secrets::{self, Reading};
use crate::tokens::{self, Answer};

/// A peer that follows something. Made by [`Broker::watch_token`] and [`Broker::watch_secret`].
#[derive(Debug)]
pub struct Following<W> {
    broker: Arc<Broker>,
    session: Arc<Session>,
    name: String,
    begun: Begun<W>,
}

/// A watch, and what permitted it.
#[derive(Debug)]
pub(super) struct Begun<W> {
    pub(super) watch: W,
    /// The world in which it began. By its number: a peer that takes no answers must not keep that world.
    pub(super) world: u64,
    /// The rule of that world.
    pub(super) rule: u32,
}

impl<W> Following<W> {
    pub(super) fn new(
        broker: &Arc<Broker>,
        session: &Arc<Session>,
        name: &str,
        begun: Begun<W>,
    ) -> Self {
        Self {
            broker: Arc::clone(broker),
            session: Arc::clone(session),
            name: name.to_owned(),
            begun,
        }
    }

    /// Decides about the release of what the watch brought.
    async fn release<M: Message>(&self, brought: M) -> Result<Released<M::Value>, Error> {
        let mut ask = Next {
            name: &self.name,
            world: self.begun.world,
            rule: self.begun.rule,
            brought: Some(brought),
        };
        self.broker.release(&self.session, &mut ask).await
    }
}

impl Following<tokens::Watch> {
    /// The current token, at first; then waits for each newer one. Safe to cancel.
    ///
    /// # Errors
    /// Why there is nothing to release. [`tokens::Error::Stopping`] if the configuration was replaced or the daemon ends.
    pub async fn next(&mut self) -> Result<Released<Answer>, Error> {
        match self.begun.watch.next().await {
            // The end of a watch releases nothing, so it is not recorded.
            Err(tokens::Error::Stopping) => Err(tokens::Error::Stopping.into()),
            brought => self.release(brought).await,
        }
    }
}

impl Following<secrets::Watcher> {
    /// The current value, at first; then waits for each newer version. Safe to cancel.
    ///
    /// # Errors
    /// Why there is nothing to release. [`secrets::Error::Stopping`] if the configuration was replaced or the daemon ends.
    pub async fn next(&mut self) -> Result<Released<Reading>, Error> {
        match self.begun.watch.next().await {
            // The end of a watch releases nothing, so it is not recorded.
            Err(secrets::Error::Stopping) => Err(secrets::Error::Stopping.into()),
            brought => self.release(brought).await,
        }
    }
}

/// What a watch brings.
trait Message: Send {
    /// The value that it brings.
    type Value: Send;
    /// The operation that began the watch.
    const OPERATION: Operation;

    /// The error with which a watch ends when its configuration is replaced.
    fn over() -> Error;

    /// The value, or why there is none.
    fn value(self) -> Result<Self::Value, Error>;

    /// The generation of a value.
    fn generation(value: &Self::Value) -> u64;
}

impl Message for Result<Answer, tokens::Error> {
    type Value = Answer;
    const OPERATION: Operation = Operation::WatchToken;

    fn over() -> Error {
        tokens::Error::Stopping.into()
    }

    fn value(self) -> Result<Answer, Error> {
        Ok(self?)
    }

    fn generation(answer: &Answer) -> u64 {
        answer.token.generation()
    }
}

impl Message for Result<Reading, secrets::Error> {
    type Value = Reading;
    const OPERATION: Operation = Operation::WatchSecret;

    fn over() -> Error {
        secrets::Error::Stopping.into()
    }

    fn value(self) -> Result<Reading, Error> {
        Ok(self?)
    }

    fn generation(reading: &Reading) -> u64 {
        reading.version.generation
    }
}

/// The next message of a watch: permitted by the world in which the watch began, and by no other.
struct Next<'a, M> {
    name: &'a str,
    world: u64,
    rule: u32,
    brought: Option<M>,
}

impl<M: Message> Ask for Next<'_, M> {
    type Permit = ();
    type Answer = M::Value;

    fn subject(&self) -> Subject<'_> {
        Subject {
            operation: M::OPERATION,
            name: self.name,
        }
    }

    fn permit(&self, view: &View) -> Result<Permitted<()>, Error> {
        if self.world != view.world.generation {
            return Err(M::over());
        }
        Ok(Permitted {
            permit: (),
            rule: Some(self.rule),
        })
    }

    async fn act(&mut self, _world: &Arc<World>, _permit: &()) -> Result<M::Value, Error> {
        self.brought.take().ok_or_else(M::over)?.value()
    }

    fn generation(value: &M::Value) -> Option<u64> {
        Some(M::generation(value))
    }
}
