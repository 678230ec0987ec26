//! What texts must not say, and what they must prove.

use std::fs;
use std::path::{Path, PathBuf};

use super::architecture::ticked;
use super::source::{files_below, relative, root};

/// Documents of other people, or lists made by tools.
const FOREIGN: [&str; 4] = ["Cargo.lock", "package-lock.json", "go.sum", "LICENSE"];

/// Every text file of the tree with its content.
pub fn texts() -> Vec<(String, String)> {
    files_below(&root())
        .into_iter()
        .filter(|path| {
            !FOREIGN.contains(
                &path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .as_ref(),
            )
        })
        .filter_map(|path| Some((relative(&path), fs::read_to_string(path).ok()?)))
        .collect()
}

/// The text of one file at the root.
pub fn text_of(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_default()
}

/// Every mention of what is none of a reader's business: places and numbers that mean nothing outside their makers' desk.
pub fn private_mentions(texts: &[(String, String)]) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, text) in texts {
        for (index, line) in text.lines().enumerate() {
            if let Some(what) = private_mention(path, line) {
                faults.push(format!(
                    "{path}:{}: {what}: say the reason itself",
                    index + 1
                ));
            }
        }
    }
    faults
}

fn private_mention(path: &str, line: &str) -> Option<String> {
    if line.contains(concat!("/wo", "rk/"))
        || line.to_lowercase().contains(concat!("helper ", "session"))
    {
        return Some("a place that readers do not have".to_owned());
    }
    for prefix in ["OA", "BE", "RO", "SE"] {
        if let Some(id) = numbered(line, &format!("{prefix}-")) {
            return Some(format!(
                "`{id}` is a number of a document that readers do not have"
            ));
        }
    }
    let is_comment =
        line.contains("//") || line.trim_start().starts_with('#') || path.ends_with(".md");
    let bare = numbered(line, "#").filter(|_| is_comment)?;
    Some(format!("`{bare}` is the number of an issue"))
}

/// The first `prefix` + digits that stands at the beginning of a word.
fn numbered(line: &str, prefix: &str) -> Option<String> {
    line.match_indices(prefix).find_map(|(start, _)| {
        let before = line.get(..start)?.chars().next_back();
        let rest = line.get(start + prefix.len()..)?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let after = rest.chars().nth(digits.len());
        let stands_alone = before.is_none_or(|c| c.is_whitespace() || "(,;:[".contains(c))
            && after.is_none_or(|c| !c.is_alphanumeric());
        (stands_alone && !digits.is_empty()).then(|| format!("{prefix}{digits}"))
    })
}

/// Every invariant that names no test, or one that does not exist.
pub fn unproven(invariants: &[(usize, String)], root: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    for (line, text) in invariants {
        let mut named = 0;
        for reference in ticked(text).iter().filter(|text| is_test_reference(text)) {
            named += 1;
            if !test_exists(reference, root) {
                faults.push(format!(
                    "ARCHITECTURE.md:{line}: there is no test `{reference}`"
                ));
            }
        }
        if named == 0 {
            faults.push(format!(
                "ARCHITECTURE.md:{line}: the invariant names no test, as `path/to/file.rs::function` or `module::tests::function`"
            ));
        }
    }
    faults
}

fn is_test_reference(text: &str) -> bool {
    text.contains(".rs::") || text.contains("tests::")
}

/// Whether `file.rs::function` or `module::tests::function` is a function with `#[test]` (or an attribute that ends so).
fn test_exists(reference: &str, root: &Path) -> bool {
    let Some((place, function)) = reference.rsplit_once("::") else {
        return false;
    };
    let files = if let Some((file, _)) = place.split_once(".rs") {
        vec![root.join(format!("{file}.rs"))]
    } else {
        files_of_module(place, root)
    };
    files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .any(|text| declares_test(&text, function))
}

/// The files of a module. Its path may begin with the folder of a crate; else it is a room of any crate.
fn files_of_module(place: &str, root: &Path) -> Vec<PathBuf> {
    let module = place
        .trim_end_matches("tests")
        .trim_end_matches("::")
        .replace("::", "/");
    let mut places = vec![root.join("src").join(&module)];
    if let Some((name, rest)) = module.split_once('/') {
        places.push(root.join("crates").join(name).join("src").join(rest));
    }
    places.push(root.join("crates").join(&module).join("src"));
    if let Ok(crates) = fs::read_dir(root.join("crates")) {
        places.extend(
            crates
                .flatten()
                .map(|folder| folder.path().join("src").join(&module)),
        );
    }
    places
        .iter()
        .flat_map(|place| {
            let file = place.with_extension("rs");
            if file.exists() {
                vec![file]
            } else {
                files_below(place)
            }
        })
        .collect()
}

/// Whether `text` has a function of this name below a line with a test attribute, or lists it as a named test of a binary
/// that runs its tests itself.
pub fn declares_test(text: &str, function: &str) -> bool {
    let listed = format!("(\"{function}\",{function}");
    let dense: String = text
        .chars()
        .filter(|letter| !letter.is_whitespace())
        .collect();
    let mut tables = dense.split("table![").skip(1);
    let in_a_table = tables.any(|rest| {
        let mut names = rest.split(']').next().unwrap_or_default().split(',');
        names.any(|name| name == function)
    });
    if in_a_table || dense.contains(&listed) {
        return true;
    }
    let mut attributed = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") {
            let name = line
                .trim_start_matches("#[")
                .split(['(', ']'])
                .next()
                .unwrap_or_default();
            attributed |= name == "test" || name.ends_with("::test");
        } else if let Some((_, rest)) = line.split_once("fn ") {
            let name = rest.split(['(', '<']).next().unwrap_or_default().trim();
            if attributed && name == function {
                return true;
            }
            attributed = false;
        }
    }
    false
}
