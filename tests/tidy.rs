//! The house rules, tested.
//!
//! Each rule reads the sources and ARCHITECTURE.md and lists its violations with file and line. Each has a control: a small
//! tree that violates the rule and must be caught, so that no rule passes because it reads nothing.
//!
//! Exceptions are listed below, each with its reason.

#![expect(
    clippy::case_sensitive_file_extension_comparisons,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "test helpers report a violation by a panic"
)]

#[path = "tidy/architecture.rs"]
mod architecture;
#[path = "tidy/dependencies.rs"]
mod dependencies;
#[path = "tidy/layering.rs"]
mod layering;
#[path = "tidy/prose.rs"]
mod prose;
#[path = "tidy/safety.rs"]
mod safety;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/source.rs"]
mod source;

use serde_json::json;

use architecture::Architecture;
use source::Source;

/// Fails with all violations, one per line.
fn assert_none(faults: &[String]) {
    assert!(
        faults.is_empty(),
        "{} broken:\n  {}\n",
        faults.len(),
        faults.join("\n  ")
    );
}

/// Asserts that exactly these locations are reported, in this order.
fn assert_caught(faults: &[String], places: &[&str]) {
    let named = faults.len() == places.len()
        && faults
            .iter()
            .zip(places)
            .all(|(fault, place)| fault.starts_with(place));
    assert!(
        named,
        "expected faults at {places:?}, found:\n  {}\n",
        faults.join("\n  ")
    );
}

fn page(extra: &str) -> Architecture {
    Architecture::parse(&format!(
        "| floor | room | |\n|---|---|---|\n| 0 | `clock` | |\n| 0 | `shutdown` | |\n| 0 | `oauth::wire` | |\n\
         | 2 | `policy` | |\n| 4 | `oauth` | |\n| 7 | `server` | |\n| 12 | `cli` | |\n| 13 | `main` | |\n\n\
         | file | plaintext | |\n|---|---|---|\n{extra}"
    ))
}

#[test]
fn rooms_import_only_from_lower_floors() {
    assert_none(&layering::upward_imports(
        source::production(),
        &Architecture::read(),
    ));
}

#[test]
fn control_upward_and_sideways_imports_are_caught() {
    let sources = [
        Source::parse(
            "src/policy/a.rs",
            "use crate::clock::Moment;\nuse crate::{clock, oauth::{wire::Scopes, Error}};\n",
        ),
        Source::parse(
            "src/policy/b.rs",
            "fn f() {\n  select! { x = super::super::server::g() => {} }\n}\n",
        ),
        Source::parse(
            "src/clock/mod.rs",
            "use crate::shutdown as s;\nuse super::clock::x;\nuse self::y::z;\n",
        ),
        Source::parse(
            "src/oauth/wire/x.rs",
            "type T = crate::oauth::wire::Y;\ntype U = super::super::Error;\n",
        ),
        Source::parse(
            "src/oauth/y.rs",
            "mod inner {\n  use super::super::wire::T;\n  use super::super::super::server;\n}\n",
        ),
        Source::parse(
            "src/policy/c.rs",
            "#[cfg(test)]\nmod tests {\n  use crate::server::X;\n}\n/// [`crate::server`]\nfn f() {}\n",
        ),
        Source::parse("src/extra/mod.rs", "fn f() {}\n"),
        Source::parse(
            "src/policy/d.rs",
            "use crate::Reexported;\nuse crate::*;\nuse crate::oauth::*;\n",
        ),
        Source::parse(
            "src/main.rs",
            "use claviger::cli;\nfn main() { claviger::cli::run() }\n",
        ),
    ];
    let faults = layering::upward_imports(&sources, &page(""));
    assert_caught(
        &faults,
        &[
            "src/policy/a.rs:2: `policy` (floor 2) imports `crate::oauth::Error`",
            "src/policy/b.rs:2: `policy` (floor 2) imports `crate::server::g`",
            "src/clock/mod.rs:1: `clock` (floor 0) imports `crate::shutdown`",
            "src/oauth/wire/x.rs:2: `oauth::wire` (floor 0) imports `crate::oauth::Error`",
            "src/oauth/y.rs:3: `oauth` (floor 4) imports `crate::server`",
            "src/extra/mod.rs: the module `extra` has no floor",
            "src/policy/d.rs:1: `crate::Reexported` is in no room",
            "src/policy/d.rs:3: `policy` (floor 2) imports `crate::oauth`",
        ],
    );
}

#[test]
fn modules_have_no_import_cycles() {
    assert_none(&layering::circles(source::production()));
}

#[test]
fn control_circles_are_caught() {
    let sources = [
        Source::parse("crates/x/src/a.rs", "use crate::b::B;\n"),
        Source::parse("crates/x/src/b.rs", "use super::c::C;\n"),
        Source::parse("crates/x/src/c.rs", "use crate::a::A;\nuse crate::d::D;\n"),
        Source::parse("crates/x/src/d/mod.rs", "use crate::d::e::E;\n"),
        Source::parse("crates/x/src/d/e.rs", "use crate::d::D;\n"),
        Source::parse("crates/y/src/a.rs", "use crate::b::B;\n"),
    ];
    assert_caught(
        &layering::circles(&sources),
        &[
            "crates/x/: `a` stands in a circle through b",
            "crates/x/: `b` stands in a circle through c",
            "crates/x/: `c` stands in a circle through a",
        ],
    );
}

#[test]
fn values_that_travel_together_are_a_type() {
    assert_none(&shape::packed_parameters(source::production()));
}

#[test]
fn control_packed_parameters_are_caught() {
    let sources = [Source::parse(
        "src/a.rs",
        "fn f((a, b): (u8, u8)) {}\nfn g(pair: (u8, u8)) { h(|(a, b)| a) }\n",
    )];
    assert_caught(&shape::packed_parameters(&sources), &["src/a.rs:1: `f`"]);
}

#[test]
fn wire_types_stop_at_the_command_line() {
    assert_none(&layering::stray_wire_types(
        source::production(),
        &Architecture::read(),
    ));
}

#[test]
fn only_the_registry_names_backends_and_features() {
    let sources = source::production();
    assert_none(&layering::stray_backends(sources));
    assert_none(&layering::stray_features(sources));
}

#[test]
fn control_stray_crates_and_features_are_caught() {
    let sources = [
        Source::parse(
            "src/policy/a.rs",
            "use claviger_proto::v1;\nfn f() { claviger_backend_file::open() }\n",
        ),
        Source::parse(
            "src/cli/a.rs",
            "use claviger_proto::v1;\n#[cfg(feature = \"file\")]\nfn f() {}\n",
        ),
        Source::parse("src/cli/mod.rs", "#[cfg(feature = \"demo\")]\nmod demo;\n"),
        Source::parse(
            "src/registry/mod.rs",
            "#[cfg(feature = \"file\")]\nuse claviger_backend_file as file;\n",
        ),
        Source::parse(
            "crates/x/src/a.rs",
            "fn f() { if cfg!(feature = \"x\") {} }\n#[cfg(any(test, feature = \"testing\"))]\nfn g() {}\n",
        ),
    ];
    assert_caught(
        &layering::stray_wire_types(&sources, &page("")),
        &["src/policy/a.rs:1"],
    );
    assert_caught(&layering::stray_backends(&sources), &["src/policy/a.rs:2"]);
    assert_caught(
        &layering::stray_features(&sources),
        &["src/cli/a.rs:2", "crates/x/src/a.rs:1"],
    );
}

#[test]
fn modules_have_names_and_documentation() {
    let sources = source::production();
    assert_none(&shape::nameless_modules(sources));
    assert_none(&shape::undocumented(sources));
}

#[test]
fn control_unclear_names_and_missing_documentation_are_caught() {
    let long = "//! line\n".repeat(16);
    let sources = [
        Source::parse("src/oauth/utils.rs", "//! Things.\n"),
        Source::parse("src/oauth/leaf.rs", "use std::fmt;\n"),
        Source::parse("src/oauth/mod.rs", "//! Short.\n"),
        Source::parse("src/clock/mod.rs", &long),
        Source::parse("src/policy/mod.rs", &"//! line\n".repeat(5)),
    ];
    assert_caught(&shape::nameless_modules(&sources), &["src/oauth/utils.rs"]);
    assert_caught(
        &shape::undocumented(&sources),
        &["src/oauth/leaf.rs", "src/oauth/mod.rs", "src/clock/mod.rs"],
    );
}

#[test]
fn files_functions_and_traits_are_small() {
    assert_none(&shape::oversized(source::production()));
}

#[test]
fn the_tree_as_a_whole_is_small() {
    let sources = source::production();
    let files: Vec<_> = sources
        .iter()
        .map(|source| source.production_lines)
        .collect();
    let functions: Vec<_> = sources
        .iter()
        .flat_map(|source| source.functions.iter().map(|function| function.lines))
        .collect();
    let figures = [
        (
            "median of production lines per file",
            shape::percentile(files.clone(), 50),
            shape::FILE_MEDIAN,
        ),
        (
            "p90 of production lines per file",
            shape::percentile(files.clone(), 90),
            shape::FILE_P90,
        ),
        (
            "p90 of lines per function",
            shape::percentile(functions.clone(), 90),
            shape::FUNCTION_P90,
        ),
    ];
    for (what, have, limit) in figures {
        println!("{what}: {have} (limit {limit})");
        assert!(have <= limit, "{what} is {have}; the limit is {limit}");
    }
    let inline: usize = sources.iter().map(|source| source.test_lines).sum();
    let beside: usize = prose::texts()
        .iter()
        .filter(|(path, _)| {
            path.ends_with(".rs") && !sources.iter().any(|source| source.path == *path)
        })
        .filter(|(path, _)| !path.starts_with("proto/src/gen/"))
        .map(|(_, text)| text.lines().count())
        .sum();
    let production: usize = files.iter().sum();
    println!(
        "{} files, {} functions, {production} production lines",
        files.len(),
        functions.len()
    );
    println!(
        "test lines per 100 production lines: {}",
        (inline + beside) * 100 / production.max(1)
    );
}

#[test]
fn control_oversized_things_are_caught() {
    let body = "    let _x = 1;\n".repeat(61);
    let long = format!(
        "fn f() {{\n{body}}}\nfn g() {{\n    // comment\n\n{}}}\n",
        "    h();\n".repeat(60)
    );
    let sources = [
        Source::parse("src/a.rs", &long),
        Source::parse(
            "src/b.rs",
            "fn f(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8) {}\nimpl X { fn g(&self, a: u8, b: u8, c: u8, d: u8, e: u8) {} }\n",
        ),
        Source::parse(
            "src/c.rs",
            "trait T {\n fn a();\n fn b();\n fn c();\n fn d();\n fn e();\n}\n",
        ),
        Source::parse("src/d.rs", &"const X: u8 = 1;\n".repeat(501)),
        Source::parse(
            "src/e.rs",
            &format!(
                "{}#[cfg(test)]\nmod tests {{\n{}}}\n",
                "const X: u8 = 1;\n".repeat(500),
                "fn x() {}\n".repeat(9)
            ),
        ),
    ];
    assert_caught(
        &shape::oversized(&sources),
        &["src/a.rs:1", "src/b.rs:1", "src/c.rs:1", "src/d.rs"],
    );
    assert_eq!(
        (sources[4].production_lines, sources[4].test_lines),
        (500, 12)
    );
    assert_eq!(shape::percentile((1..=10).collect(), 50), 5);
    assert_eq!(shape::percentile((1..=10).collect(), 90), 9);
    assert_eq!(shape::percentile(Vec::new(), 90), 0);
}

#[test]
fn production_code_does_not_panic() {
    assert_none(&safety::panics(source::production()));
}

#[test]
fn every_crate_but_kernel_forbids_unsafe_code() {
    assert_none(&safety::allowed_unsafe(source::production()));
}

#[test]
fn control_panics_and_unsafe_are_caught() {
    let sources = [
        Source::parse(
            "src/a.rs",
            "fn f() {\n x.unwrap();\n y.expect(\"\");\n todo!();\n z.map(Option::unwrap)\n}\n",
        ),
        Source::parse(
            "src/b.rs",
            "fn f() {\n select! { a = b => c.unwrap() }\n}\n",
        ),
        Source::parse(
            "src/c.rs",
            "#[expect(clippy::indexing_slicing, reason = \"\")]\nfn f() { x[0] }\n#[expect(dead_code)]\nfn unwrap() { a.unwrap_or(1); args.expect; \"panic!\"; std::panic::catch_unwind(f) }\n",
        ),
        Source::parse(
            "src/d.rs",
            "#[test]\nfn f() { x.unwrap() }\n#[cfg(test)]\nmod tests { fn g() { panic!() } }\nimpl A { #[cfg(test)] fn h() { x.unwrap() } }\n",
        ),
        Source::parse(
            "src/e.rs",
            "#[cfg(not(test))]\nfn f() { x.unwrap() }\nfn g() { unsafe { h() } }\n",
        ),
        Source::parse("crates/kernel/src/lib.rs", "fn g() { unsafe { h() } }\n"),
        Source::parse("crates/x/src/lib.rs", "fn g() {}\n"),
        Source::parse(
            "backends/x/src/lib.rs",
            "#![forbid(unsafe_code)]\nfn g() {}\n",
        ),
    ];
    assert_caught(
        &safety::panics(&sources),
        &[
            "src/a.rs:2",
            "src/a.rs:3",
            "src/a.rs:4",
            "src/a.rs:5",
            "src/b.rs:2",
            "src/c.rs:1",
            "src/e.rs:2",
        ],
    );
    assert_caught(&safety::allowed_unsafe(&sources), &["crates/x/src/lib.rs"]);
}

#[test]
fn plaintext_leaves_its_box_in_listed_places_only() {
    assert_none(&safety::unlisted_plaintext(
        source::production(),
        &Architecture::read().plaintext,
    ));
}

#[test]
fn control_unlisted_plaintext_is_caught() {
    let sources = [
        Source::parse("src/a.rs", "fn f() {\n secret.expose();\n}\n"),
        Source::parse(
            "src/b.rs",
            "fn f() {\n write!(out, \"{}\", secret.expose());\n x.map(Secret::expose)\n}\n",
        ),
        Source::parse(
            "src/c.rs",
            "fn expose() {}\n#[test]\nfn t() { s.expose(); }\n",
        ),
    ];
    let listed = page("| `src/a.rs` | | |\n| `src/c.rs` | | |\n").plaintext;
    assert_caught(
        &safety::unlisted_plaintext(&sources, &listed),
        &[
            "src/b.rs: lines {2, 3}",
            "ARCHITECTURE.md, \"Where plaintext lives\": `src/c.rs`",
        ],
    );
}

#[test]
fn test_files_are_not_production() {
    let sources = source::without_tests(vec![
        Source::parse("src/a/mod.rs", "mod b;\n#[cfg(test)]\nmod tests;\n"),
        Source::parse("src/a/tests.rs", "fn f() { x.unwrap() }\n"),
        Source::parse("src/a/b.rs", "#[cfg(test)]\nmod tests;\n"),
        Source::parse("src/a/b/tests.rs", "fn f() { x.unwrap() }\n"),
        Source::parse("src/a/tests/deep.rs", "fn f() { x.unwrap() }\n"),
    ]);
    let left: Vec<_> = sources.iter().map(|source| source.path.as_str()).collect();
    assert_eq!(left, ["src/a/mod.rs", "src/a/b.rs"]);
    let tree = source::production();
    assert!(
        tree.iter()
            .any(|source| source.path == "crates/core/src/policy/rights.rs"),
        "control: the rule reads no tree"
    );
    assert!(
        tree.iter()
            .all(|source| !source.path.contains("conformance"))
    );
}

#[test]
fn every_file_is_named_by_a_module() {
    assert_none(&source::orphans(&source::read()));
}

#[test]
fn control_orphan_files_are_caught() {
    let sources = [
        Source::parse("crates/x/src/lib.rs", "mod a;\n#[cfg(test)]\nmod tests;\n"),
        Source::parse(
            "crates/x/src/a/mod.rs",
            "pub mod b;\nmod inline { fn f() {} }\n",
        ),
        Source::parse("crates/x/src/a/b.rs", "#[cfg(test)]\nmod tests;\n"),
        Source::parse("crates/x/src/a/b/tests.rs", "mod deep;\n"),
        Source::parse("crates/x/src/a/b/tests/deep.rs", "fn f() {}\n"),
        Source::parse("crates/x/src/a/inline.rs", "fn f() {}\n"),
        Source::parse("crates/x/src/b.rs", "fn f() {}\n"),
        Source::parse("crates/x/src/tests.rs", "fn f() {}\n"),
        Source::parse("src/main.rs", "fn main() {}\n"),
        Source::parse("src/a.rs", "fn f() {}\n"),
    ];
    assert_caught(
        &source::orphans(&sources),
        &["crates/x/src/a/inline.rs", "crates/x/src/b.rs", "src/a.rs"],
    );
}

#[test]
fn sentences_name_their_subject() {
    assert_none(&prose::pronouns(&prose::texts()));
}

#[test]
fn control_pronouns_are_caught() {
    let hidden = concat!("some", "body");
    let texts: Vec<(String, String)> = [
        (
            "src/a.rs",
            format!("// one\n// {hidden} asks, and \"{hidden}\" waits\n"),
        ),
        ("docs/b.md", format!("{}.\n", concat!("No", "body"))),
        (
            "src/c.rs",
            format!("fn {hidden}_asks() {{}} // `{}`\n", concat!("no", "body")),
        ),
        ("LICENSE", hidden.to_owned()),
    ]
    .into_iter()
    .map(|(path, text)| (path.to_owned(), text))
    .collect();
    assert_caught(
        &prose::pronouns(&texts),
        &["src/a.rs:2", "src/a.rs:2", "docs/b.md:1"],
    );
}

#[test]
fn every_invariant_names_a_test_that_exists() {
    let invariants = Architecture::read().invariants;
    assert!(
        !invariants.is_empty(),
        "ARCHITECTURE.md states no invariant"
    );
    assert_none(&prose::unproven(&invariants, &source::root()));
}

#[test]
fn control_unproven_invariants_are_caught() {
    let invariants: Vec<_> = [
        "no x. Test: `tests/tidy.rs::control_unproven_invariants_are_caught`.",
        "no y. Test: `clock::tests::deadlines_pass`; see `Rights::permit`.",
        "no z. Test: `tests/tidy.rs::assert_none`.",
        "no w, as `Rights::permit` says.",
    ]
    .iter()
    .enumerate()
    .map(|(index, text)| (index, (*text).to_owned()))
    .collect();
    let faults = prose::unproven(&invariants, &source::root());
    assert_caught(
        &faults,
        &[
            "ARCHITECTURE.md:1",
            "ARCHITECTURE.md:2",
            "ARCHITECTURE.md:3",
        ],
    );
    assert!(prose::declares_test(
        "#[tokio::test(start_paused = true)]\nasync fn a() {}\n",
        "a"
    ));
    assert!(!prose::declares_test(
        "#[test]\nfn b() {}\nfn a() {}\n",
        "a"
    ));
    let table = "table![\n    b,\n    a,\n];\nfn a() {}\nfn c() {}\n";
    assert!(prose::declares_test(table, "a") && !prose::declares_test(table, "c"));
}

#[test]
fn texts_speak_of_the_project_alone() {
    assert_none(&prose::private_mentions(&prose::texts()));
}

#[test]
fn control_private_mentions_are_caught() {
    let issue = |number: &str| format!("#{number}");
    let texts: Vec<(String, String)> = [
        ("src/a.rs", format!("// see {}12", "OA-")),
        ("src/b.rs", format!("let x = 1; // fixes {}", issue("41"))),
        (
            "docs/c.md",
            format!("as in {}", concat!("/wo", "rk/shared")),
        ),
        (
            "src/d.rs",
            format!("// oauth2-rs{} and owner/repo{}", issue("151"), issue("7")),
        ),
        (
            "src/e.rs",
            "let color = \"#123456\"; r#\"x\"#; // U+0041, AES-256, RSA-2048, CAFE-1".to_owned(),
        ),
        ("Makefile", format!("# {}", issue("3"))),
    ]
    .into_iter()
    .map(|(path, text)| (path.to_owned(), text))
    .collect();
    assert_caught(
        &prose::private_mentions(&texts),
        &["src/a.rs:1", "src/b.rs:1", "docs/c.md:1", "Makefile:1"],
    );
    assert!(
        prose::texts().iter().any(|(path, _)| path == "src/lib.rs"),
        "control: the rule reads no tree"
    );
}

#[test]
fn no_banned_or_doubled_crate_is_linked() {
    let tree = dependencies::tree();
    assert!(
        tree.lines().any(|line| line.starts_with("rustls v")),
        "control: the rule reads no tree"
    );
    assert_none(&dependencies::faults(&tree));
    let lock = prose::text_of("Cargo.lock");
    assert!(
        lock.contains("source = "),
        "control: the rule reads no lock file"
    );
    assert_none(&dependencies::foreign_sources(&lock));
}

#[test]
fn every_linked_crate_has_a_license_that_is_allowed() {
    let tree = dependencies::licenses();
    assert!(
        tree.lines().any(|line| line.contains("| rustls v")),
        "control: the rule reads no tree"
    );
    let allowed = dependencies::allowed_licenses(&prose::text_of("deny.toml"));
    assert_none(&dependencies::foreign_licenses(&tree, &allowed));
}

#[test]
fn control_foreign_licenses_are_caught() {
    let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
    let tree = "MIT | a v1\nGPL-3.0-only OR MIT | b v1\n(MIT OR X) AND Apache-2.0 | c v1\nApache-2.0/X | d v1\n\
                Apache-2.0 WITH LLVM-exception | e v1\nMIT AND X | p v1\n | q v1\n(MIT OR Y) AND X | r v1\n\
                MIT WITH Z | s v1\nX | t v1\n";
    let faults = dependencies::foreign_licenses(tree, &allowed);
    assert_caught(&faults, &["q v1", "r v1", "p v1", "s v1", "t v1"]);
}

#[test]
fn crates_depend_in_one_direction() {
    assert_none(&dependencies::wrong_directions(&dependencies::members()));
}

#[test]
fn core_links_no_network_client() {
    let tree = dependencies::links_of("claviger-core");
    assert!(
        tree.lines().any(|line| line.starts_with("tokio v")),
        "control: the rule reads no tree"
    );
    assert_none(&dependencies::network_clients(&tree));
    let control = "tokio v1\nreqwest v0.13.5\naws-sdk-kms v1.0.0\n";
    assert_caught(
        &dependencies::network_clients(control),
        &["reqwest", "aws-sdk-kms"],
    );
}

#[test]
fn control_banned_and_doubled_crates_are_caught() {
    let tree = "ring v0.17.14\nrustls v0.22.0\nrustls v0.23.0 (*)\nhyper v1.0.0\nhyper v1.0.0 (*)\nmonitoring v1.0.0\n";
    assert_caught(
        &dependencies::faults(tree),
        &["ring is linked", "rustls is linked in 2"],
    );
    let lock = "source = \"git+https://example.com/x\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
    assert_caught(
        &dependencies::foreign_sources(lock),
        &["Cargo.lock: \"git+https"],
    );
    let members = json!({ "packages": [{
        "name": "claviger-backend-vault",
        "source": null,
        "dependencies": [
            { "name": "claviger-backend", "kind": null },
            { "name": "claviger-backend-conformance", "kind": "dev" },
            { "name": "claviger", "kind": null },
        ],
    }] });
    assert_caught(
        &dependencies::wrong_directions(&members),
        &["claviger-backend-vault depends on claviger:"],
    );
}
