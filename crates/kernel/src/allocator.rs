//! An allocator that zeroes memory when it is freed.
//!
//! Owns [`WipingAllocator`], which `main` installs as the global allocator. Types like `claviger_backend::Secret` zero their
//! own memory, but SDKs, parsers and transports do not: they free buffers full of plaintext, which stays readable until the
//! memory is reused. This allocator zeroes all of them. It does not cover the stack, registers, or blocks that C code gets from
//! `malloc` directly.
//!
//! Zeroing is a plain `memset` with a compiler barrier, so it runs at memory speed and cannot be optimized away.

use std::alloc::{GlobalAlloc, Layout, System};

/// Allocates from another allocator (the system's), and fills each block with zeros before freeing it.
///
/// ```
/// use claviger_kernel::WipingAllocator;
///
/// #[global_allocator]
/// static ALLOCATOR: WipingAllocator = WipingAllocator::system();
/// let text = String::from("zeroed when dropped");
/// # drop(text);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct WipingAllocator<A = System> {
    inner: A,
}

impl WipingAllocator<System> {
    /// Over the system's allocator.
    #[must_use]
    pub const fn system() -> Self {
        Self::over(System)
    }
}

impl<A> WipingAllocator<A> {
    /// Over `inner`.
    pub const fn over(inner: A) -> Self {
        Self { inner }
    }
}

/// Fills `len` bytes at `start` with zeros. The compiler must not optimize this away.
///
/// # Safety
/// `start` must be valid for writes of `len` bytes.
#[expect(unsafe_code, reason = "writes through a raw pointer")]
pub(super) unsafe fn wipe(start: *mut u8, len: usize) {
    // SAFETY: the caller promises that the whole range may be written.
    unsafe { start.write_bytes(0, len) };
    keep(start);
}

/// Makes the compiler assume that the memory at `start` is read here, so that earlier writes are not dead stores.
#[cfg(not(miri))]
#[expect(unsafe_code, reason = "an empty line of assembly is the barrier")]
fn keep(start: *mut u8) {
    // SAFETY: there is no instruction. Without `nomem` the compiler must assume that memory reachable from `start` is read.
    unsafe { std::arch::asm!("/* {0} */", in(reg) start, options(nostack, preserves_flags)) };
}

/// Miri runs no assembly, and does not optimize stores away.
#[cfg(miri)]
fn keep(start: *mut u8) {
    std::hint::black_box(start);
}

#[expect(
    unsafe_code,
    reason = "an allocator is an unsafe trait; it only wraps another one"
)]
// SAFETY: every block comes from `inner` and is freed by it with the layout it was allocated with; zeroing writes only within
// the block, before it is freed. Nothing here unwinds.
unsafe impl<A: GlobalAlloc> GlobalAlloc for WipingAllocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the contract of this function is that of the inner one.
        unsafe { self.inner.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { self.inner.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller frees a block of this layout that it no longer uses.
        unsafe {
            wipe(block, layout.size());
            self.inner.dealloc(block, layout);
        }
    }

    // The inner `realloc` might free the old block, or cut off a tail, without zeroing it.
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `new_size`, rounded up to the alignment, does not overflow `isize`.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        // SAFETY: `new_size` is not zero (contract of `realloc`).
        let new_block = unsafe { self.inner.alloc(new_layout) };
        if !new_block.is_null() {
            // SAFETY: both blocks are valid for the smaller size, and they are distinct allocations.
            unsafe {
                new_block.copy_from_nonoverlapping(block, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
        }
        new_block
    }
}

#[cfg(test)]
#[expect(unsafe_code, reason = "calls allocators directly")]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Counts the nonzero bytes in freed blocks.
    #[derive(Default)]
    struct Recorder {
        freed: AtomicUsize,
        dirty: AtomicUsize,
    }

    // SAFETY: defers to the system's allocator; only reads a block before it is freed.
    unsafe impl GlobalAlloc for &Recorder {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: same contract.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: the tests below have written every byte of the block.
            let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            self.freed.fetch_add(bytes.len(), Ordering::Relaxed);
            let dirty = bytes.iter().filter(|byte| **byte != 0).count();
            self.dirty.fetch_add(dirty, Ordering::Relaxed);
            // SAFETY: same contract.
            unsafe { System.dealloc(block, layout) }
        }
    }

    /// Fills a block, resizes it twice and frees it; checks that resizing preserves the contents.
    fn exercise(allocator: &impl GlobalAlloc, size: usize) {
        let layout = Layout::from_size_align(size, 16).unwrap();
        // SAFETY: sizes are not zero, layouts match, every byte is written before it is read.
        unsafe {
            let block = allocator.alloc(layout);
            block.write_bytes(0xA5, size);
            let larger = allocator.realloc(block, layout, size * 2);
            assert!(
                std::slice::from_raw_parts(larger, size)
                    .iter()
                    .all(|byte| *byte == 0xA5)
            );
            larger.add(size).write_bytes(0xA5, size);
            let layout = Layout::from_size_align(size * 2, 16).unwrap();
            let smaller = allocator.realloc(larger, layout, size.div_ceil(2));
            let layout = Layout::from_size_align(size.div_ceil(2), 16).unwrap();
            assert_eq!(*smaller, 0xA5);
            allocator.dealloc(smaller, layout);
        }
    }

    #[test]
    fn every_freed_block_is_zero() {
        for size in [1, 7, 8, 64, 1000, 4096, 100_000] {
            let recorder = Recorder::default();
            exercise(&WipingAllocator::over(&recorder), size);
            let freed = size + size * 2 + size.div_ceil(2);
            assert_eq!(recorder.freed.load(Ordering::Relaxed), freed);
            assert_eq!(recorder.dirty.load(Ordering::Relaxed), 0, "{size} bytes");

            let control = Recorder::default();
            exercise(&&control, size);
            assert_eq!(
                control.dirty.load(Ordering::Relaxed),
                freed,
                "control: without zeroing, every byte is left"
            );
        }
    }

    /// How many bytes of a freed block still have their value, read through the kernel from this process's memory.
    fn residue(allocator: &impl GlobalAlloc, memory: &File) -> usize {
        const SIZE: usize = 1000;
        let layout = Layout::from_size_align(SIZE, 8).unwrap();
        let mut seen = [0; SIZE];
        // SAFETY: the size is not zero, the layout is the same. The freed block is read through the kernel, which reports
        // an error instead of faulting if its page is gone.
        let address = unsafe {
            let block = allocator.alloc(layout);
            block.write_bytes(0x5C, SIZE);
            keep(block);
            allocator.dealloc(block, layout);
            block.addr()
        };
        memory.read_exact_at(&mut seen, address as u64).unwrap();
        // The system's allocator keeps a pointer and a random number at the beginning of a block that is free.
        let rest = seen.iter().skip(16);
        rest.map(|byte| usize::from(*byte == 0x5C)).sum()
    }

    #[test]
    #[cfg_attr(miri, ignore = "reads its own memory through the kernel")]
    fn a_freed_block_is_zero_when_read_through_the_kernel() {
        let memory = File::open("/proc/self/mem").unwrap();
        assert_eq!(residue(&WipingAllocator::system(), &memory), 0);
        assert!(
            residue(&System, &memory) > 900,
            "control: the system's allocator leaves nearly all of it"
        );
    }
}
