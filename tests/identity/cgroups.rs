//! Cgroups for the time of a test.

use std::fs;
use std::path::PathBuf;

/// A cgroup that goes away with this value, along with the parents that it made.
pub(crate) struct Cgroup {
    directory: PathBuf,
    /// Outermost first.
    made: Vec<PathBuf>,
}

impl Cgroup {
    /// Makes `path` below the mount of the version 2 hierarchy; `Err` if that is impossible here.
    pub(crate) fn new(path: &str) -> Result<Self, String> {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mount = mountinfo
            .lines()
            .find(|line| line.contains(" - cgroup2 "))
            .and_then(|line| line.split(' ').nth(4))
            .ok_or("needs a version 2 cgroup hierarchy")?;
        let mut cgroup = Self {
            directory: PathBuf::from(mount),
            made: Vec::new(),
        };
        for segment in path.trim_start_matches('/').split('/') {
            cgroup.directory.push(segment);
            if !cgroup.directory.exists() {
                fs::create_dir(&cgroup.directory)
                    .map_err(|error| format!("needs to make cgroups: {error}"))?;
                cgroup.made.push(cgroup.directory.clone());
            }
        }
        Ok(cgroup)
    }

    /// Moves a process into it.
    pub(crate) fn take(&self, pid: u32) {
        fs::write(self.directory.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for directory in self.made.iter().rev() {
            // Fails while another test's cgroup, or a process that is on its way out, is in it.
            fs::remove_dir(directory).ok();
        }
    }
}
