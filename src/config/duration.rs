//! Durations as people write them: `500ms`, `30s`, `15m`, `24h`, `90d`.
//!
//! Owns the parser and the printer of the one form that the file takes: a whole number and one unit. Pure and total. A day
//! has 24 hours; there are no calendars here.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The units with their length in milliseconds, the longest first.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Why a text is not an acceptable duration. Never repeats the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidDuration {
    /// It is not a number with a unit.
    #[error("expected a whole number with one unit, such as 500ms, 30s, 15m, 24h or 90d")]
    Form,
    /// It is too short or too long.
    #[error("must be between {} and {}", Written(*.0.start()), Written(*.0.end()))]
    Bounds(RangeInclusive<Duration>),
}

/// Parses a duration, which must be within `range`.
pub(super) fn parse(
    text: &str,
    range: &RangeInclusive<Duration>,
) -> Result<Duration, InvalidDuration> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
    let unit = text.strip_prefix(digits).unwrap_or_default();
    let (_, milliseconds) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or(InvalidDuration::Form)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidDuration::Form);
    }
    // A text of digits can only be too large.
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*milliseconds))
        .map(Duration::from_millis)
        .filter(|duration| range.contains(duration))
        .ok_or_else(|| InvalidDuration::Bounds(range.clone()))
}

/// A duration in the form that [`parse`] takes, cut to whole milliseconds.
pub(super) struct Written(pub Duration);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let unit = UNITS
            .iter()
            .find(|(_, length)| total >= *length && total.is_multiple_of(*length));
        match unit {
            Some((name, length)) => write!(f, "{}{name}", total.checked_div(*length).unwrap_or(0)),
            None => write!(f, "{total}ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANY: RangeInclusive<Duration> = Duration::ZERO..=Duration::MAX;

    #[test]
    fn the_five_units_are_read() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("15m", 900_000),
            ("24h", 86_400_000),
            ("90d", 7_776_000_000),
            ("0s", 0),
            ("007s", 7_000),
        ] {
            assert_eq!(
                parse(text, &ANY),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "", "s", "30", "30 s", " 30s", "30s ", "-1s", "+1s", "1.5h", "1h30m", "30S", "1w",
            "1_0s", "٣s", "30µs", "1e3s",
        ] {
            assert_eq!(parse(text, &ANY), Err(InvalidDuration::Form), "{text:?}");
        }
    }

    #[test]
    fn bounds_are_kept_and_said() {
        let range = Duration::from_millis(1500)..=Duration::from_hours(24);
        for text in [
            "1s",
            "1499ms",
            "25h",
            "2d",
            "99999999999999999999999d",
            "18446744073709551615d",
        ] {
            let error = parse(text, &range).unwrap_err();
            assert_eq!(error.to_string(), "must be between 1500ms and 1d", "{text}");
        }
        assert!(parse("1500ms", &range).is_ok() && parse("24h", &range).is_ok());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(milliseconds in 0..u64::MAX / 2) {
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse(&Written(duration).to_string(), &ANY), Ok(duration));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,20}") {
            let answer = parse(&text, &ANY);
            prop_assert!(answer.is_ok() || answer == Err(InvalidDuration::Form) || text.len() > 8);
        }
    }
}
