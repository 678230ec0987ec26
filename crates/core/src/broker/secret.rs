//! Requests about secrets. None contacts a backend: they read what the schedule of `secrets` fetched.

use std::sync::Arc;

use crate::audit::{Operation, Released};
use crate::broker::ask::{Ask, Permitted, Subject};
use crate::broker::follow::{Begun, Following};
use crate::broker::session::View;
use crate::broker::{Broker, Error, Session, World};
use crate::policy::SecretPermit;
use crate::secrets::{self, Reading};

impl Broker {
    /// Gives a peer a secret's value.
    ///
    /// # Errors
    /// If policy denies it, no value is within its bounds, or the peer is not the process that connected.
    pub async fn secret(&self, session: &Session, name: &str) -> Result<Released<Reading>, Error> {
        let mut ask = GetSecret { broker: self, name };
        self.release(session, &mut ask).await
    }

    /// Follows a secret: yields the current version, then each newer one.
    ///
    /// # Errors
    /// If policy denies it.
    pub async fn watch_secret(
        self: &Arc<Self>,
        session: &Arc<Session>,
        name: &str,
    ) -> Result<Following<secrets::Watcher>, Error> {
        let begun = self.release(session, &mut WatchSecret(name)).await?;
        Ok(Following::new(self, session, name, begun.into_inner()))
    }
}

fn secret_permit(view: &View, name: &str) -> Result<Permitted<SecretPermit>, Error> {
    let permit = view.rights.secret(name)?;
    Ok(Permitted {
        rule: Some(permit.rule()),
        permit,
    })
}

struct GetSecret<'a> {
    broker: &'a Broker,
    name: &'a str,
}

impl Ask for GetSecret<'_> {
    type Permit = SecretPermit;
    type Answer = Reading;

    fn subject(&self) -> Subject<'_> {
        Subject {
            operation: Operation::GetSecret,
            name: self.name,
        }
    }

    fn permit(&self, view: &View) -> Result<Permitted<SecretPermit>, Error> {
        secret_permit(view, self.name)
    }

    async fn act(&mut self, world: &Arc<World>, permit: &SecretPermit) -> Result<Reading, Error> {
        Ok(world.secrets.read(permit, self.broker.clock.now())?)
    }

    fn generation(reading: &Reading) -> Option<u64> {
        Some(reading.version.generation)
    }
}

struct WatchSecret<'a>(&'a str);

impl Ask for WatchSecret<'_> {
    type Permit = SecretPermit;
    type Answer = Begun<secrets::Watcher>;

    fn subject(&self) -> Subject<'_> {
        Subject {
            operation: Operation::WatchSecret,
            name: self.0,
        }
    }

    fn permit(&self, view: &View) -> Result<Permitted<SecretPermit>, Error> {
        secret_permit(view, self.0)
    }

    async fn act(
        &mut self,
        world: &Arc<World>,
        permit: &SecretPermit,
    ) -> Result<Begun<secrets::Watcher>, Error> {
        Ok(Begun {
            watch: world.secrets.watch(permit)?,
            world: world.generation,
            rule: permit.rule(),
        })
    }
}
