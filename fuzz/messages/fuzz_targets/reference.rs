//! Any text is a reference that prints back as it was written, or an error that does not repeat it.
#![no_main]

use claviger_backend::SecretRef;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<SecretRef>() {
        assert_eq!(reference.to_string(), text);
    }
});
