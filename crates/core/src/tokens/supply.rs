//! A token's definition with its entries.
//!
//! Owns the map from asks to entries. The ask of the definition itself is found without a lock; all others share one bounded
//! map. Every other part of a token's identity (issuer, client, grant, resource, audience, environment) belongs to the
//! definition and is not part of a key. Entries outlive a reload that changes none of it.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};

use crate::policy::Reach;
use crate::tokens::entry::Entry;
use crate::tokens::scope::{Effective, effective};
use crate::tokens::source::Ask;
use crate::tokens::{Definition, Error};

/// A definition with its entries.
#[derive(Debug)]
pub(super) struct Supply {
    pub(super) definition: Definition,
    /// Counts the tokens of this definition since the daemon started.
    pub(super) generations: Arc<AtomicU64>,
    entries: Arc<Entries>,
}

#[derive(Debug)]
struct Entries {
    /// The entry of the definition's own scopes.
    own: Arc<Entry>,
    others: RwLock<HashMap<Ask, Arc<Entry>>>,
}

impl Supply {
    /// A definition with the entries of `previous`, if it is the same, or with none.
    pub(super) fn new(definition: Definition, previous: Option<&Self>) -> Self {
        let previous = previous.filter(|previous| {
            let before = &previous.definition;
            before.identity == definition.identity && before.scopes == definition.scopes
        });
        let (generations, entries) = match previous {
            Some(previous) => (
                Arc::clone(&previous.generations),
                Arc::clone(&previous.entries),
            ),
            None => (
                Arc::new(AtomicU64::new(0)),
                Arc::new(Entries {
                    own: Arc::new(Entry::new(Ask::client(definition.scopes.clone()))),
                    others: RwLock::default(),
                }),
            ),
        };
        Self {
            definition,
            generations,
            entries,
        }
    }

    /// The entry that answers a request, if there is one already.
    ///
    /// # Errors
    /// [`Error::Scopes`] if the definition and the rule leave no scopes for the request.
    pub(super) fn find(&self, reach: &Reach) -> Result<Option<Arc<Entry>>, Error> {
        Ok(match self.effective(reach)? {
            Effective::Definition => Some(Arc::clone(&self.entries.own)),
            Effective::Other(scopes) => self
                .others()
                .get(&Ask::client(scopes.into_owned()))
                .map(Arc::clone),
        })
    }

    /// The entry that answers a request; `None` if there is none yet, with the scopes it would have.
    pub(super) fn effective<'a>(&self, reach: &'a Reach) -> Result<Effective<'a>, Error> {
        effective(&self.definition.scopes, reach.requested(), reach.limit())
    }

    /// The entry of `ask`, made if there is none.
    pub(super) fn make(&self, ask: Ask) -> Arc<Entry> {
        let mut others = self.entries.others.write();
        let others = others
            .as_mut()
            .unwrap_or_else(|poisoned| poisoned.get_mut());
        let entry = others
            .entry(ask.clone())
            .or_insert_with(|| Arc::new(Entry::new(ask)));
        Arc::clone(entry)
    }

    /// Removes the entry of `ask`, unless it is the definition's own.
    pub(super) fn remove(&self, ask: &Ask) {
        let mut others = self.entries.others.write();
        let others = others
            .as_mut()
            .unwrap_or_else(|poisoned| poisoned.get_mut());
        others.remove(ask);
    }

    /// How many entries there are besides the definition's own.
    pub(super) fn len(&self) -> usize {
        self.others().len()
    }

    /// All entries, the definition's own first.
    pub(super) fn entries(&self) -> Vec<Arc<Entry>> {
        let mut entries = vec![Arc::clone(&self.entries.own)];
        entries.extend(self.others().values().map(Arc::clone));
        entries
    }

    fn others(&self) -> std::sync::RwLockReadGuard<'_, HashMap<Ask, Arc<Entry>>> {
        self.entries
            .others
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
