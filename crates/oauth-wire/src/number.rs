//! Numbers and times as issuers write them.
//!
//! Owns [`Number`], which takes what is found in the field: integers, strings of them, floats, negative and absurdly large
//! ones; and the reading of RFC 3339 times. Everything saturates, nothing is rounded up.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A number from outside, floored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// Less than zero.
    Negative,
    /// Zero or more; what is larger than `u64::MAX` is `u64::MAX`.
    Whole(u64),
}

impl Number {
    /// The number; zero if it is negative.
    pub(super) fn or_zero(self) -> u64 {
        match self {
            Self::Negative => 0,
            Self::Whole(value) => value,
        }
    }

    /// Reads decimal notation with optional sign, fraction and exponent, and white space around it.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let text = text.trim_ascii();
        if text.is_empty() || text.len() > 64 {
            return None;
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(Self::Whole(text.parse().unwrap_or(u64::MAX)));
        }
        let plain = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
        if !text.bytes().all(plain) {
            return None;
        }
        text.parse::<f64>().ok().map(Self::from_float)
    }

    pub(super) fn from_float(value: f64) -> Self {
        if value < 0.0 {
            return Self::Negative;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "flooring and saturating are intended, and negative values are handled above"
        )]
        Self::Whole(value as u64)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_u64<E>(self, value: u64) -> Result<Number, E> {
                Ok(Number::Whole(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Number, E> {
                Ok(u64::try_from(value).map_or(Number::Negative, Number::Whole))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Number, E> {
                Ok(Number::from_float(value))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Number, E> {
                Number::from_text(text).ok_or_else(|| E::custom("not a number"))
            }
        }
        deserializer
            .deserialize_any(Any)
            .map_err(|_any| D::Error::custom("not a number"))
    }
}

/// Reads an RFC 3339 time: the time since the Unix epoch, zero for times before it.
pub(super) fn rfc3339(text: &str) -> Option<Duration> {
    // RFC 3339 §5.6 allows a space between date and time.
    let text = text.trim_ascii().replacen(' ', "T", 1);
    let time = OffsetDateTime::parse(&text, &Rfc3339).ok()?;
    let seconds = u64::try_from(time.unix_timestamp()).unwrap_or(0);
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_of_every_spelling() {
        use Number::{Negative, Whole};
        for (text, number) in [
            ("0", Some(Whole(0))),
            ("3599", Some(Whole(3599))),
            (" 3600\n", Some(Whole(3600))),
            ("+60", Some(Whole(60))),
            ("59.99", Some(Whole(59))),
            ("3.6e3", Some(Whole(3600))),
            ("1e999", Some(Whole(u64::MAX))),
            ("18446744073709551615", Some(Whole(u64::MAX))),
            ("99999999999999999999999", Some(Whole(u64::MAX))),
            ("-1", Some(Negative)),
            ("-0.5", Some(Negative)),
            ("-0", Some(Whole(0))),
            ("", None),
            ("  ", None),
            ("NaN", None),
            ("inf", None),
            ("0x10", None),
            ("1h", None),
            ("1 000", None),
            (".", None),
            ("e", None),
            (&"9".repeat(65), None),
        ] {
            assert_eq!(Number::from_text(text), number, "{text:?}");
        }
    }

    #[test]
    fn times_of_rfc3339() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1969-12-31T23:59:59Z", Some(0)),
            ("2000-02-29T12:30:15Z", Some(951_827_415)),
            ("2026-01-01T00:00:00Z", Some(1_767_225_600)),
            ("2026-01-01t02:00:00.123+02:00", Some(1_767_225_600)),
            ("2025-12-31 19:00:00-05:00", Some(1_767_225_600)),
            ("2026-12-31T23:59:60Z", Some(1_798_761_599)),
            ("9999-12-31T23:59:59Z", Some(253_402_300_799)),
            ("2026-13-01T00:00:00Z", None),
            ("2026-00-01T00:00:00Z", None),
            ("2026-01-01T24:00:00Z", None),
            ("2026-01-01T00:00:00", None),
            ("2026-01-01T00:00Z", None),
            ("2026-01-01", None),
            ("2026-01-01T00:00:00.Z", None),
            ("26-01-01T00:00:00Z", None),
            ("2026-01-01T00:00:00+2", None),
            ("tomorrow", None),
            ("", None),
        ] {
            assert_eq!(rfc3339(text).map(|t| t.as_secs()), seconds, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,70}", almost in "[0-9TtZz:. +-]{0,40}") {
            for text in [text, almost] {
                let _number = Number::from_text(&text);
                let _time = rfc3339(&text);
            }
        }
    }
}
