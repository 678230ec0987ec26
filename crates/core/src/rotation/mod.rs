//! Replacing credentials at their source.
//!
//! Owns the marks that a version of a secret must be replaced at its issuer now ([`Mark`]). A mark lies in the register of
//! the secret's own backend, so every node sees the same one, and stands for exactly one version: it means nothing as soon as
//! another is current. Never holds a value or anything computed from one. `import` sets marks and `claviger check` shows
//! them; the schedule and the state machine that rotate by themselves are to come, and begin with what is marked.

mod mark;

pub use mark::{Mark, Reason, Unmarked, find, set};
