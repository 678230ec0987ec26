//! The location of a store, and the key that unseals it.
//!
//! Owns [`FileSettings`] and the reading of key and passphrase files: such a file is rejected if users other than its owner
//! could have read or replaced it. Never keeps a key; the key that is read goes to `seal` and is zeroed there. The file is read
//! again whenever a new generation of the store appears, so a daemon continues after `claviger file rekey` without a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use claviger_backend::Secret;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat};
use rustix::io::Errno;
use zeroize::{Zeroize as _, Zeroizing};

use crate::disk;
use crate::error::{Error, KeyFault};

/// The size of a key, in bytes.
pub(crate) const KEY_BYTES: usize = 32;

/// The size limit of a key or passphrase file, in bytes.
const MAX_KEY_FILE: usize = 4096;

/// The shortest passphrase that a new store accepts, in bytes. An attacker with a copy of the store can guess without limit.
const SHORTEST_PASSPHRASE: usize = 12;

/// The settings of a sealed file store, from the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// The directory of the sealed records, mode 0700.
    pub directory: PathBuf,
    /// The key that unseals it.
    pub key: StoreKey,
}

/// The key that unseals a store.
#[derive(Clone, Debug)]
pub enum StoreKey {
    /// A file, mode 0600 or stricter, with 32 bytes in base64.
    KeyFile(PathBuf),
    /// A file, mode 0600 or stricter, with a passphrase; one trailing newline is stripped.
    PassphraseFile(PathBuf),
    /// A passphrase typed by the user.
    Passphrase(Arc<Secret>),
}

/// Equal if both name the same file. Typed passphrases are not compared: only clones of one `Arc` are equal.
impl PartialEq for StoreKey {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::KeyFile(one), Self::KeyFile(other))
            | (Self::PassphraseFile(one), Self::PassphraseFile(other)) => one == other,
            (Self::Passphrase(one), Self::Passphrase(other)) => Arc::ptr_eq(one, other),
            (Self::KeyFile(_) | Self::PassphraseFile(_) | Self::Passphrase(_), _) => false,
        }
    }
}

impl Eq for StoreKey {}

/// A key or passphrase in memory, from which the keys of a store are derived.
#[derive(Debug)]
pub(crate) enum Unsealer {
    Key(Secret),
    Passphrase(Arc<Secret>),
}

impl StoreKey {
    /// The kind of key in words, for messages and for comparing with the header of a store.
    pub(crate) fn sort(&self) -> &'static str {
        match self {
            Self::KeyFile(_) => "key file",
            Self::PassphraseFile(_) | Self::Passphrase(_) => "passphrase",
        }
    }

    /// Reads the file.
    pub(crate) fn read(&self) -> Result<Unsealer, Error> {
        match self {
            Self::KeyFile(path) => {
                let key = decode_key(&read_private(path)?).map_err(|fault| Error::KeyFile {
                    path: path.clone(),
                    fault,
                })?;
                Ok(Unsealer::Key(key))
            }
            Self::PassphraseFile(path) => {
                let text = read_private(path)?;
                let passphrase = without_line_end(&text);
                if passphrase.is_empty() {
                    let fault = KeyFault::Empty;
                    let path = path.clone();
                    return Err(Error::KeyFile { path, fault });
                }
                Ok(Unsealer::Passphrase(Arc::new(Secret::new(
                    passphrase.to_vec(),
                ))))
            }
            Self::Passphrase(typed) if typed.is_empty() => Err(Error::Passphrase(KeyFault::Empty)),
            Self::Passphrase(typed) => Ok(Unsealer::Passphrase(Arc::clone(typed))),
        }
    }

    /// Reads the file in order to seal a new store with it. Rejects a passphrase that is too short for that.
    pub(crate) fn read_for_sealing(&self) -> Result<Unsealer, Error> {
        let unsealer = self.read()?;
        let Unsealer::Passphrase(passphrase) = &unsealer else {
            return Ok(unsealer);
        };
        if passphrase.len() >= SHORTEST_PASSPHRASE {
            return Ok(unsealer);
        }
        let fault = KeyFault::Short(passphrase.len());
        Err(match self {
            Self::KeyFile(path) | Self::PassphraseFile(path) => Error::KeyFile {
                path: path.clone(),
                fault,
            },
            Self::Passphrase(_) => Error::Passphrase(fault),
        })
    }
}

/// Writes a new random key to a new file with mode 0600.
///
/// # Errors
/// [`Error::KeyExists`] if the file exists; it is not changed.
pub fn generate_key_file(path: &Path) -> Result<(), Error> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    aws_lc_rs::rand::fill(key.as_mut_slice()).map_err(|_unspecified| Error::Crypto)?;
    let mut text = Zeroizing::new(STANDARD.encode(key.as_slice()));
    text.push('\n');
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match rustix::fs::openat(CWD, path, flags, Mode::RUSR | Mode::WUSR) {
        Ok(fd) => fd,
        Err(Errno::EXIST | Errno::LOOP) => return Err(Error::KeyExists(path.to_owned())),
        Err(errno) => return Err(Error::io(path, "make", errno)),
    };
    let written = disk::write_all(&fd, text.as_bytes()).and_then(|()| rustix::fs::fsync(&fd));
    if let Err(errno) = written {
        // A partial key is useless, and would make the next attempt fail with `KeyExists`.
        let _left = rustix::fs::unlinkat(CWD, path, AtFlags::empty());
        return Err(Error::io(path, "write", errno));
    }
    disk::sync_parent(path)
}

/// Reads a file that only its owner can read and write. The owner must be root or the user of this process.
fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let fault = |fault| Error::KeyFile {
        path: path.to_owned(),
        fault,
    };
    let (fd, stat) = disk::open_to_read(CWD, path).map_err(|errno| match errno {
        Errno::NOENT => Error::KeyMissing(path.to_owned()),
        Errno::LOOP => fault(KeyFault::Link),
        other => Error::io(path, "open", other),
    })?;
    let us = rustix::process::geteuid().as_raw();
    let mut list = [0; 1024];
    // Without an access list, or on a file system without them, the mode alone decides.
    let length = rustix::fs::fgetxattr(&fd, "system.posix_acl_access", &mut list).unwrap_or(0);
    check_private(&stat, us, list.get(..length).unwrap_or_default()).map_err(fault)?;
    match disk::read_bounded(&fd, &stat, MAX_KEY_FILE) {
        Ok(Some(bytes)) => Ok(Zeroizing::new(bytes)),
        Ok(None) => Err(fault(KeyFault::TooLarge)),
        Err(errno) => Err(Error::io(path, "read", errno)),
    }
}

fn check_private(stat: &Stat, us: u32, access_list: &[u8]) -> Result<(), KeyFault> {
    if !disk::is_file(stat) {
        return Err(KeyFault::NotFile);
    }
    let owner = stat.st_uid;
    if owner != us && owner != 0 {
        return Err(KeyFault::Owner { owner, us });
    }
    let mode = stat.st_mode & 0o7777;
    // systemd provides a credential as a file of root with an access list for the service's user. The group bits of the mode
    // are then the mask of the list, not the permissions of the group.
    let open_to = mode & 0o077;
    if open_to == 0 || (open_to == 0o040 && grants_access_only_to(access_list, us)) {
        Ok(())
    } else {
        Err(KeyFault::Mode { mode })
    }
}

/// Whether an access list (acl(5), in the kernel's encoding: a version, then tag, permissions and id of each entry) is present
/// and grants access only to the owner, root and `us`.
fn grants_access_only_to(list: &[u8], us: u32) -> bool {
    const VERSION: [u8; 4] = [2, 0, 0, 0];
    const USER_OBJ: u16 = 0x01;
    const USER: u16 = 0x02;
    const MASK: u16 = 0x10;
    let Some(entries) = list.strip_prefix(&VERSION) else {
        return false;
    };
    let (entries, rest) = entries.as_chunks::<8>();
    !entries.is_empty()
        && rest.is_empty()
        && entries.iter().all(|&[t0, t1, p0, p1, i0, i1, i2, i3]| {
            let id = u32::from_le_bytes([i0, i1, i2, i3]);
            match u16::from_le_bytes([t0, t1]) {
                USER_OBJ | MASK => true,
                USER if id == us || id == 0 => true,
                _ => u16::from_le_bytes([p0, p1]) == 0,
            }
        })
}

fn decode_key(text: &[u8]) -> Result<Secret, KeyFault> {
    let text = text.trim_ascii();
    if text.is_empty() {
        return Err(KeyFault::Empty);
    }
    // Allocated at full size: a growing buffer would leave parts of the key in freed memory.
    let mut key = Zeroizing::new(Vec::with_capacity(text.len()));
    let decoded = STANDARD.decode_vec(text, &mut key).or_else(|_padding| {
        key.zeroize();
        STANDARD_NO_PAD.decode_vec(text, &mut key)
    });
    match decoded {
        Ok(()) if key.len() == KEY_BYTES => Ok(Secret::new(std::mem::take(&mut *key))),
        Ok(()) => Err(KeyFault::Size(key.len())),
        // The decoder's error quotes the input, so it is dropped.
        Err(_quotes_input) => Err(KeyFault::NotBase64),
    }
}

fn without_line_end(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_generated_key_is_private_fresh_and_never_overwritten() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        generate_key_file(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let first = fs::read(&path).unwrap();
        assert!(first.ends_with(b"\n"));
        assert!(matches!(
            generate_key_file(&path),
            Err(Error::KeyExists(at)) if at == path
        ));
        assert_eq!(fs::read(&path).unwrap(), first);
        let unsealer = StoreKey::KeyFile(path).read().unwrap();
        assert!(matches!(unsealer, Unsealer::Key(key) if key.len() == 32));
    }

    #[test]
    fn an_invalid_key_is_rejected_with_its_reason() {
        let thirty_two = STANDARD.encode([7; 32]);
        for (text, expected) in [
            (thirty_two.clone(), None),
            (format!("{thirty_two}\n"), None),
            (thirty_two.trim_end_matches('=').to_owned(), None),
            (STANDARD.encode([7; 31]), Some(KeyFault::Size(31))),
            (STANDARD.encode([7; 33]), Some(KeyFault::Size(33))),
            ("not base64!".into(), Some(KeyFault::NotBase64)),
            ("\n".into(), Some(KeyFault::Empty)),
            ("A".repeat(5000), Some(KeyFault::TooLarge)),
        ] {
            let home = tempfile::tempdir().unwrap();
            let path = home.path().join("key");
            write(&path, &text, 0o600);
            let fault = match StoreKey::KeyFile(path).read() {
                Ok(_) => None,
                Err(Error::KeyFile { fault, .. }) => Some(fault),
                Err(other) => panic!("{other}"),
            };
            assert_eq!(fault, expected);
        }
    }

    #[test]
    fn a_key_file_that_others_could_read_or_replace_is_rejected() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        let key = StoreKey::KeyFile(path.clone());
        assert!(matches!(key.read(), Err(Error::KeyMissing(at)) if at == path));
        for mode in [0o640, 0o604, 0o620, 0o601] {
            write(&path, &STANDARD.encode([7; 32]), mode);
            let error = key.read().unwrap_err().to_string();
            assert!(error.contains("chmod 600"), "{error}");
        }
        write(&path, &STANDARD.encode([7; 32]), 0o400);
        assert!(key.read().is_ok());
        let link = home.path().join("link");
        symlink(&path, &link).unwrap();
        let linked = StoreKey::KeyFile(link).read().unwrap_err().to_string();
        assert!(linked.contains("symbolic link"), "{linked}");
        let directory = StoreKey::KeyFile(home.path().to_owned()).read();
        assert!(matches!(
            directory,
            Err(Error::KeyFile {
                fault: KeyFault::NotFile,
                ..
            })
        ));
    }

    #[test]
    fn the_owner_and_the_access_list_decide_whether_a_file_is_private() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        write(&path, "x", 0o440);
        let stat = rustix::fs::stat(&path).unwrap();
        let us = stat.st_uid;
        let entry = |tag: u16, permissions: u16, id: u32| {
            let mut bytes = tag.to_le_bytes().to_vec();
            bytes.extend(permissions.to_le_bytes());
            bytes.extend(id.to_le_bytes());
            bytes
        };
        let none = u32::MAX;
        let list = |entries: &[Vec<u8>]| [vec![2, 0, 0, 0], entries.concat()].concat();
        let service = |id| {
            list(&[
                entry(0x01, 4, none),
                entry(0x02, 4, id),
                entry(0x04, 0, none),
                entry(0x10, 4, none),
                entry(0x20, 0, none),
            ])
        };
        let group = list(&[entry(0x01, 4, none), entry(0x04, 4, none)]);
        let refused = Err(KeyFault::Mode { mode: 0o440 });
        assert_eq!(check_private(&stat, us, &service(us)), Ok(()));
        assert_eq!(check_private(&stat, us, &service(4242)), refused);
        assert_eq!(check_private(&stat, us, &group), refused);
        assert_eq!(check_private(&stat, us, b""), refused);
        assert_eq!(check_private(&stat, us, b"\x02\0\0\0\x01"), refused);
        let mut foreign = stat;
        foreign.st_uid = 4242;
        let owner = 4242;
        assert_eq!(
            check_private(&foreign, us, &service(us)),
            Err(KeyFault::Owner { owner, us })
        );
    }

    #[test]
    fn a_passphrase_loses_one_newline_and_needs_twelve_bytes_to_seal_with() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("passphrase");
        let key = StoreKey::PassphraseFile(path.clone());
        for (text, length) in [
            ("correct horse\n", 13),
            ("correct horse\r\n", 13),
            (" x ", 3),
        ] {
            write(&path, text, 0o600);
            match key.read().unwrap() {
                Unsealer::Passphrase(passphrase) => assert_eq!(passphrase.len(), length),
                Unsealer::Key(_) => panic!("a passphrase is not a key"),
            }
            assert_eq!(key.read_for_sealing().is_ok(), length >= 12);
        }
        write(&path, "\n", 0o600);
        assert!(key.read().is_err());
        let typed = StoreKey::Passphrase(Arc::new(Secret::new(Vec::new())));
        assert!(matches!(
            typed.read(),
            Err(Error::Passphrase(KeyFault::Empty))
        ));
    }
}
