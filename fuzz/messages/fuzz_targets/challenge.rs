//! Any text is a bounded list of challenges, whose texts are bounded too.
#![no_main]

use claviger_oauth_wire::challenge::parse;
use libfuzzer_sys::fuzz_target;

/// The longest header that is read, and the most challenges of it.
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
    // What is behind the bound does not count.
    let end = header.floor_char_boundary(MOST.0);
    assert_eq!(parse(&header[..end]), challenges);
});
