//! Which module may import which.

use std::collections::{BTreeMap, BTreeSet};

use super::architecture::Architecture;
use super::source::{Kind, Source};

/// Crates of the workspace that only some rooms may name.
const WIRE: &str = "claviger_proto";
const WIRE_ROOMS: [&str; 1] = ["cli"];
const REGISTRY: &str = "src/registry/mod.rs";

/// The other file that may test a feature: it lists the commands, of which a build may lack the demo.
const COMMANDS: &str = "src/cli/mod.rs";

/// A path from the root of the crate, and its location.
#[derive(Debug, PartialEq, Eq)]
pub struct Import {
    pub path: Vec<String>,
    pub line: usize,
}

/// Every import from the same or a higher floor, and every module without a floor.
pub fn upward_imports(sources: &[Source], architecture: &Architecture) -> Vec<String> {
    let mut faults = Vec::new();
    for source in floored(sources) {
        if source.module.is_empty() {
            continue; // lib.rs only declares the rooms
        }
        let Some(own) = architecture.room(&source.module) else {
            faults.push(format!(
                "{}: the module `{}` has no floor: add its row to the table in ARCHITECTURE.md",
                source.path,
                source.module.join("::")
            ));
            continue;
        };
        for Import { path, line } in imports(source) {
            let at = source.at(line);
            match architecture.room(&path) {
                None => faults.push(format!(
                    "{at}: `crate::{}` is in no room of ARCHITECTURE.md's table: name it by the room it comes from",
                    path.join("::")
                )),
                Some(room) if room != own && room.floor >= own.floor => faults.push(format!(
                    "{at}: `{}` (floor {}) imports `crate::{}` from `{}` (floor {}), which is not below it",
                    own.name(),
                    own.floor,
                    path.join("::"),
                    room.name(),
                    room.floor
                )),
                Some(_) => {}
            }
        }
    }
    faults
}

/// The folder of a crate, and the path of a module in it.
type Module<'a> = (&'a str, &'a [String]);

/// Every set of modules of one crate that import each other in a circle. What a module takes from the module that declares it,
/// or that one from it, is no import between neighbors and does not count.
pub fn circles(sources: &[Source]) -> Vec<String> {
    let mut edges: BTreeMap<Module<'_>, BTreeSet<Module<'_>>> = BTreeMap::new();
    for source in sources {
        let of = crate_of(&source.path);
        let own = source.module.as_slice();
        let to: BTreeSet<_> = imports(source)
            .iter()
            .filter_map(|import| {
                sources
                    .iter()
                    .filter(|other| crate_of(&other.path) == of)
                    .map(|other| other.module.as_slice())
                    .filter(|module| import.path.starts_with(module))
                    .max_by_key(|module| module.len())
            })
            .filter(|module| !module.starts_with(own) && !own.starts_with(module))
            .map(|module| (of, module))
            .collect();
        edges.insert((of, own), to);
    }
    let reaches = |from: &Module<'_>| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<_> = edges.get(from).into_iter().flatten().collect();
        while let Some(module) = next.pop() {
            if seen.insert(*module) {
                next.extend(edges.get(module).into_iter().flatten());
            }
        }
        seen
    };
    let circular: Vec<_> = edges
        .keys()
        .filter(|module| reaches(module).contains(*module))
        .collect();
    circular
        .into_iter()
        .map(|module| {
            let through: Vec<_> = edges[module]
                .iter()
                .filter(|next| reaches(next).contains(module))
                .map(|(_, module)| module.join("::"))
                .collect();
            let (of, own) = module;
            format!(
                "{of}: `{}` stands in a circle through {}",
                own.join("::"),
                through.join(", ")
            )
        })
        .collect()
}

/// The folder of the crate that a source belongs to.
fn crate_of(path: &str) -> &str {
    path.rsplit_once("src/").map_or("", |(folder, _)| folder)
}

/// Every use of the wire crate outside the rooms that may use it.
pub fn stray_wire_types(sources: &[Source], architecture: &Architecture) -> Vec<String> {
    let allowed = |source: &Source| {
        architecture
            .room(&source.module)
            .is_some_and(|room| WIRE_ROOMS.contains(&room.name().as_str()))
    };
    words(daemon(sources).filter(|source| !allowed(source)), |word| {
        word == WIRE
    })
    .map(|(at, word)| format!("{at}: `{word}` is named outside {}", WIRE_ROOMS.join(", ")))
    .collect()
}

/// Every backend crate that is named outside the registry.
pub fn stray_backends(sources: &[Source]) -> Vec<String> {
    words(
        sources
            .iter()
            .filter(|source| source.path != REGISTRY && !source.path.starts_with("backends/")),
        |word| word.starts_with("claviger_backend_"),
    )
    .map(|(at, word)| format!("{at}: `{word}` is named outside {REGISTRY}"))
    .collect()
}

/// Every `cfg(feature …)` outside the registry and the list of commands, apart from constructors for the tests of other
/// crates.
pub fn stray_features(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources
        .iter()
        .filter(|source| ![REGISTRY, COMMANDS].contains(&source.path.as_str()))
    {
        for index in 0..source.tokens.len() {
            let for_tests = source
                .tokens
                .get(index + 2)
                .is_some_and(|token| token.text == "\"testing\"");
            if source.matches(index, &["feature", "="]) && !for_tests {
                let at = source.at(source.tokens[index].line);
                faults.push(format!(
                    "{at}: a feature is tested outside {REGISTRY} and {COMMANDS}"
                ));
            }
        }
    }
    faults
}

/// The paths of a file that begin with `crate`, `super`, `self` or, in `main.rs`, the library's name.
pub fn imports(source: &Source) -> Vec<Import> {
    let mut found = Vec::new();
    for index in 0..source.tokens.len() {
        let token = &source.tokens[index];
        let continues = source.matches(index + 1, &[":", ":"]);
        let follows = index >= 2 && source.matches(index - 2, &[":", ":"]);
        if token.kind != Kind::Word || !continues || follows {
            continue;
        }
        let mut module = if source.path == "src/main.rs" {
            Vec::new()
        } else {
            source.module.clone()
        };
        module.extend(token.inside.iter().cloned());
        let base = match token.text.as_str() {
            "crate" => Vec::new(),
            "claviger" if source.path == "src/main.rs" => Vec::new(),
            "self" => module,
            "super" => {
                module.pop();
                module
            }
            _ => continue,
        };
        let mut rest = index + 3;
        tree(source, &mut rest, &base, &mut found);
    }
    found.retain(|import| !import.path.is_empty());
    found
}

/// Parses one use tree from token `index` on, which follows a `::`.
fn tree(source: &Source, index: &mut usize, base: &[String], found: &mut Vec<Import>) {
    let Some(token) = source.tokens.get(*index) else {
        return;
    };
    if token.text == "{" {
        *index += 1;
        while source
            .tokens
            .get(*index)
            .is_some_and(|token| token.text != "}")
        {
            if source.matches(*index, &[","]) {
                *index += 1;
            } else {
                tree(source, index, base, found);
            }
        }
        *index += 1;
        return;
    }
    *index += 1;
    if token.kind != Kind::Word {
        // `*`, or the `<` of a turbofish: the path ends here.
        return found.push(Import {
            path: base.to_vec(),
            line: token.line,
        });
    }
    let mut path = base.to_vec();
    match token.text.as_str() {
        "super" => drop(path.pop()),
        "self" => {}
        name => path.push(name.to_owned()),
    }
    if source.matches(*index, &[":", ":"]) {
        *index += 2;
        return tree(source, index, &path, found);
    }
    found.push(Import {
        path,
        line: token.line,
    });
    if source.matches(*index, &["as"]) {
        *index += 2;
    }
}

/// The crates whose rooms have floors; Cargo enforces the order of the crates themselves.
fn floored(sources: &[Source]) -> impl Iterator<Item = &Source> {
    sources.iter().filter(|source| {
        source.path.starts_with("src/") || source.path.starts_with("crates/core/src/")
    })
}

/// The sources of the root crate.
fn daemon(sources: &[Source]) -> impl Iterator<Item = &Source> {
    sources
        .iter()
        .filter(|source| source.path.starts_with("src/"))
}

fn words<'a>(
    sources: impl Iterator<Item = &'a Source>,
    wanted: impl Fn(&str) -> bool,
) -> impl Iterator<Item = (String, String)> {
    sources.flat_map(move |source| {
        let hits = source
            .tokens
            .iter()
            .filter(|token| token.kind == Kind::Word && wanted(&token.text));
        hits.map(|token| (source.at(token.line), token.text.clone()))
            .collect::<Vec<_>>()
    })
}
