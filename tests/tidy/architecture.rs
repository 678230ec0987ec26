//! The tables and invariants of ARCHITECTURE.md.

use std::fs;

use super::source::root;

/// A module and its floor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    pub floor: u32,
    pub path: Vec<String>,
}

impl Room {
    /// As ARCHITECTURE.md writes it.
    pub fn name(&self) -> String {
        self.path.join("::")
    }
}

/// The contents of ARCHITECTURE.md that the rules use.
#[derive(Debug)]
pub struct Architecture {
    pub rooms: Vec<Room>,
    /// The files of the table "Where plaintext lives".
    pub plaintext: Vec<String>,
    /// Each invariant: its first line's number, and its text.
    pub invariants: Vec<(usize, String)>,
}

impl Architecture {
    /// Reads the page of this tree.
    pub fn read() -> Self {
        let path = root().join("ARCHITECTURE.md");
        Self::parse(&fs::read_to_string(path).expect("ARCHITECTURE.md is at the root"))
    }

    /// Parses a page.
    pub fn parse(text: &str) -> Self {
        let mut rooms = Vec::new();
        for cells in table(text, &["floor", "room"]) {
            let floor = cells[0].parse().unwrap_or_else(|_| {
                panic!(
                    "ARCHITECTURE.md: `{}` in the table of floors is not a number",
                    cells[0]
                )
            });
            for name in ticked(&cells[1]) {
                let path = name.split("::").map(str::to_owned).collect();
                rooms.push(Room { floor, path });
            }
        }
        let plaintext = table(text, &["file", "plaintext"])
            .iter()
            .flat_map(|cells| ticked(&cells[0]))
            .collect();
        Self {
            rooms,
            plaintext,
            invariants: invariants(text),
        }
    }

    /// The room that a module or item belongs to: the longest one that is a prefix of its path.
    pub fn room(&self, path: &[String]) -> Option<&Room> {
        self.rooms
            .iter()
            .filter(|room| path.starts_with(&room.path))
            .max_by_key(|room| room.path.len())
    }
}

/// The rows of the table whose heading begins with these cells. Panics if there is none: without its table a rule would always
/// pass.
fn table(text: &str, heading: &[&str]) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        let line = line.trim().trim_start_matches('|').trim_end_matches('|');
        line.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut lines = text.lines().map(str::trim);
    assert!(
        lines.any(|line| line.starts_with('|') && cells(line).starts_with(&heading.map_owned())),
        "ARCHITECTURE.md has no table that begins with the columns {heading:?}"
    );
    lines
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(cells)
        .collect()
}

trait MapOwned {
    fn map_owned(&self) -> Vec<String>;
}

impl MapOwned for [&str] {
    fn map_owned(&self) -> Vec<String> {
        self.iter().map(|text| (*text).to_owned()).collect()
    }
}

/// The texts in backticks.
pub fn ticked(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// From each `**Invariant**` to the end of its paragraph or list item.
fn invariants(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        let ends =
            line.trim().is_empty() || line.trim_start().starts_with("- ") || line.starts_with('#');
        open &= !ends;
        if let Some((_, rest)) = line.split_once("**Invariant") {
            found.push((index + 1, rest.to_owned()));
            open = true;
        } else if open && let Some((_, text)) = found.last_mut() {
            text.push(' ');
            text.push_str(line.trim());
        }
    }
    found
}

#[test]
fn tables_and_invariants_are_read() {
    let page = Architecture::parse(
        "x\n| floor | room | owns |\n|---|---|---|\n| 0 | `a` `b::c` | |\n| 4 | `b` | |\n\n\
         - **Invariant**: no x\n  in y. Test: `t.rs::f`.\n- other `z`\n\n\
         | file | plaintext | more |\n|---|---|---|\n| `src/a.rs` | `q` | |\n",
    );
    let path = |text: &str| text.split("::").map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(page.room(&path("b::c::d")).unwrap().floor, 0);
    assert_eq!(page.room(&path("b::d")).unwrap().floor, 4);
    assert_eq!(page.room(&path("z")), None);
    assert_eq!(page.plaintext, ["src/a.rs"]);
    assert_eq!(page.invariants.len(), 1);
    assert_eq!(ticked(&page.invariants[0].1), ["t.rs::f"]);
}
