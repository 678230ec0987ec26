//! Any text yields a list of challenges of limited length, with texts of limited length.
#![no_main]

use claviger_oauth_wire::challenge::parse;
use libfuzzer_sys::fuzz_target;

/// The limit on the bytes of a header that are read, and on its challenges.
const MOST: (usize, usize) = (8 * 1024, 16);

fuzz_target!(|header: &str| {
    let challenges = parse(header);
    assert!(challenges.len() <= MOST.1);
    for challenge in &challenges {
        assert!(!challenge.scheme.is_empty() && challenge.scheme.len() <= MOST.0);
        assert!(
            !challenge
                .scheme
                .bytes()
                .any(|byte| byte.is_ascii_uppercase())
        );
        let resource = challenge.resource_metadata.as_deref().unwrap_or_default();
        assert!(resource.len() <= MOST.0);
        let _either_way = (challenge.wants_more_scope(), challenge.wants_another_login());
    }
    // Bytes beyond the limit are ignored.
    let end = header.floor_char_boundary(MOST.0);
    assert_eq!(parse(&header[..end]), challenges);
});
