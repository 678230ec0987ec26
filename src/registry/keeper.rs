//! Keys of backends, in pages of their own.
//!
//! Owns [`PageKeeper`], which puts the long-lived keys of a backend into `claviger_kernel::SecretPages`: not even root reads
//! them there. Without such memory it uses locked pages, which root can read, and warns of that once. Never holds a key itself:
//! the backend owns it.
//!
//! May be shared by threads, and called before and after the process is hardened.

use std::sync::atomic::{AtomicBool, Ordering};

use claviger_backend::{KeptKey, KeyKeeper, NotKept};

use claviger_kernel::{Backing, SecretPages};
use claviger_runtime::telemetry::Causes;

/// Keeps keys in secret pages.
#[derive(Debug, Default)]
pub(super) struct PageKeeper {
    warned: AtomicBool,
}

impl KeyKeeper for PageKeeper {
    fn keep(
        &self,
        length: usize,
        write: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Box<dyn KeptKey>, NotKept> {
        let pages = SecretPages::filled(length, write)
            .map_err(|error| NotKept::because(Causes(&error).to_string()))?;
        if pages.backing() == Backing::LockedMemory && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: "claviger",
                remedy = Backing::REMEDY,
                "the kernel gives no secret memory; keys of backends are in locked memory, which root can read"
            );
        }
        Ok(Box::new(InPages(pages)))
    }
}

struct InPages(SecretPages);

impl KeptKey for InPages {
    fn expose(&self) -> &[u8] {
        self.0.with(|bytes| bytes)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests look inside")]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_in_pages_of_its_own_until_it_is_dropped() {
        let keeper = PageKeeper::default();
        let key = keeper.keep(64, &mut |place| place.fill(0x5A)).unwrap();
        assert_eq!(key.expose(), [0x5A; 64]);
        let first = format!("{:x}-", key.expose().as_ptr().addr());
        let line = |maps: String| {
            maps.lines()
                .find(|line| line.starts_with(&first))
                .map(str::to_owned)
        };
        let maps = || std::fs::read_to_string("/proc/self/maps").unwrap();
        let mapped = line(maps()).expect("a page begins with the key");
        assert!(mapped.contains(" r--"), "must be read-only: {mapped}");
        drop(key);
        assert_eq!(line(maps()), None);
    }

    #[test]
    fn a_key_that_does_not_fit_is_an_error_with_a_remedy() {
        let keeper = PageKeeper::default();
        let written = keeper.keep(1 << 60, &mut |_place| ());
        let error = written.err().expect("an exbibyte does not fit").to_string();
        assert!(error.contains("memory"), "{error}");
        assert!(keeper.keep(0, &mut |_place| ()).is_err());
    }
}
