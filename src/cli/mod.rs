//! The command line.
//!
//! Owns the subcommands of `claviger`, one module each. Never decides anything that the daemon decides.

pub mod file;
