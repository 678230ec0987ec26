//! Memory protection and process hardening.
//!
//! Owns the allocator that zeroes freed memory ([`WipingAllocator`]), the pages for the few long-lived root keys
//! ([`SecretPages`]), the hardening of the process before any thread starts ([`shield()`], [`harden()`]), the opening of files that another
//! user may have put there ([`open_regular`], [`read_trusted`]) and the two kernel calls about peers that no safe crate offers ([`pidfd_info`],
//! [`peer_groups`]). This is the only room with `unsafe`: every block says why it is sound. Makes no decisions: `peer`
//! interprets what the kernel reports, `daemon` decides what a missing protection means.
//!
//! Nothing here is asynchronous. [`harden()`] is called once, while the process has one thread; all other functions may be
//! called from any thread. Code that reads `/proc/self/environ`, writes `oom_score_adj` or reopens a descriptor through
//! `/proc/self/fd` must run before [`shield()`]: a process that is not dumpable cannot do these.
//!
//! Start with [`harden()`]; for the memory of single secrets see `claviger_backend::Secret`.

mod allocator;
mod file;
mod harden;
mod pages;
mod pidfd;
mod status;
mod way;

pub use allocator::WipingAllocator;
pub use file::{Access, NotOpened, open_regular};
pub use harden::{Error as HardenError, Protection, Report, harden, shield, verify};
pub use pages::{Backing, Error as PagesError, SecretPages};
pub use pidfd::{
    Info as PidfdInfo, InfoError as PidfdInfoError, MOST_PEER_GROUPS, peer_groups, pidfd_info,
};
pub use status::cgroup_mount;
pub use way::{Entry, Flaw, Found, Untrusted, follow, read_trusted, remedy};
