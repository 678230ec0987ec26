//! Memory that forgets, and a process that cannot be looked into.
//!
//! Owns the allocator that wipes on free ([`WipingAllocator`]), the pages that hold the few long-lived root keys
//! ([`SecretPages`]), the hardening of the process before any thread starts ([`harden()`]), the opening of files that another
//! user may have put there ([`open_regular`]) and the two kernel calls about peers that no safe crate offers ([`pidfd_info`],
//! [`peer_groups`]). This is the only room with `unsafe`: every block says
//! why it is sound. Never decides anything: `peer` judges what the kernel said, `daemon` what a missing protection means.
//!
//! Nothing here is asynchronous. [`harden()`] is called once, on the only thread there is; everything else may be called from
//! any thread. What reads `/proc/self/environ`, writes `oom_score_adj` or reopens a descriptor through `/proc/self/fd` must
//! come before [`harden()`]: a process that is not dumpable may do none of these.
//!
//! Start with [`harden()`]; for the memory of single secrets see `claviger_backend::Secret`.

mod allocator;
mod file;
mod harden;
mod pages;
mod pidfd;
mod status;

pub use allocator::WipingAllocator;
pub use file::{Access, NotOpened, open_regular};
pub use harden::{Error as HardenError, Protection, Report, Settings, harden, verify};
pub use pages::{Backing, Error as PagesError, SecretPages};
pub use pidfd::{Info as PidfdInfo, InfoError as PidfdInfoError, peer_groups, pidfd_info};
pub use status::cgroup_mount;
