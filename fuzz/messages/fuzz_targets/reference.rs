//! Any text yields a reference that prints back unchanged, or an error.
#![no_main]

use claviger_backend::SecretRef;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<SecretRef>() {
        assert_eq!(reference.to_string(), text);
    }
});
