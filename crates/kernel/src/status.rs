//! Parsers of what the kernel reports about this process.
//!
//! Owns the parsing of `/proc/self/status` (and of each thread's) and of the cgroup mount in `/proc/self/mountinfo`. The
//! parsers are pure functions of text, so that tests need no particular kernel. Makes no decisions: `harden` and `peer` do.

use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::{fs, io};

/// The fields of a thread's `status` file that show its hardening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// Whether `execve` can no longer gain privileges.
    pub(super) no_new_privileges: bool,
    /// Capabilities in the inheritable, permitted, effective and ambient sets, joined.
    pub(super) capabilities: u64,
    /// The effective set alone.
    pub(super) effective: u64,
    /// The bounding set.
    pub(super) bounding: u64,
    /// How much of the process is in swap, in KiB. Shared by all threads.
    pub(super) swapped: u64,
}

impl Status {
    /// Parses the text of a `status` file; `None` if a line is missing or malformed.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        let set = |name| u64::from_str_radix(field(name)?, 16).ok();
        Some(Self {
            no_new_privileges: field("NoNewPrivs")? == "1",
            capabilities: set("CapInh")? | set("CapPrm")? | set("CapEff")? | set("CapAmb")?,
            effective: set("CapEff")?,
            bounding: set("CapBnd")?,
            // Kernels without swap support leave the line out.
            swapped: match field("VmSwap") {
                Some(size) => size.strip_suffix("kB")?.trim().parse().ok()?,
                None => 0,
            },
        })
    }

    /// The status of every current thread.
    pub(super) fn of_all_threads() -> io::Result<Vec<Self>> {
        let mut all = Vec::new();
        for task in fs::read_dir("/proc/self/task")? {
            let text = match fs::read_to_string(task?.path().join("status")) {
                Ok(text) => text,
                // The thread has ended since the directory was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => continue,
                Err(error) => return Err(error),
            };
            let status = Self::parse(&text).ok_or(io::ErrorKind::InvalidData)?;
            all.push(status);
        }
        if all.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(all)
    }
}

/// The mount point of the version 2 cgroup hierarchy, from the text of `/proc/self/mountinfo`. `None` if it is not mounted, or
/// if only a subtree below the root that this process sees is mounted.
pub fn cgroup_mount(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        if filesystem.split(' ').next()? != "cgroup2" {
            return None;
        }
        // id, parent, device, root within the file system, mount point, …
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (root == "/").then(|| unescape(point))
    })
}

/// `mountinfo` writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| first == b'\\').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        bytes.push(octal.unwrap_or(first));
        let used = if octal.is_some() { 3 } else { 0 };
        rest = tail.get(used..).unwrap_or_default();
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const STATUS: &str = "Name:\tNoNewPrivs: 0\nVmSwap:\t      12 kB\nCapInh:\t0000000000000001\n\
        CapPrm:\t0000000000000002\nCapEff:\t0000000000000004\nCapBnd:\t000001fffeffffff\n\
        CapAmb:\t0000000000000008\nNoNewPrivs:\t1\n";

    #[test]
    fn a_status_is_read_line_by_line() {
        let status = Status::parse(STATUS).unwrap();
        assert!(
            status.no_new_privileges,
            "the program's name is not parsed as a field"
        );
        assert_eq!(status.capabilities, 15);
        assert_eq!(status.effective, 4);
        assert_eq!(status.bounding, 0x01ff_feff_ffff);
        assert_eq!(status.swapped, 12);
    }

    #[test]
    fn a_status_with_a_line_missing_or_strange_is_none() {
        for (from, to) in [
            ("CapBnd", "CapXxx"),
            ("NoNewPrivs:\t1", ""),
            ("0000000000000004", "four"),
            (" kB", " MB"),
        ] {
            assert_eq!(Status::parse(&STATUS.replace(from, to)), None, "{from}");
        }
        let without_swap = STATUS.replace("VmSwap", "VmSwop");
        assert_eq!(Status::parse(&without_swap).unwrap().swapped, 0);
    }

    #[test]
    fn this_process_has_at_least_one_thread() {
        assert!(!Status::of_all_threads().unwrap().is_empty());
    }

    #[test]
    fn the_cgroup_mount_is_found_at_any_path() {
        for (text, mount) in [
            (
                "29 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw",
                Some("/sys/fs/cgroup"),
            ),
            (
                "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                 40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                 41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
                Some("/sys/fs/cgroup/unified"),
            ),
            (
                r"41 31 0:38 / /mnt/a\040b\134c rw - cgroup2 none rw",
                Some(r"/mnt/a b\c"),
            ),
            (
                "41 31 0:38 /../.. /sys/fs/cgroup rw - cgroup2 none rw",
                None,
            ),
            ("41 31 0:38 /part /sys/fs/cgroup rw - cgroup2 none rw", None),
            ("40 31 0:37 / /cgroup2 rw - cgroup cgroup2 rw", None),
            ("", None),
            ("cgroup2", None),
        ] {
            assert_eq!(
                cgroup_mount(text).as_deref(),
                mount.map(Path::new),
                "{text}"
            );
        }
    }
}
