//! Any text yields a pointer that prints back unchanged, or none; and following it never panics, whatever the response.
//!
//! The first line of the input is the pointer, the rest is the response in which it is followed.
#![no_main]

use claviger_oauth_wire::Pointer;
use claviger_oauth_wire::response::{Failure, Leniency, TokenResponse, parse, parse_at};
use claviger_oauth_wire::token::TOO_LONG;
use libfuzzer_sys::fuzz_target;

/// A marker in responses that no error may repeat.
const SENTINEL: &str = "SENTINEL";

const STRICT: Leniency = Leniency {
    missing_token_type_is_bearer: false,
    commas_separate_scopes: false,
};

const LENIENT: Leniency = Leniency {
    missing_token_type_is_bearer: true,
    commas_separate_scopes: true,
};

fn follow(body: &[u8], pointer: &Pointer, leniency: Leniency) -> Result<TokenResponse, Failure> {
    parse_at(200, None, body, leniency, Some(pointer))
}

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == b'\n');
    let (line, body) = input.split_at(end.unwrap_or(input.len()));
    let body = body.strip_prefix(b"\n").unwrap_or(body);
    if let Ok(text) = std::str::from_utf8(line)
        && let Ok(pointer) = text.parse::<Pointer>()
    {
        assert_eq!(pointer.to_string(), text);
        assert!(text.starts_with('/') && text.len() <= 256 && text.matches('/').count() <= 8);
        for leniency in [STRICT, LENIENT] {
            match follow(body, &pointer, leniency) {
                Ok(answer) => {
                    let (token, bytes) = (answer.access_token.into_bytes(), answer.shape.bytes);
                    assert_eq!(token.len(), bytes);
                    assert!(!token.is_empty() && token.len() < TOO_LONG);
                    assert!(token.iter().all(u8::is_ascii_graphic));
                }
                Err(failure) => {
                    let said = format!("{failure} {failure:?}");
                    assert!(!said.contains(SENTINEL), "{said}");
                }
            }
        }
    }
    // The pointer to the usual place has the same result as no pointer.
    let usual = "/access_token".parse().expect("a pointer");
    match (follow(body, &usual, STRICT), parse(200, None, body, STRICT)) {
        (Ok(one), Ok(other)) => {
            assert_eq!((one.shape, one.lifetime), (other.shape, other.lifetime));
            assert_eq!((one.refresh_in, &one.scopes), (other.refresh_in, &other.scopes));
        }
        (Err(one), Err(other)) => assert_eq!(one, other),
        (one, other) => panic!("{} and {}", one.is_ok(), other.is_ok()),
    }
});
