//! Any words yield a set of scopes that prints back as the same set, or an error.
#![no_main]

use claviger_oauth_wire::Scopes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(scopes) = Scopes::new(text.split(' ')) else {
        return;
    };
    let printed = scopes.to_string();
    let again = Scopes::new(printed.split(' ')).expect("a printed set is a set");
    assert_eq!(again, scopes);
    assert!(text.split(' ').all(|word| scopes.contains(word)));
    assert!(scopes.covers(&again) && scopes.intersection(&again) == scopes);
});
