//! The search for secrets where they must not be.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use memchr::memmem;

use super::Skip;

/// Memory is read in pieces of this size.
const PIECE: usize = 4 * 1024 * 1024;

/// A secret, in every form in which it could leak.
#[derive(Debug)]
pub struct Canary {
    forms: Vec<(String, Vec<u8>)>,
}

impl Canary {
    /// At least 12 characters, or it would be found by chance.
    pub fn new(secret: &str) -> Self {
        assert!(secret.len() >= 12, "too short to be searched for");
        let bytes = secret.as_bytes();
        let hex = hexadecimal(bytes);
        let wide = secret.encode_utf16();
        let mut forms = vec![
            ("plain".to_owned(), bytes.to_vec()),
            ("hexadecimal".to_owned(), hex.clone().into_bytes()),
            ("HEXADECIMAL".to_owned(), hex.to_uppercase().into_bytes()),
            (
                "UTF-16LE".to_owned(),
                wide.clone().flat_map(u16::to_le_bytes).collect(),
            ),
            (
                "UTF-16BE".to_owned(),
                wide.flat_map(u16::to_be_bytes).collect(),
            ),
            (
                "form-encoded".to_owned(),
                form_urlencoded::byte_serialize(bytes)
                    .collect::<String>()
                    .into_bytes(),
            ),
            (
                "as JSON".to_owned(),
                serde_json::to_string(secret)
                    .expect("text")
                    .trim_matches('"')
                    .as_bytes()
                    .to_vec(),
            ),
        ];
        for before in 0..3_usize {
            let shifted = [&vec![0; before], bytes].concat();
            for (name, engine) in [
                ("base64", &STANDARD_NO_PAD),
                ("base64url", &URL_SAFE_NO_PAD),
            ] {
                let text = engine.encode(&shifted);
                // The first and last characters also hold bits of the neighbours.
                let first = (before * 8).div_ceil(6);
                let last = shifted.len() * 8 / 6;
                forms.push((
                    format!("{name}, shifted by {before}"),
                    text[first..last].into(),
                ));
            }
        }
        Self { forms }
    }

    /// The first form that `text` holds.
    pub fn sighted(&self, text: &[u8]) -> Option<&str> {
        let found = |form: &&(String, Vec<u8>)| memmem::find(text, &form.1).is_some();
        self.forms.iter().find(found).map(|(name, _)| name.as_str())
    }

    /// Where the canary shows around a process: its environment, its arguments, and the files in `places`.
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

    /// How often the plain form stands in the memory of a process.
    pub fn count_in_memory(&self, pid: u32) -> Result<usize, Skip> {
        let (_, plain) = self.forms.first().expect("the plain form");
        count_in(pid, plain, "rw")
    }
}

/// How often these bytes stand in any memory of a process that it can read itself, except where the kernel lets nobody else
/// look: there they are not counted.
pub fn count_readable(pid: u32, wanted: &[u8]) -> Result<usize, Skip> {
    count_in(pid, wanted, "r")
}

/// The same, in memory whose permissions begin with `permissions`.
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
            // Pages of memfd_secret and the like refuse; that is what they are for.
            let read = memory.read_at(&mut piece, at).unwrap_or(0);
            count += memmem::find_iter(&piece[..read], wanted).count();
            // Overlap, so that nothing hides on the border; at the end of a range there is no border.
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

/// The range of a line of `/proc/PID/maps`, if its permissions begin so.
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
    let secret = "a canary/with+odd \"signs\" ~ÿ";
    let canary = Canary::new(secret);
    let hex = hexadecimal(secret.as_bytes());
    let mut texts = vec![
        format!("xx{secret}yy").into_bytes(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
        secret.encode_utf16().flat_map(u16::to_le_bytes).collect(),
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
    // Built at run time, so that the text does not stand in the binary as well.
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
    assert_eq!(
        Canary::new(program).sightings(own, &[]),
        [format!("/proc/{own}/cmdline: plain")]
    );
    assert!(
        Canary::new("not to be found anywhere")
            .sightings(own, &[folder.path()])
            .is_empty()
    );
}
