//! Names, documentation and sizes.

use super::source::Source;

/// Limits per file, function and trait.
pub const FILE_LINES: usize = 500;
pub const FUNCTION_LINES: usize = 60;
pub const PARAMETERS: usize = 5;
pub const METHODS: usize = 4;
/// Limits for the whole tree: median and 90th percentile of files, 90th percentile of functions.
pub const FILE_MEDIAN: usize = 150;
pub const FILE_P90: usize = 400;
pub const FUNCTION_P90: usize = 35;
/// Lines of a room's documentation.
const ROOM_DOC: std::ops::RangeInclusive<usize> = 5..=15;

/// Names that do not describe a module's contents.
const NAMELESS: [&str; 6] = ["utils", "common", "helpers", "types", "misc", "constants"];

/// Every module with such a name.
pub fn nameless_modules(sources: &[Source]) -> Vec<String> {
    let nameless = |source: &&Source| {
        source
            .module
            .iter()
            .any(|part| NAMELESS.contains(&part.as_str()))
    };
    sources
        .iter()
        .filter(nameless)
        .map(|source| {
            format!(
                "{}: give the module a name that says what it owns",
                source.path
            )
        })
        .collect()
}

/// Every file without a module doc, and every room whose doc is too short or too long.
pub fn undocumented(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        let lines = source
            .text
            .lines()
            .skip_while(|line| line.starts_with("// SPDX"));
        let doc = lines.take_while(|line| line.starts_with("//!")).count();
        let is_room = source.path.ends_with("/mod.rs") || source.path.ends_with("/lib.rs");
        if doc == 0 {
            faults.push(format!("{}: begin with a module doc (`//!`)", source.path));
        } else if is_room && !ROOM_DOC.contains(&doc) {
            faults.push(format!(
                "{}: the module doc has {doc} lines; say in {} to {} what it owns, what it never does, its concurrency and \
                 lifetime, and where to go next",
                source.path,
                ROOM_DOC.start(),
                ROOM_DOC.end()
            ));
        }
    }
    faults
}

/// Every file, function and trait over its limit.
pub fn oversized(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut check = |at: String, what: &str, have: usize, limit: usize| {
        if have > limit {
            faults.push(format!("{at}: {what} has {have}; the limit is {limit}"));
        }
    };
    for source in sources {
        check(
            source.path.clone(),
            "the file's production lines",
            source.production_lines,
            FILE_LINES,
        );
        for function in &source.functions {
            let at = source.at(function.line);
            let name = &function.name;
            check(
                at.clone(),
                &format!("`{name}`, in lines,"),
                function.lines,
                FUNCTION_LINES,
            );
            check(
                at,
                &format!("`{name}`, in parameters,"),
                function.parameters,
                PARAMETERS,
            );
        }
        for item in &source.traits {
            check(
                source.at(item.line),
                &format!("`{}`, in methods,", item.name),
                item.methods,
                METHODS,
            );
        }
    }
    faults
}

/// Every function that packs several values into a tuple parameter: values that travel together are a type.
pub fn packed_parameters(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        for function in source
            .functions
            .iter()
            .filter(|function| function.packed > 0)
        {
            let at = source.at(function.line);
            let name = &function.name;
            faults.push(format!(
                "{at}: `{name}` takes a tuple apart: make it a type"
            ));
        }
    }
    faults
}

/// The value that `share` per cent of the values do not exceed.
pub fn percentile(mut values: Vec<usize>, share: usize) -> usize {
    values.sort_unstable();
    let rank = (values.len() * share).div_ceil(100).max(1);
    values.get(rank - 1).copied().unwrap_or_default()
}
