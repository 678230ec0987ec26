//! The section `[log]`: how much is logged, and in which form.
//!
//! Owns the names of the levels. The destination is not configurable: the daemon writes to its standard error, and the
//! service manager keeps the records.

use tracing::Level;

use crate::config::reader::Section;
use claviger_runtime::telemetry::Settings;

/// Reads `[log]`.
pub(super) fn read(section: &Section<'_>) -> Settings {
    let default = Settings::default();
    let levels = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    Settings {
        level: section.choice("level", &levels).unwrap_or(default.level),
        json: section.flag("json", default.json),
    }
}
