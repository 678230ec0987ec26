//! Searches what a crash leaves behind.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;

use nix::libc;
use nix::sys::signal::Signal;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

use crate::actor::need_root;
use crate::calls;
use crate::secrets::runtime;
use crate::support::daemon::Daemon;
use crate::world::World;

const UNLIMITED: Rlimit = Rlimit {
    current: None,
    maximum: None,
};

/// Allows this process and its children to write cores of any size.
pub(crate) fn allow_cores() {
    setrlimit(Resource::Core, UNLIMITED).unwrap();
    assert_eq!(getrlimit(Resource::Core).current, None);
}

/// Whether the kernel is configured to write or pipe cores.
pub(crate) fn cores_can_be_made() -> bool {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    !pattern.trim().is_empty()
}

pub(crate) fn crash() -> Result<(), String> {
    need_root()?;
    allow_cores();
    let runtime = runtime();
    runtime.block_on(async {
        let world = World::build("1h").await;
        let daemon = Daemon::start(&world.site, &world.configure(&world.full()));
        calls::good_tokens(&world.site.socket()).await;
        let pid = Pid::from_raw(daemon.pid().try_into().unwrap());
        // The daemon lowered its own core limit. Even where root can raise the limit again, the kernel must write no core,
        // because the process is not dumpable.
        let given_back = prlimit(pid, Resource::Core, UNLIMITED);
        println!("  the limit was raised again: {given_back:?}");
        let status = daemon.end_by(Signal::SIGABRT);
        assert_eq!(status.signal(), Some(libc::SIGABRT));
        assert!(!status.core_dumped(), "{status:?}");
        let sweep = world.canaries.sweep();
        let left = world.around(&sweep, std::process::id());
        assert!(left.is_empty(), "{}", crate::secrets::list(&left));
    });
    Ok(())
}
