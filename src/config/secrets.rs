//! The sections `[refresh]` and `[secrets.NAME]`: which values are kept live, and how often they are refreshed.
//!
//! Owns the bounds of freshness. A value is fetched again after `refresh`, and served without confirmation for at most
//! `max_stale`, which is never longer than a day.

use std::sync::Arc;
use std::time::Duration;

use claviger_backend::SecretRef;

use crate::config::duration::Written;
use crate::config::reader::Section;
use crate::config::values::reference;
use crate::config::{Context, names};
use claviger_core::secrets::slowest_refresh;

const SHORTEST_REFRESH: Duration = Duration::from_secs(5);
const LONGEST_REFRESH: Duration = Duration::from_hours(12);
const LONGEST_STALE: Duration = Duration::from_hours(24);

/// The default bound: how many missed refreshes a value is served for.
const STALE_REFRESHES: u32 = 5;

/// How often a value is refreshed, and how long it is served without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refresh {
    /// The time between two fetches.
    pub(crate) interval: Duration,
    /// How long it is served without being confirmed by its backend.
    pub(crate) max_stale: Duration,
}

impl Refresh {
    /// Every `interval`, stale after five of them or a day.
    fn every(interval: Duration) -> Self {
        Self {
            interval,
            max_stale: interval.saturating_mul(STALE_REFRESHES).min(LONGEST_STALE),
        }
    }
}

impl Default for Refresh {
    /// Every hour.
    fn default() -> Self {
        Self::every(Duration::from_hours(1))
    }
}

/// A secret that programs may request by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedSecret {
    /// Its name in the configuration.
    pub(crate) name: Arc<str>,
    /// Where its value is.
    pub(crate) reference: SecretRef,
    /// How often it is refreshed.
    pub(crate) refresh: Refresh,
}

/// Reads `[refresh]`, the defaults of every secret.
pub(super) fn read_defaults(root: &Section<'_>) -> Refresh {
    root.table("refresh", |section| {
        freshness(section, "interval", Refresh::default())
    })
    .unwrap_or_default()
}

/// Reads every `[secrets.NAME]`.
pub(super) fn read(
    context: &Context<'_>,
    root: &Section<'_>,
    defaults: Refresh,
) -> Vec<NamedSecret> {
    root.named("secrets", |name, section| {
        let name = names::checked(name, section);
        let reference = section
            .required_text("reference", "a reference backend:path#field")
            .and_then(|found| reference(context, &found));
        let refresh = freshness(section, "refresh", defaults);
        Some(NamedSecret {
            name: name?,
            reference: reference?,
            refresh,
        })
    })
}

/// Reads an interval and its `max_stale`.
fn freshness(section: &Section<'_>, interval_key: &'static str, defaults: Refresh) -> Refresh {
    let given = section.duration(interval_key, SHORTEST_REFRESH..=LONGEST_REFRESH);
    let stale = section.duration("max_stale", SHORTEST_REFRESH..=LONGEST_STALE);
    let mut refresh = given.map_or(defaults, Refresh::every);
    if let Some(max_stale) = stale {
        refresh.max_stale = max_stale;
        let slowest = slowest_refresh(refresh.interval);
        if max_stale < slowest {
            let place = section.place_at("max_stale");
            let message = format!(
                "shorter than the time until the next refresh can be: the value would be refused in between; give at least {}",
                Written(slowest)
            );
            section.report.problem(&place, message);
        }
    }
    refresh
}
