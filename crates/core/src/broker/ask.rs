//! What can be asked of the broker.
//!
//! Owns [`Ask`], by which the one release path serves requests that need different permits: the type of a request says under
//! which operation and name it is recorded, how policy permits it, and what it does with the permit. Each room's requests
//! stand beside the functions that take them: `token`, `secret`, `follow`, `operators`.

use std::future::Future;
use std::sync::Arc;

use crate::audit::Operation;
use crate::broker::session::View;
use crate::broker::{Error, World};

/// One request, as the release path sees it.
pub(super) trait Ask: Send {
    /// The proof that the peer may.
    type Permit: Send + Sync;
    /// What it is answered with.
    type Answer: Send;

    /// What the request is about.
    fn subject(&self) -> Subject<'_>;

    /// Asks the policy of `view`.
    ///
    /// # Errors
    /// The denial.
    fn permit(&self, view: &View) -> Result<Permitted<Self::Permit>, Error>;

    /// Makes the answer. Called again if a reload replaced `world` meanwhile, unless the operation changes something.
    ///
    /// # Errors
    /// Why there is none.
    fn act(
        &mut self,
        world: &Arc<World>,
        permit: &Self::Permit,
    ) -> impl Future<Output = Result<Self::Answer, Error>> + Send;

    /// The generation of the credential in an answer; `None` if it holds none.
    fn generation(_answer: &Self::Answer) -> Option<u64> {
        None
    }
}

/// What a request is about, for the record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) operation: Operation,
    pub(super) name: &'a str,
}

/// A permit, and the rule behind it, if it took one.
#[derive(Debug)]
pub(super) struct Permitted<P> {
    pub(super) permit: P,
    pub(super) rule: Option<u32>,
}
