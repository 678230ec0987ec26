//! Any text yields a limited wait and a date, or neither.
#![no_main]

use std::time::Duration;

use claviger_oauth_wire::header::{LONGEST_RETRY_AFTER, date, retry_after};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u64, &str)| {
    let (now, text) = input;
    let wait = retry_after(text, Duration::from_secs(now));
    assert!(wait.is_none_or(|wait| wait <= LONGEST_RETRY_AFTER));
    if let Some(date) = date(text) {
        // A date in the past means no wait.
        assert_eq!(retry_after(text, date), Some(Duration::ZERO));
        assert_eq!(retry_after(text, Duration::MAX), Some(Duration::ZERO));
    }
});
