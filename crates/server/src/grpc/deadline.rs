//! How long a caller waits.

use std::time::Duration;

use http::HeaderMap;

/// The time that a caller gives its request by `grpc-timeout` (the gRPC protocol over HTTP/2, "Timeout"), at most `limit`.
///
/// A header that is not one counts as absent: the caller enforces its own deadline anyway.
pub(crate) fn of(headers: &HeaderMap, limit: Duration) -> Duration {
    let asked = headers
        .get("grpc-timeout")
        .and_then(|value| parse(value.to_str().ok()?));
    asked.unwrap_or(limit).min(limit)
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count.saturating_mul(3600)),
        "M" => Duration::from_secs(count.saturating_mul(60)),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_read_and_bounded() {
        let limit = Duration::from_secs(5);
        for (text, expected) in [
            ("1S", Duration::from_secs(1)),
            ("250m", Duration::from_millis(250)),
            ("99999999H", limit),
            ("7u", Duration::from_micros(7)),
            ("7n", Duration::from_nanos(7)),
            ("1M", limit),
            ("", limit),
            ("S", limit),
            ("-1S", limit),
            ("123456789S", limit),
            ("1", limit),
            ("1x", limit),
        ] {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-timeout"),
                http::HeaderValue::from_str(text).unwrap(),
            )]);
            assert_eq!(of(&headers, limit), expected, "{text:?}");
        }
        assert_eq!(of(&HeaderMap::new(), limit), limit);
    }
}
