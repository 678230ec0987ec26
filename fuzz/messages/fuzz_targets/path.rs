//! An address without dot segments means the place that its text shows.
//!
//! The judge is the `url` crate, which reads addresses as the transport does.
#![no_main]

use claviger_oauth_wire::path::has_dot_segments;
use libfuzzer_sys::fuzz_target;
use url::Url;

fuzz_target!(|text: &str| {
    let _any_text = has_dot_segments(text);
    // Whatever is added is path, query or fragment.
    let address = format!("https://a.example/{text}");
    let url = Url::parse(&address).expect("an address with a host");
    assert_eq!(url.host_str(), Some("a.example"));
    assert!(
        !has_dot_segments(url.as_str()),
        "a reader leaves none: {url}"
    );
    if !has_dot_segments(&address) {
        // What ends the path is told by the text as by the reader: none of its segments is gone.
        let written = address.split(['?', '#']).next().unwrap_or_default();
        let written = written.split(['/', '\\']).skip(3).count();
        assert_eq!(url.path().split('/').skip(1).count(), written, "{address:?}");
    }
});
