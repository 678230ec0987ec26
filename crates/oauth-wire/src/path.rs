//! Paths of addresses.
//!
//! Owns the check whether a reader of an address would resolve it to another path than its text says.

/// Whether the path of `address` has a segment `.` or `..`, which a reader removes together with the segment before it
/// (RFC 3986 §5.2.4), so that the address means another place than it shows. The WHATWG URL standard removes more: segments
/// whose dots are written `%2e`, or that backslashes divide, or that have tabs and line breaks in them or controls and spaces
/// at the end of the address. What follows `?` or `#` is no path.
#[must_use]
pub fn has_dot_segments(address: &str) -> bool {
    let address = address.trim_matches(|letter| letter <= ' ');
    let path = address.split(['?', '#']).next().unwrap_or_default();
    path.split(['/', '\\']).any(|segment| {
        let dots = segment.replace(['\t', '\n', '\r'], "");
        let dots = dots.to_ascii_lowercase().replace("%2e", ".");
        dots == "." || dots == ".."
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dots_that_stand_alone_are_found() {
        for (address, found) in [
            ("https://a.example/..", true),
            ("https://a.example/.", true),
            ("https://a.example/./b", true),
            ("https://a.example/one/../two", true),
            ("https://a.example/one/%2E%2e/two", true),
            ("https://a.example/one/.%2e?k=v", true),
            ("https://a.example/%2e", true),
            ("https://a.example/one\\..\\two", true),
            ("https://a.example\\..", true),
            ("https://a.example/.\t./two", true),
            ("https://a.example/%2\ne/two", true),
            ("https://a.example/.. ", true),
            ("https://a.example/..\u{1}", true),
            ("https://a.example/.. /two", false),
            ("https://a.example/one?\\..\\two", false),
            ("https://a.example/...", false),
            ("https://a.example/.well-known/x", false),
            ("https://a.example/a..b/c.", false),
            ("https://a.example/a?k=/../b", false),
            ("https://a.example", false),
            ("", false),
        ] {
            assert_eq!(has_dot_segments(address), found, "{address}");
        }
    }

    proptest! {
        #[test]
        fn an_address_without_them_keeps_its_path(path in "(/([a-z.]|%2e|%2E){0,5}){1,5}(\\?[a-z./]{0,5})?") {
            let address = format!("https://a.example{path}");
            let url = url::Url::parse(&address).unwrap();
            prop_assert_eq!(has_dot_segments(&address), url.as_str() != address);
        }
    }
}
