//! Live secrets in memory.
//!
//! Owns the versions of every secret that the configuration refers to.

mod live;

pub use live::{Live, Missing, Version};
