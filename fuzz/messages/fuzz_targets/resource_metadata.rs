//! Any bytes yield a document of limited size about one resource, or an error; and the address of a resource's document is on
//! the resource's own host, below the well-known path.
#![no_main]

use claviger_oauth_wire::resource_metadata::{MAX_BODY, parse, well_known};
use libfuzzer_sys::fuzz_target;
use url::Url;

/// The limits on the length of a list in a document, and of a text in it.
const MOST: (usize, usize) = (1024, 2048);

fuzz_target!(|body: &[u8]| {
    if let Ok(metadata) = parse(body) {
        // White space and a byte order mark do not count.
        assert!(body.trim_ascii().len() <= MAX_BODY + 1024);
        assert!(metadata.is_about(&metadata.resource) && metadata.resource.len() <= MOST.1);
        assert!(!metadata.is_about(&format!("{}/", metadata.resource)));
        let servers = metadata.authorization_servers.as_deref();
        for list in [servers, metadata.scopes_supported.as_deref()] {
            let list = list.unwrap_or_default();
            assert!(list.len() <= MOST.0 && list.iter().all(|item| item.len() <= MOST.1));
        }
        let servers = servers.unwrap_or_default();
        assert!(servers.iter().all(|issuer| metadata.names(issuer)));
        let absent = format!("{}x", servers.concat());
        assert!(servers.contains(&absent) || !metadata.names(&absent));
        let _either_way = metadata.takes_bearer();
    }
    let Ok(resource) = std::str::from_utf8(body) else {
        return;
    };
    if let Some(place) = well_known(resource)
        && let (Ok(place), Ok(resource)) = (Url::parse(&place), Url::parse(resource))
        // The transport supports no other schemes, and other schemes parse hosts differently.
        && matches!(place.scheme(), "https" | "http")
    {
        assert_eq!(place.origin().ascii_serialization(), resource.origin().ascii_serialization());
        assert_eq!((place.host(), place.port()), (resource.host(), resource.port()));
        assert_eq!(place.query(), resource.query());
        let below = place.path().strip_prefix("/.well-known/oauth-protected-resource");
        assert!(
            below.is_some_and(|below| below.is_empty() || below.starts_with('/')),
            "{resource} at {place}"
        );
    }
});
