//! The section `[log]`.

use tracing::Level;

use crate::config::reader::Section;
use crate::telemetry::Settings;

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
