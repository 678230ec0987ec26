//! The engine against a scripted issuer in paused time, and against real servers (`transport`).

mod changing;
mod connecting;
mod discovering;
mod obtaining;
mod revoking;
pub(crate) mod support;
mod transport;
mod verifying;
