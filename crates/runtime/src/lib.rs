//! Services that every part of claviger uses.
//!
//! Owns the clocks ([`clock`]), single flights ([`flight`]), the shutdown signal and the tasks that must finish before exit ([`shutdown`]), and the setup of
//! logging ([`telemetry`]). Independent of secrets, peers and issuers; every other crate may use it.
//!
//! Waiting uses tokio's timer, and time is an argument: production passes `SystemClock`, tests `SteppedClock`. Next: [`clock`].

#![forbid(unsafe_code)]

pub mod clock;
pub mod flight;
pub mod reason;
pub mod shutdown;
pub mod telemetry;
