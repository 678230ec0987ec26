//! One connection's peer, and what it may do.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::audit::Recorder;
use crate::broker::budget::Budget;
use crate::broker::{Broker, Caller, Error, World};
use crate::peer::Facts;
use crate::policy::Rights;
use claviger_runtime::clock::Moment;

/// An identified peer on one connection. Only [`Broker::session`] makes one.
#[derive(Debug)]
pub struct Session {
    caller: Caller,
    budget: Arc<Budget>,
    recorder: Recorder,
    /// The peer's rights in the world that was in force when it last asked. Renewed after a reload.
    known: ArcSwapOption<Known>,
}

/// A world, and what this peer may do in it. For the length of one request.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) world: Arc<World>,
    pub(crate) rights: Arc<Rights>,
}

/// A peer's rights, and which world they are of. By its number: a connection that says nothing for minutes must not keep the
/// secrets and tokens of a world that was replaced.
#[derive(Debug)]
struct Known {
    generation: u64,
    rights: Arc<Rights>,
}

impl Broker {
    /// Begins a session for the other end of a new connection. Of its groups those are kept that a rule names now.
    pub fn session(&self, mut caller: Caller) -> Session {
        let world = self.world();
        caller.keep_groups(|group| world.policy.names_group(group));
        let budget = self.budgets.of(caller.facts(), self.clock.now());
        Session {
            recorder: Recorder::new(Arc::clone(&budget.trail)),
            caller,
            budget,
            known: ArcSwapOption::empty(),
        }
    }
}

impl Session {
    /// What is known of the peer.
    pub fn facts(&self) -> &Facts {
        self.caller.facts()
    }

    /// Whether any rule in force selects the peer.
    pub fn is_selected(&self, broker: &Broker) -> bool {
        self.view(broker).rights.is_selected()
    }

    /// Checks that the peer is still alive, still the same user and still in the same cgroup. Before every release.
    ///
    /// # Errors
    /// [`Error::PeerChanged`] if it is not; the connection is then of no further use.
    pub(crate) fn confirm(&self) -> Result<(), Error> {
        self.caller.confirm().map_err(Error::PeerChanged)
    }

    /// Spends the peer's budget by one request, or says how long to wait.
    pub(crate) fn spend(&self, now: Moment) -> Result<(), Duration> {
        self.budget.requests.take(now)
    }

    /// What is recorded of the peer.
    pub(crate) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// The rights in the world in force.
    pub(crate) fn view(&self, broker: &Broker) -> View {
        let world = broker.world();
        if let Some(known) = &*self.known.load()
            && known.generation == world.generation
        {
            let rights = Arc::clone(&known.rights);
            return View { world, rights };
        }
        let rights = Arc::new(world.policy.rights(self.caller.facts()));
        let known = Known {
            generation: world.generation,
            rights: Arc::clone(&rights),
        };
        self.known.store(Some(Arc::new(known)));
        View { world, rights }
    }
}
