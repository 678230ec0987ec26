//! Any bytes yield a token or none, and the expiry of a valid JWT.
//!
//! The input is parsed as a token, and also as the claims of one, because the fuzzer would rarely produce valid base64.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claviger_oauth_wire::jwt::expiry;
use claviger_oauth_wire::token::inspect;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let claims = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(input)).into_bytes();
    for token in [input, &claims] {
        let expiry = expiry(token);
        if let Ok(shape) = inspect(token) {
            assert_eq!((shape.bytes, shape.expiry), (token.len(), expiry));
            assert!(expiry.is_none() || shape.parts == 3);
        }
    }
});
