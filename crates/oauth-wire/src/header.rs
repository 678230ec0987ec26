//! The few response headers that matter, apart from challenges.
//!
//! Owns `Retry-After` and `Date`. The time is an argument, as everywhere.

use std::time::{Duration, UNIX_EPOCH};

/// The longest wait that an issuer can demand. Issuers that lock clients out for asking too early want minutes.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(10);

/// `Retry-After` (RFC 9110 §10.2.3) in both forms: how long to wait from `now` (time since the Unix epoch), at most
/// [`LONGEST_RETRY_AFTER`].
#[must_use]
pub fn retry_after(text: &str, now: Duration) -> Option<Duration> {
    let text = text.trim_ascii();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let wait = if digits {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        date(text)?.saturating_sub(now)
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

/// `Date` (RFC 9110 §6.6.1): the time since the Unix epoch.
#[must_use]
pub fn date(text: &str) -> Option<Duration> {
    let time = httpdate::parse_http_date(text.trim_ascii()).ok()?;
    time.duration_since(UNIX_EPOCH).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::from_secs(784_111_777);

    #[test]
    fn both_forms_are_capped() {
        for (text, seconds) in [
            ("0", Some(0)),
            ("7", Some(7)),
            (" 601 ", Some(600)),
            ("99999999999999999999999999", Some(600)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:57 GMT", Some(20)),
            ("Sun, 06 Nov 1994 08:49:17 GMT", Some(0)),
            ("Sat, 06 Nov 2094 08:49:37 GMT", Some(600)),
            ("Sunday, 06-Nov-94 08:49:47 GMT", Some(10)),
            ("Sun Nov  6 08:49:47 1994", Some(10)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            let wait = retry_after(text, NOW);
            assert_eq!(wait.map(|wait| wait.as_secs()), seconds, "{text:?}");
        }
        assert_eq!(date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(NOW));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}", almost in "[A-Za-z0-9:, -]{0,40}") {
            let _outcome = (retry_after(&text, NOW), date(&almost));
        }
    }
}
