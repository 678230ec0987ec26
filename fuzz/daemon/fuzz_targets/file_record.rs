//! Any bytes in place of a record are damage, and any bytes inside a record are valid contents or damage.
#![no_main]

use claviger_backend_file::parsers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert!(
        !parsers::header_then_open(bytes),
        "bytes opened as a record although they were not sealed"
    );
    assert!(
        parsers::contents_hold(bytes),
        "an index cannot be parsed again after it was written"
    );
});
