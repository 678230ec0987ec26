//! Log plumbing.

/// How much the daemon logs, and in which form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The most detailed level that is written: `error`, `warn`, `info`, `debug` or `trace`.
    pub level: tracing::Level,
    /// Whether records are JSON lines; else text.
    pub json: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            level: tracing::Level::INFO,
            json: false,
        }
    }
}
