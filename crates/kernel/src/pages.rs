//! Pages for the few long-lived keys of the daemon itself.
//!
//! Owns [`SecretPages`]: memory from `memfd_secret`, which the kernel takes out of its own address space, so that not even
//! root reads it through `/proc/<pid>/mem`, and no core dump or debugger contains it. Where the kernel does not offer that,
//! locked pages that stay out of dumps and forked children, and [`Backing`] says so: the owner logs it. Never holds the many
//! short-lived values: each of these takes a whole page of the locked-memory limit.
//!
//! Written once, then read-only until dropped; wiped and unmapped on drop. Free to share between threads.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::ptr::{self, NonNull};

use nix::libc;
use rustix::mm::{self, Advice, MapFlags, MprotectFlags, ProtFlags};

use super::allocator::wipe;

/// What the pages are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Outside of the kernel's own mappings: not even root reads it.
    SecretMemory,
    /// Locked against swap and left out of core dumps and children. Root can read it. Worth a line in the log.
    LockedMemory,
}

impl Backing {
    /// What gives a process [`SecretMemory`](Self::SecretMemory), for people.
    pub const REMEDY: &'static str = "run Linux 6.5 or later (from 5.14 on, boot with secretmem.enable=1), and allow \
         memfd_secret where system calls are filtered";
}

/// Why there are no pages.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing to hold.
    #[error("a key cannot be empty")]
    Empty,
    /// The kernel gave no memory that cannot be swapped.
    #[error(
        "no memory for a key that cannot be swapped out; raise LimitMEMLOCK= of the unit (or `ulimit -l`)"
    )]
    Lock(#[source] io::Error),
    /// The kernel gave no memory, or would not protect it.
    #[error("the kernel gave no protected memory for a key")]
    Map(#[source] io::Error),
}

/// A fixed number of secret bytes. Cannot be cloned or printed.
///
/// ```
/// # use claviger_kernel::SecretPages;
/// let key = SecretPages::filled(32, |bytes| bytes.fill(7))?;
/// assert_eq!(key.with(|bytes| bytes.len()), 32);
/// # Ok::<(), crate::PagesError>(())
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
#[expect(
    missing_debug_implementations,
    reason = "there is nothing of it that may be printed"
)]
pub struct SecretPages {
    start: NonNull<u8>,
    /// Bytes that are used. The kernel rounds up to whole pages wherever it takes this number.
    len: usize,
    backing: Backing,
}

#[expect(unsafe_code, reason = "a raw pointer is neither Send nor Sync")]
// SAFETY: the memory belongs to this value alone, and nobody writes to it between construction and drop.
unsafe impl Send for SecretPages {}
#[expect(unsafe_code, reason = "a raw pointer is neither Send nor Sync")]
// SAFETY: as above; shared references only read.
unsafe impl Sync for SecretPages {}

impl SecretPages {
    /// Maps pages for `len` bytes, has `fill` write them, and makes them read-only. Where the bytes come from is the
    /// caller's to wipe.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn filled(len: usize, fill: impl FnOnce(&mut [u8])) -> Result<Self, Error> {
        if len == 0 {
            return Err(Error::Empty);
        }
        let mut pages = Self::map(len)?;
        // SAFETY: `len` bytes of the mapping, zeroed by the kernel, readable and writable, and only reachable from here. The
        // pointer is the one that the kernel gave: one made of a reference to the first byte would be good for that byte only.
        #[expect(unsafe_code, reason = "mapped memory is a pointer")]
        fill(unsafe { std::slice::from_raw_parts_mut(pages.start.as_ptr(), len) });
        pages
            .protect(MprotectFlags::READ)
            .map_err(|error| Error::Map(error.into()))?;
        Ok(pages)
    }

    /// Shows the bytes to `read`, which must not copy them to a place that is not wiped.
    pub fn with<'a, T>(&'a self, read: impl FnOnce(&'a [u8]) -> T) -> T {
        // SAFETY: `len` bytes of the mapping, written once before anybody could get a reference.
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
        // SAFETY: locks exactly the mapping made above, and advises the kernel about it; no contents change now.
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
        // SAFETY: the whole mapping, writable now, to which no reference is left. The result of unmapping does not matter:
        // the pages are wiped, and a mapping that stays is only wasted.
        #[expect(unsafe_code, reason = "mapped memory is a pointer")]
        unsafe {
            if writable {
                wipe(self.start.as_ptr(), self.len);
            }
            mm::munmap(self.start.as_ptr().cast(), self.len).ok();
        }
    }
}

/// Maps secret memory, which children do not get.
fn map_secret(len: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: a system call that takes flags and returns a new descriptor or an error.
    #[expect(unsafe_code, reason = "a system call without a safe wrapper")]
    let result = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let raw = RawFd::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    #[expect(unsafe_code, reason = "takes over a raw descriptor")]
    let file = unsafe { OwnedFd::from_raw_fd(raw) };
    rustix::fs::ftruncate(&file, len as u64)?;
    // SAFETY: a new mapping, of a file that nobody else can open, at an address that the kernel chooses. It outlives the
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
    fn they_hold_what_was_written_at_any_size() {
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
    fn too_many_are_an_error_and_not_an_abort() {
        assert!(SecretPages::filled(usize::MAX, |_| ()).is_err());
        assert!(SecretPages::filled(1 << 60, |_| ()).is_err());
    }

    #[test]
    fn threads_may_share_them() {
        let pages = SecretPages::filled(16, |bytes| bytes.fill(9)).unwrap();
        let sum = std::thread::scope(|scope| {
            let sum = || pages.with(|bytes| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>());
            let other = scope.spawn(sum);
            sum() + other.join().unwrap()
        });
        assert_eq!(sum, 2 * 16 * 9);
    }

    #[test]
    fn they_are_gone_from_the_address_space_after_drop() {
        let maps = || std::fs::read_to_string("/proc/self/maps").unwrap();
        let pages = SecretPages::filled(1 << 20, |bytes| bytes.fill(1)).unwrap();
        let first = format!("{:x}-", pages.start.as_ptr().addr());
        let mapped = |maps: String| maps.lines().any(|line| line.starts_with(&first));
        assert!(mapped(maps()), "control: visible while alive");
        drop(pages);
        assert!(!mapped(maps()));
    }
}
