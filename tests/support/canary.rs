//! Searches for leaked secrets.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use memchr::memmem;

use super::Skip;

/// Memory is read in pieces of this size.
const PIECE: usize = 4 * 1024 * 1024;

/// The length in bytes of a fragment that counts as the secret: a partly wiped secret has leaked.
const FRAGMENT: usize = 16;

/// A secret, in every form in which it could leak.
#[derive(Debug)]
pub struct Canary {
    forms: Vec<(String, Vec<u8>)>,
}

impl Canary {
    /// At least 12 characters, so that no match is accidental.
    pub fn new(secret: &str) -> Self {
        let mut canary = Self::of_bytes(secret.as_bytes());
        let wide = secret.encode_utf16();
        let form_encoded: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let json = serde_json::to_string(secret).expect("text");
        canary.add(
            "UTF-16LE",
            wide.clone().flat_map(u16::to_le_bytes).collect(),
        );
        canary.add("UTF-16BE", wide.flat_map(u16::to_be_bytes).collect());
        canary.add("as JSON", json.trim_matches('"').into());
        canary.add_base64("form-encoded, ", form_encoded.as_bytes());
        canary.add("form-encoded", form_encoded.into_bytes());
        canary
    }

    /// A binary secret.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        assert!(bytes.len() >= 12, "too short to search for");
        let mut canary = Self { forms: Vec::new() };
        canary.add("plain", bytes.to_vec());
        if bytes.len() >= 2 * FRAGMENT {
            let starts = [0, (bytes.len() - FRAGMENT) / 2, bytes.len() - FRAGMENT];
            for start in starts {
                canary.add(
                    &format!("plain from byte {start}"),
                    bytes[start..start + FRAGMENT].into(),
                );
            }
        }
        let hex = hexadecimal(bytes);
        canary.add("HEXADECIMAL", hex.to_uppercase().into_bytes());
        canary.add("hexadecimal", hex.into_bytes());
        for (name, between) in [("decimal list", ", "), ("decimal list, dense", ",")] {
            let numbers: Vec<_> = bytes.iter().map(ToString::to_string).collect();
            canary.add(name, numbers.join(between).into_bytes());
        }
        canary.add_base64("", bytes);
        canary
    }

    /// Adds the base64 forms for every alignment.
    fn add_base64(&mut self, of: &str, bytes: &[u8]) {
        for before in 0..3_usize {
            let shifted = [&vec![0; before], bytes].concat();
            for (name, engine) in [
                ("base64", &STANDARD_NO_PAD),
                ("base64url", &URL_SAFE_NO_PAD),
            ] {
                let text = engine.encode(&shifted);
                // The first and last characters also encode bits of the neighboring bytes.
                let first = (before * 8).div_ceil(6);
                let last = shifted.len() * 8 / 6;
                let text = text.as_bytes()[first..last].into();
                self.add(&format!("{of}{name}, shifted by {before}"), text);
            }
        }
    }

    /// Adds a form, unless the list already contains it.
    fn add(&mut self, name: &str, form: Vec<u8>) {
        if self.forms.iter().all(|(_, known)| *known != form) {
            self.forms.push((name.to_owned(), form));
        }
    }

    /// Every form, with its name.
    pub fn forms(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.forms
            .iter()
            .map(|(name, form)| (name.as_str(), form.as_slice()))
    }

    /// The first form that `text` contains.
    pub fn sighted(&self, text: &[u8]) -> Option<&str> {
        let found = |(_, form): &(&str, &[u8])| memmem::find(text, form).is_some();
        self.forms().find(found).map(|(name, _)| name)
    }

    /// Where the canary occurs around a process: its environment, its arguments, and the files in `places`.
    pub fn sightings(&self, pid: u32, places: &[&Path]) -> Vec<String> {
        let mut files: Vec<_> = ["environ", "cmdline"]
            .map(|name| PathBuf::from(format!("/proc/{pid}/{name}")))
            .into();
        files.extend(places.iter().flat_map(|place| files_below(place)));
        files
            .iter()
            .filter_map(|path| {
                let text = fs::read(path).ok()?;
                Some(format!("{}: {}", path.display(), self.sighted(&text)?))
            })
            .collect()
    }

    /// How often the plain form occurs in the memory of a process.
    pub fn count_in_memory(&self, pid: u32) -> Result<usize, Skip> {
        let (_, plain) = self.forms.first().expect("the plain form");
        count_in(pid, plain, "rw")
    }
}

/// How often these bytes occur in the readable memory of a process. Memory that the kernel hides from other processes is not
/// counted.
pub fn count_readable(pid: u32, wanted: &[u8]) -> Result<usize, Skip> {
    count_in(pid, wanted, "r")
}

/// As above, in mappings whose permissions begin with `permissions`.
fn count_in(pid: u32, wanted: &[u8], permissions: &str) -> Result<usize, Skip> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).map_err(|error| {
        Skip::because(format!(
            "the memory map of another process cannot be read: {error}"
        ))
    })?;
    let memory = File::open(format!("/proc/{pid}/mem")).map_err(|error| {
        Skip::because(format!(
            "the memory of another process cannot be read: {error}"
        ))
    })?;
    let mut count = 0;
    for (start, end) in maps.lines().filter_map(|line| range(line, permissions)) {
        let mut at = start;
        while at < end {
            let length = PIECE.min(usize::try_from(end - at).unwrap_or(PIECE));
            let mut piece = vec![0; length];
            // Pages of memfd_secret and similar mappings cannot be read, by design.
            let read = memory.read_at(&mut piece, at).unwrap_or(0);
            count += memmem::find_iter(&piece[..read], wanted).count();
            // Pieces overlap, so that no match is cut at a border; the end of a range needs no overlap.
            let step = if at + length as u64 >= end {
                length
            } else {
                length - wanted.len()
            };
            at += step as u64;
        }
    }
    Ok(count)
}

/// Lower-case hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// The range in a line of `/proc/PID/maps`, if its permissions begin with `permissions`.
fn range(line: &str, permissions: &str) -> Option<(u64, u64)> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let parse = |text| u64::from_str_radix(text, 16).ok();
    rest.starts_with(permissions)
        .then_some((parse(start)?, parse(end)?))
}

fn files_below(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else {
        return vec![path.to_owned()];
    };
    entries
        .flatten()
        .flat_map(|entry| files_below(&entry.path()))
        .collect()
}

#[test]
fn every_form_is_sighted() {
    let secret = "a canary/with+odd \"signs\" ~ÿ, and long";
    let canary = Canary::new(secret);
    let hex = hexadecimal(secret.as_bytes());
    let mut texts = vec![
        format!("xx{secret}yy").into_bytes(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
        secret.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        format!("{:?}", secret.as_bytes()).into_bytes(),
        format!("half of it: {}...", &secret[..20]).into_bytes(),
        STANDARD_NO_PAD
            .encode(
                form_urlencoded::byte_serialize(format!("id:{secret}").as_bytes())
                    .collect::<String>(),
            )
            .into_bytes(),
        form_urlencoded::byte_serialize(secret.as_bytes())
            .collect::<String>()
            .into_bytes(),
        serde_json::json!({ "x": secret }).to_string().into_bytes(),
    ];
    for before in ["", "u", "us", "user:", "user:+"] {
        texts.push(
            STANDARD_NO_PAD
                .encode(format!("{before}{secret}{before}"))
                .into_bytes(),
        );
        texts.push(
            URL_SAFE_NO_PAD
                .encode(format!("{before}{secret}"))
                .into_bytes(),
        );
    }
    for text in texts {
        assert!(
            canary.sighted(&text).is_some(),
            "{}",
            String::from_utf8_lossy(&text)
        );
    }
    assert_eq!(
        canary.sighted(b"a canary with nothing odd about it at all"),
        None
    );
}

#[test]
fn memory_is_searched() {
    // Built at run time, so that the binary does not contain the text as well.
    let secret: String = (0..32_u8)
        .map(|n| char::from(b'a' + (n * 7 + 3) % 26))
        .collect();
    let own = std::process::id();
    let canary = Canary::new(&secret);
    assert!(
        canary
            .count_in_memory(own)
            .expect("our own memory can be read")
            >= 2
    );
}

#[test]
fn the_surroundings_of_a_process_are_searched() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(folder.path().join("deep")).expect("writable");
    fs::write(folder.path().join("deep/file"), "user:leaked-by-accident").expect("writable");
    let own = std::process::id();
    let found = Canary::new("leaked-by-accident").sightings(own, &[folder.path()]);
    assert!(
        found.len() == 1 && found[0].ends_with("deep/file: plain"),
        "{found:?}"
    );
    let program = fs::read_to_string(format!("/proc/{own}/cmdline")).expect("readable");
    let program = program.split('\0').next().unwrap_or_default();
    let found = Canary::new(program).sightings(own, &[]);
    let arguments = format!("/proc/{own}/cmdline: plain");
    assert!(found.contains(&arguments), "{found:?}");
    assert!(
        Canary::new("not to be found anywhere")
            .sightings(own, &[folder.path()])
            .is_empty()
    );
}
