//! Any bytes yield a list of variables, or an error with the number of an existing line. Removing one variable leaves the
//! others unchanged.
#![no_main]

use claviger::testing::dotenv::{Variable, parse};
use libfuzzer_sys::fuzz_target;

/// Name and value.
fn told(variable: &Variable) -> (&str, &[u8]) {
    (&variable.name, variable.value.expose())
}

fuzz_target!(|bytes: &[u8]| {
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
    let variables = match parse(bytes) {
        Ok(variables) => variables,
        Err(fault) => return assert!((1..=lines).contains(&fault.line)),
    };
    let mut end = 0;
    for variable in &variables {
        assert!((1..=lines).contains(&variable.line));
        assert!(variable.span.start >= end && variable.span.end <= bytes.len());
        assert!(variable.value.len() <= variable.span.len());
        end = variable.span.end;
    }
    let Some(gone) = variables.len().checked_sub(1) else {
        return;
    };
    // Remove the middle one, which has neighbors on both sides.
    let gone = gone / 2;
    let span = variables[gone].span.clone();
    let left = [&bytes[..span.start], &bytes[span.end..]].concat();
    let left = parse(&left).expect("the other variables still parse");
    let others = variables.iter().enumerate().filter(|(at, _)| *at != gone);
    assert!(others.map(|(_, one)| told(one)).eq(left.iter().map(told)));
});
