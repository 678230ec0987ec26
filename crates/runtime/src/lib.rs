//! What every part of claviger runs on.
//!
//! Owns time ([`clock`]), the order to stop and what must still finish ([`shutdown`]), and the plumbing of the log
//! ([`telemetry`]). Knows nothing of secrets, peers or issuers; every other crate may use it.
//!
//! Waiting is tokio's, time is an argument: production passes `SystemClock`, tests `SteppedClock`. Next: [`clock`].

#![forbid(unsafe_code)]

pub mod clock;
pub mod reason;
pub mod shutdown;
pub mod telemetry;
