//! The engine against a scripted issuer, in paused time.

mod discovering;
mod obtaining;
mod revoking;
pub(crate) mod support;
mod verifying;
