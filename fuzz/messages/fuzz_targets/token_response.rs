//! Any bytes yield a token response within the limits or an error, and no error repeats its input.
//!
//! The first two bytes select the status, the media type and the leniency; the rest is the body.
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
/// A marker in bodies that no error may repeat.
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
            // Scopes are not secret, and may equal the token by chance.
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
