//! Memory pages for the daemon's few long-lived keys.
//!
//! Owns [`SecretPages`]: memory from `memfd_secret`, which the kernel removes from its own address space, so that not even root
//! can read it through `/proc/<pid>/mem`, and it appears in no core dump or debugger. If the kernel lacks `memfd_secret`,
//! locked pages that are excluded from core dumps and forked children; [`Backing`] reports which, and the owner logs it. Not
//! for the many short-lived values: each would take a whole page of the locked-memory limit.
//!
//! Written once, then read-only; zeroed and unmapped when dropped. May be shared between threads.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::ptr::{self, NonNull};

use nix::libc;
use rustix::mm::{self, Advice, MapFlags, MprotectFlags, ProtFlags};

use super::allocator::wipe;

/// The kind of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Not mapped by the kernel itself: not even root can read it.
    SecretMemory,
    /// Never swapped, and excluded from core dumps and forked children. Root can read it; log this.
    LockedMemory,
}

impl Backing {
    /// How an operator enables [`SecretMemory`](Self::SecretMemory).
    pub const REMEDY: &'static str = "run Linux 6.5 or later (from 5.14 on, boot with secretmem.enable=1), and allow \
         memfd_secret where system calls are filtered";
}

/// Why there are no pages.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The length is zero.
    #[error("a key cannot be empty")]
    Empty,
    /// The kernel did not lock the memory.
    #[error("cannot lock memory for a key; raise LimitMEMLOCK= of the unit (or `ulimit -l`)")]
    Lock(#[source] io::Error),
    /// The kernel did not map or protect the memory.
    #[error("the kernel did not provide protected memory for a key")]
    Map(#[source] io::Error),
}

/// A fixed number of secret bytes. Cannot be cloned or printed.
///
/// ```
/// # use claviger_kernel::SecretPages;
/// let key = SecretPages::filled(32, |bytes| bytes.fill(7))?;
/// assert_eq!(key.with(|bytes| bytes.len()), 32);
/// # Ok::<(), claviger_kernel::PagesError>(())
/// ```
/// ```compile_fail
/// # use claviger_kernel::SecretPages;
/// let key = SecretPages::filled(32, |bytes| bytes.fill(7)).unwrap();
/// let copy = key.clone(); // a key has one place
/// ```
/// ```compile_fail
/// # use claviger_kernel::SecretPages;
/// let key = SecretPages::filled(32, |bytes| bytes.fill(7)).unwrap();
/// println!("{key:?}");
/// ```
#[expect(missing_debug_implementations, reason = "no part of it may be printed")]
pub struct SecretPages {
    start: NonNull<u8>,
    /// The bytes in use. The kernel rounds this up to whole pages.
    len: usize,
    backing: Backing,
}

#[expect(unsafe_code, reason = "a raw pointer is neither Send nor Sync")]
// SAFETY: the memory belongs to this value alone, and nothing writes to it between construction and drop.
unsafe impl Send for SecretPages {}
#[expect(unsafe_code, reason = "a raw pointer is neither Send nor Sync")]
// SAFETY: as above; shared references only read.
unsafe impl Sync for SecretPages {}

impl SecretPages {
    /// Maps pages for `len` bytes, has `fill` write them, and makes them read-only. The caller zeroes the memory that it copied
    /// the bytes from.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn filled(len: usize, fill: impl FnOnce(&mut [u8])) -> Result<Self, Error> {
        if len == 0 {
            return Err(Error::Empty);
        }
        let mut pages = Self::map(len)?;
        // SAFETY: `len` bytes of the mapping, zeroed by the kernel, readable and writable, and only reachable from here. The
        // pointer comes from the kernel: one made from a reference to the first byte would be valid for that byte only.
        #[expect(unsafe_code, reason = "mapped memory is a pointer")]
        fill(unsafe { std::slice::from_raw_parts_mut(pages.start.as_ptr(), len) });
        pages
            .protect(MprotectFlags::READ)
            .map_err(|error| Error::Map(error.into()))?;
        Ok(pages)
    }

    /// Passes the bytes to `read`, which must not copy them to memory that is not zeroed.
    pub fn with<'a, T>(&'a self, read: impl FnOnce(&'a [u8]) -> T) -> T {
        // SAFETY: `len` bytes of the mapping, written once before any reference existed.
        #[expect(unsafe_code, reason = "mapped memory is a pointer")]
        read(unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) })
    }

    /// What the pages are made of.
    pub fn backing(&self) -> Backing {
        self.backing
    }

    fn map(len: usize) -> Result<Self, Error> {
        if let Ok(start) = map_secret(len) {
            let backing = Backing::SecretMemory;
            return Ok(Self {
                start,
                len,
                backing,
            });
        }
        let start = map_anonymous(len).map_err(|error| Error::Map(error.into()))?;
        // From here on, drop unmaps.
        let pages = Self {
            start,
            len,
            backing: Backing::LockedMemory,
        };
        let address = start.as_ptr().cast();
        // SAFETY: locks exactly the mapping made above, and advises the kernel about it; its contents do not change.
        #[expect(unsafe_code, reason = "mapped memory is a pointer")]
        unsafe {
            mm::mlock(address, len).map_err(|error| Error::Lock(error.into()))?;
            for advice in [Advice::LinuxDontDump, Advice::LinuxWipeOnFork] {
                mm::madvise(address, len, advice).map_err(|error| Error::Map(error.into()))?;
            }
        }
        Ok(pages)
    }

    fn protect(&mut self, flags: MprotectFlags) -> rustix::io::Result<()> {
        // SAFETY: the whole mapping of this value; the exclusive reference says that no slice of it is alive.
        #[expect(unsafe_code, reason = "mapped memory is a pointer")]
        unsafe {
            mm::mprotect(self.start.as_ptr().cast(), self.len, flags)
        }
    }
}

impl Drop for SecretPages {
    fn drop(&mut self) {
        let writable = self
            .protect(MprotectFlags::READ | MprotectFlags::WRITE)
            .is_ok();
        // SAFETY: the whole mapping, writable now, to which no reference is left. The result of unmapping does not matter: the
        // pages are zeroed, and a mapping that stays only wastes memory.
        #[expect(unsafe_code, reason = "mapped memory is a pointer")]
        unsafe {
            if writable {
                wipe(self.start.as_ptr(), self.len);
            }
            mm::munmap(self.start.as_ptr().cast(), self.len).ok();
        }
    }
}

/// Maps secret memory, excluded from forked children.
fn map_secret(len: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: a system call that takes flags and returns a new descriptor or an error.
    #[expect(unsafe_code, reason = "a system call without a safe wrapper")]
    let result = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let raw = RawFd::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the kernel has just created this descriptor, and no other code owns it.
    #[expect(unsafe_code, reason = "takes over a raw descriptor")]
    let file = unsafe { OwnedFd::from_raw_fd(raw) };
    rustix::fs::ftruncate(&file, len as u64)?;
    // SAFETY: a new mapping, of a file that no other process can open, at an address that the kernel chooses. It outlives the
    // descriptor.
    #[expect(unsafe_code, reason = "maps memory")]
    let start = unsafe {
        let flags = ProtFlags::READ | ProtFlags::WRITE;
        let start = mm::mmap(ptr::null_mut(), len, flags, MapFlags::SHARED, &file, 0)?;
        // The mapping is shared, so a forked child would read it.
        if let Err(error) = mm::madvise(start, len, Advice::LinuxDontFork) {
            mm::munmap(start, len)?;
            return Err(error.into());
        }
        start
    };
    NonNull::new(start.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

/// Maps ordinary private memory.
fn map_anonymous(len: usize) -> rustix::io::Result<NonNull<u8>> {
    // SAFETY: a new mapping at an address that the kernel chooses.
    #[expect(unsafe_code, reason = "maps memory")]
    let start = unsafe {
        let flags = ProtFlags::READ | ProtFlags::WRITE;
        mm::mmap_anonymous(ptr::null_mut(), len, flags, MapFlags::PRIVATE)?
    };
    NonNull::new(start.cast()).ok_or(rustix::io::Errno::NOMEM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_any_size_preserve_their_bytes() {
        for len in [1, 32, 4095, 4096, 4097, 20_000] {
            let pages = SecretPages::filled(len, |bytes| {
                assert!(bytes.iter().all(|byte| *byte == 0));
                bytes.fill(0x3C);
            })
            .unwrap();
            pages.with(|bytes| {
                assert_eq!(bytes.len(), len);
                assert!(bytes.iter().all(|byte| *byte == 0x3C));
            });
        }
        assert!(matches!(SecretPages::filled(0, |_| ()), Err(Error::Empty)));
    }

    #[test]
    fn an_impossible_size_is_an_error_and_not_an_abort() {
        assert!(SecretPages::filled(usize::MAX, |_| ()).is_err());
        assert!(SecretPages::filled(1 << 60, |_| ()).is_err());
    }

    #[test]
    fn threads_may_share_pages() {
        let pages = SecretPages::filled(16, |bytes| bytes.fill(9)).unwrap();
        let sum = std::thread::scope(|scope| {
            let sum = || pages.with(|bytes| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>());
            let other = scope.spawn(sum);
            sum() + other.join().unwrap()
        });
        assert_eq!(sum, 2 * 16 * 9);
    }

    #[test]
    fn dropped_pages_are_unmapped() {
        let maps = || std::fs::read_to_string("/proc/self/maps").unwrap();
        let pages = SecretPages::filled(1 << 20, |bytes| bytes.fill(1)).unwrap();
        let first = format!("{:x}-", pages.start.as_ptr().addr());
        let mapped = |maps: String| maps.lines().any(|line| line.starts_with(&first));
        assert!(mapped(maps()), "control: visible while alive");
        drop(pages);
        assert!(!mapped(maps()));
    }
}
