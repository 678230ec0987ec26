//! Any bytes in the place of a record are damage, and any bytes in a record are its contents or damage.
#![no_main]

use claviger_backend_file::parsers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert!(
        !parsers::header_then_open(bytes),
        "a record opened that nobody sealed"
    );
    assert!(
        parsers::contents_hold(bytes),
        "an index that cannot be read again"
    );
});
