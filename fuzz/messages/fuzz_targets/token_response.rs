//! Any bytes are a token answer within its bounds or a failure, and no failure repeats what it came from.
//!
//! The first two bytes choose the status, the media type and the leniency; the rest is the body.
#![no_main]

use claviger_oauth_wire::response::{Leniency, MAX_BODY, error_in, parse};
use claviger_oauth_wire::token::TOO_LONG;
use libfuzzer_sys::fuzz_target;

const STATUS: [u16; 8] = [200, 201, 204, 302, 400, 401, 429, 500];
const TYPES: [Option<&str>; 4] = [
    None,
    Some("application/json;charset=UTF-8"),
    Some("application/x-www-form-urlencoded"),
    Some("text/html"),
];
/// Stands in a body where it must not come out again.
const SENTINEL: &str = "SENTINEL";

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (first, second, body) = input;
    let status = STATUS[usize::from(first) % STATUS.len()];
    let content_type = TYPES[usize::from(second) % TYPES.len()];
    let leniency = Leniency {
        missing_token_type_is_bearer: second & 0x80 != 0,
        commas_separate_scopes: second & 0x40 != 0,
    };
    let said = match parse(status, content_type, body, leniency) {
        Ok(answer) => {
            assert!((200..300).contains(&status) && body.len() <= MAX_BODY);
            let debug = format!("{answer:?}");
            let shape = answer.shape;
            let token = answer.access_token.into_bytes();
            assert_eq!(token.len(), shape.bytes);
            assert!(!token.is_empty() && token.len() < TOO_LONG);
            assert!(token.iter().all(u8::is_ascii_graphic));
            // Scopes are no secret, and may be what the token is, by chance.
            if answer.scopes.is_none() {
                debug
            } else {
                String::new()
            }
        }
        Err(failure) => format!("{failure} {failure:?}"),
    };
    assert!(!said.contains(SENTINEL), "{said}");
    let code = error_in(content_type, body);
    assert!(!format!("{code:?}").contains(SENTINEL));
});
