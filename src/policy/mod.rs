//! What a peer may do.
//!
//! Owns the rules and the one function that decides by them. Pure: does no I/O, asks no clock, has no async. Nothing is
//! allowed unless a rule says so. A [`Permit`] can be made here only, and the caches accept nothing else, so a forgotten
//! check does not compile. The rules that select a peer are found once per connection ([`Policy::rights`]); a request then
//! costs one lookup, however many rules there are.
//!
//! Next: `broker` asks [`Rights::permit`]; `Admin.Explain` asks [`Policy::explain`].

mod explain;
mod rights;
mod rule;

pub use explain::{Explanation, RuleVerdict};
pub use rights::{Denial, Permit, Policy, Rights};
pub use rule::{Action, Rule, ScopeLimit, Selector};
