//! The file itself: who may have written it, and what it is.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::SAMPLE;
use crate::config::Config;

struct Place {
    _directory: TempDir,
    file: PathBuf,
}

fn place(bytes: &[u8], mode: u32) -> Place {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("claviger.toml");
    fs::write(&file, bytes).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    Place {
        _directory: directory,
        file,
    }
}

fn refusal(path: &Path) -> String {
    let problems = Config::load(path).unwrap_err();
    assert_eq!(problems.origin(), path);
    assert_eq!(problems.list().len(), 1);
    problems.to_string()
}

#[test]
fn a_file_that_no_other_user_can_write_is_read() {
    for mode in [0o600, 0o640, 0o644, 0o400] {
        let place = place(SAMPLE.as_bytes(), mode);
        let config = Config::load(&place.file).unwrap();
        assert_eq!(config.origin, place.file);
        assert_eq!(config.digest.len(), 16);
    }
}

#[test]
fn a_file_that_others_can_write_is_refused() {
    for mode in [0o620, 0o602, 0o666, 0o664] {
        let place = place(SAMPLE.as_bytes(), mode);
        let remedy = format!("run `chmod go-w {}`", place.file.display());
        assert!(refusal(&place.file).contains(&remedy), "{mode:o}");
    }
}

#[test]
fn a_file_of_another_user_is_refused() {
    let place = place(SAMPLE.as_bytes(), 0o600);
    if chown(&place.file, Some(12345), None).is_err() {
        return; // Only root gives a file away.
    }
    let said = refusal(&place.file);
    assert!(said.contains("belongs to user 12345"), "{said}");
    assert!(said.contains("`chown root "), "{said}");
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    let place = place(SAMPLE.as_bytes(), 0o600);
    let directory = place.file.parent().unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o777)).unwrap();
    let said = refusal(&place.file);
    assert!(said.contains("is not safe, because "), "{said}");
    assert!(
        said.contains(&format!("`chmod go-w {}`", directory.display())),
        "{said}"
    );
}

#[test]
fn a_link_is_followed_and_directories_and_pipes_are_refused() {
    let place = place(SAMPLE.as_bytes(), 0o600);
    let link = place.file.with_file_name("link.toml");
    symlink(&place.file, &link).unwrap();
    assert_eq!(Config::load(&link).unwrap().origin, link);
    if lchown(&link, Some(12345), None).is_ok() {
        let said = refusal(&link);
        assert!(
            said.contains("belongs to user 12345") && said.contains("chown -h root"),
            "{said}"
        );
    }
    let directory = place.file.parent().unwrap();
    assert!(refusal(directory).contains("not a regular file"));
    let pipe = place.file.with_file_name("pipe.toml");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    assert!(refusal(&pipe).contains("not a regular file"));
    assert!(refusal(&place.file.with_file_name("none.toml")).contains("does not exist"));
}

#[test]
fn size_and_encoding_are_checked() {
    let large = place(&vec![b'#'; 1024 * 1024 + 1], 0o600);
    assert!(refusal(&large.file).contains("larger than 1 MiB"));
    let latin = place(b"mode = 'dev'\n# caf\xe9\n", 0o600);
    assert!(refusal(&latin.file).contains("line 2 is not UTF-8"));
}
