//! The sockets.

mod settings;

pub use settings::{Limits, Settings};
