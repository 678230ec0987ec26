//! Any bytes yield a metadata document or an error, and any issuer has well-known addresses for one.
#![no_main]

use claviger_oauth_wire::metadata::{MAX_BODY, parse, same_issuer, well_known};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Ok(metadata) = parse(body) {
        assert!(body.len() <= MAX_BODY + 1024);
        let issuer = &metadata.issuer;
        assert!(same_issuer(issuer, issuer), "{issuer:?}");
        assert!(!same_issuer(issuer, &format!("{issuer}x")));
    }
    if let Ok(issuer) = std::str::from_utf8(body) {
        let [inserted, appended] = well_known(issuer);
        assert!(inserted.contains("/.well-known/oauth-authorization-server"));
        assert!(appended.ends_with("/.well-known/openid-configuration"));
    }
});
