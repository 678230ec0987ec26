//! Searches a whole process and its surroundings for many canaries at once.
//!
//! Searches every readable mapping for all forms of all canaries in one pass, and counts the bytes that could not be read, so
//! that a test can reject a search that covered too little.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::Skip;
use super::canary::Canary;

/// Memory and large files are read in pieces of this size.
const PIECE: usize = 4 * 1024 * 1024;

/// Runs of zero bytes, most of a process, are skipped in steps of this many bytes.
const BLOCK: usize = 4096;

/// Where one form of a canary was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sighting {
    /// The name of the canary.
    pub canary: String,
    /// Its form.
    pub form: String,
    /// The mapping or file, and the position in it.
    pub place: String,
}

impl fmt::Display for Sighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) in {}", self.canary, self.form, self.place)
    }
}

/// What was found in the memory of a process, and how much of it was searched.
#[derive(Debug)]
pub struct Memory {
    /// What was found.
    pub sightings: Vec<Sighting>,
    /// Bytes in mappings that the process itself may read.
    pub readable: u64,
    /// Those of them that were searched.
    pub searched: u64,
}

/// All forms of many canaries.
#[derive(Debug)]
pub struct Sweep {
    needles: Vec<Needle>,
    /// The needles that begin with these two bytes.
    by_head: BTreeMap<u16, Vec<usize>>,
    /// Whether any needle begins with these two bytes.
    heads: Vec<bool>,
    longest: usize,
}

#[derive(Debug)]
struct Needle {
    canary: String,
    form: String,
    bytes: Vec<u8>,
}

impl Sweep {
    /// A search for these canaries, by name.
    pub fn of<'a>(canaries: impl IntoIterator<Item = (&'a str, &'a Canary)>) -> Self {
        let mut sweep = Self {
            needles: Vec::new(),
            by_head: BTreeMap::new(),
            heads: vec![false; 1 << 16],
            longest: 0,
        };
        for (name, canary) in canaries {
            for (form, bytes) in canary.forms() {
                let head = u16::from_le_bytes([bytes[0], bytes[1]]);
                sweep
                    .by_head
                    .entry(head)
                    .or_default()
                    .push(sweep.needles.len());
                sweep.heads[usize::from(head)] = true;
                sweep.longest = sweep.longest.max(bytes.len());
                sweep.needles.push(Needle {
                    canary: name.to_owned(),
                    form: form.to_owned(),
                    bytes: bytes.to_vec(),
                });
            }
        }
        sweep
    }

    /// Searches a text found at `place`.
    pub fn text(&self, place: &str, text: &[u8]) -> Vec<Sighting> {
        let mut sightings = Vec::new();
        self.each(text, |needle, at| {
            sightings.push(needle.sighting(format!("{place} at {at}")));
        });
        sightings
    }

    /// Searches a file, or every file below a directory, by content and by name. Skips files that vanish and files that are not
    /// regular.
    pub fn files(&self, path: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<Sighting> {
        let Ok(metadata) = fs::symlink_metadata(path) else {
            return Vec::new();
        };
        let name = path.display().to_string();
        if metadata.is_dir() {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            let mut sightings = self.text("a file name", name.as_bytes());
            sightings.extend(entries.flat_map(|entry| self.files(&entry.path(), wanted)));
            return sightings;
        }
        if !metadata.is_file() || !wanted(path) {
            return Vec::new();
        }
        let Ok(file) = File::open(path) else {
            return Vec::new();
        };
        let mut sightings = self.text("a file name", name.as_bytes());
        self.range(&file, 0..metadata.len(), &name, &mut sightings);
        sightings
    }

    /// Searches the memory of a process.
    pub fn memory(&self, pid: u32) -> Result<Memory, Skip> {
        let denied = |error| {
            Skip::because(format!(
                "the memory of another process cannot be read: {error}"
            ))
        };
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).map_err(denied)?;
        let file = File::open(format!("/proc/{pid}/mem")).map_err(denied)?;
        let stacks = stacks(pid);
        let mut memory = Memory {
            sightings: Vec::new(),
            readable: 0,
            searched: 0,
        };
        for Mapping { range, name } in maps.lines().filter_map(Mapping::readable) {
            let thread = stacks.iter().find(|(_, pointer)| range.contains(pointer));
            let place = match thread {
                Some((thread, _)) => format!("the stack of thread {thread}"),
                None if name.is_empty() => "anonymous memory".to_owned(),
                None => name.to_owned(),
            };
            memory.readable += range.end - range.start;
            memory.searched += self.range(&file, range, &place, &mut memory.sightings);
        }
        Ok(memory)
    }

    /// Searches a range of a file, and returns how much of it could be read.
    fn range(
        &self,
        file: &File,
        range: Range<u64>,
        place: &str,
        sightings: &mut Vec<Sighting>,
    ) -> u64 {
        let mut piece = vec![0; PIECE + self.longest];
        let (mut at, mut searched) = (range.start, 0);
        while at < range.end {
            // Pieces overlap by the longest needle, so that no match is cut at a border.
            let length =
                usize::try_from(range.end - at).map_or(piece.len(), |rest| rest.min(piece.len()));
            // Pages of `memfd_secret` and similar mappings cannot be read, by design.
            let read = file.read_at(&mut piece[..length], at).unwrap_or(0);
            let border = if read == piece.len() { PIECE } else { read };
            self.each(&piece[..read], |needle, offset| {
                if offset < border {
                    sightings
                        .push(needle.sighting(format!("{place} at {:#x}", at + offset as u64)));
                }
            });
            searched += border as u64;
            // Readable pages may follow an unreadable one.
            at += if border == 0 {
                BLOCK as u64
            } else {
                border as u64
            };
        }
        searched
    }

    /// Calls `found` for every needle in `text`.
    fn each(&self, text: &[u8], mut found: impl FnMut(&Needle, usize)) {
        let mut at = 0;
        while at + 1 < text.len() {
            let block = &text[at..text.len().min(at + BLOCK)];
            if block == &[0; BLOCK][..block.len()] && block.len() > 1 {
                at += block.len() - 1;
                continue;
            }
            let end = (at + BLOCK - 1).min(text.len() - 1);
            for here in at..end {
                let head = u16::from_le_bytes([text[here], text[here + 1]]);
                if self.heads[usize::from(head)] {
                    for &index in &self.by_head[&head] {
                        let needle = &self.needles[index];
                        if text[here..].starts_with(&needle.bytes) {
                            found(needle, here);
                        }
                    }
                }
            }
            at = end;
        }
    }
}

impl Needle {
    fn sighting(&self, place: String) -> Sighting {
        Sighting {
            canary: self.canary.clone(),
            form: self.form.clone(),
            place,
        }
    }
}

/// A line of `/proc/PID/maps`.
struct Mapping<'a> {
    range: Range<u64>,
    name: &'a str,
}

impl<'a> Mapping<'a> {
    /// The mapping, if the process may read it. The kernel's own pages are left out: they hold no user data and cannot be read.
    fn readable(line: &'a str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let parse = |text| u64::from_str_radix(text, 16).ok();
        let range = parse(start)?..parse(end)?;
        let readable = words.next()?.starts_with('r');
        let name = words.nth(3).unwrap_or_default();
        (readable && !name.starts_with("[vvar") && name != "[vsyscall]")
            .then_some(Self { range, name })
    }
}

/// The stack pointers of a process's threads that wait in the kernel, as every idle thread does.
fn stacks(pid: u32) -> Vec<(String, u64)> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    threads
        .filter_map(|thread| {
            let call = fs::read_to_string(thread.path().join("syscall")).ok()?;
            let pointer = call
                .split_ascii_whitespace()
                .rev()
                .nth(1)?
                .strip_prefix("0x")?;
            let name = fs::read_to_string(thread.path().join("comm")).ok()?;
            Some((
                name.trim().to_owned(),
                u64::from_str_radix(pointer, 16).ok()?,
            ))
        })
        .collect()
}
