//! An address without dot segments has the path that its text shows.
//!
//! The reference is the `url` crate, which parses addresses like the transport.
#![no_main]

use claviger_oauth_wire::path::has_dot_segments;
use libfuzzer_sys::fuzz_target;
use url::Url;

fuzz_target!(|text: &str| {
    let _any_text = has_dot_segments(text);
    // The added text can only be path, query or fragment.
    let address = format!("https://a.example/{text}");
    let url = Url::parse(&address).expect("an address with a host");
    assert_eq!(url.host_str(), Some("a.example"));
    assert!(
        !has_dot_segments(url.as_str()),
        "the parser removes dot segments: {url}"
    );
    if !has_dot_segments(&address) {
        // The text and the parser agree on the number of segments.
        let written = address.split(['?', '#']).next().unwrap_or_default();
        let written = written.split(['/', '\\']).skip(3).count();
        assert_eq!(url.path().split('/').skip(1).count(), written, "{address:?}");
    }
});
