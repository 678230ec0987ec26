//! Replacing credentials at their source.
//!
//! Owns the placing of a new value in a backend ([`place()`]), which no reader sees half done, and the mark that a version of a
//! secret must be replaced at its issuer now ([`Mark`]). The mark lies in the control document of the secret, so every node
//! sees the same one, and stands for exactly one version: it means nothing as soon as another is current. Knows the traits of
//! a backend and nothing else of it. `import` places and marks, and `claviger check` shows the marks; the schedule and the
//! state machine that rotate by themselves are to come, and begin with what is marked.

mod control;
mod place;

pub use control::{Mark, Reason, Unmarked, find, set};
pub use place::{Change, PlaceError, Placement, Target, place};
