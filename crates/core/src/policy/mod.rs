//! What a peer may do.
//!
//! Owns the rules and the one function that decides by them. Pure: does no I/O, asks no clock, has no async. Nothing is
//! allowed unless a rule says so, and no rule can take away what another gives. A permit can be made here only, and each cache
//! accepts nothing but a permit of its own type ([`TokenPermit`], [`RevokePermit`], [`SecretPermit`]), so a forgotten or wrong
//! check does not compile. The rules that select a peer are found once per connection (`Policy::rights`), with their permits
//! made in advance; a request then costs one lookup and no allocation, however many rules there are.
//!
//! Next: `broker` calls `Rights::token` and its siblings; `Admin.Explain` calls [`Policy::explain`].

mod explain;
mod permit;
mod rights;
mod rule;
mod selector;
#[cfg(test)]
mod tests;

pub(crate) use explain::near_miss;
pub use explain::{Allowed, Explanation, RuleVerdict};
pub use permit::{Reach, RevokePermit, SecretPermit, TokenPermit};
pub(crate) use rights::Rights;
pub use rights::{Denial, Policy};
pub use rule::{Action, Rule, ScopeLimit};
pub use selector::{Mismatch, Selector};
