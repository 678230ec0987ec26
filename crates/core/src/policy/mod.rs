//! What a peer may do.
//!
//! Owns the rules and the one function that decides by them. Pure: does no I/O, asks no clock, has no async. Nothing is
//! allowed unless a rule says so, and no rule can take away what another gives. A [`Permit`] can be made here only, and the
//! caches accept nothing else, so a forgotten check does not compile. The rules that select a peer are found once per
//! connection ([`Policy::rights`]), with their permits made in advance; a request then costs one lookup and no allocation,
//! however many rules there are.
//!
//! Next: `broker` asks [`Rights::permit`]; `Admin.Explain` asks [`Policy::explain`].

mod explain;
mod permit;
mod rights;
mod rule;
mod selector;
#[cfg(test)]
mod tests;

pub(crate) use explain::near_miss;
pub use explain::{Explanation, RuleVerdict};
pub use permit::Permit;
pub use rights::{Denial, Policy, Rights};
pub use rule::{Action, Rule, ScopeLimit};
pub use selector::{Mismatch, Selector};
