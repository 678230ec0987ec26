//! Cgroups that live as long as a test.

use std::fs;
use std::path::PathBuf;

/// A cgroup, removed on drop together with the parents it created.
pub(crate) struct Cgroup {
    directory: PathBuf,
    /// Outermost first.
    made: Vec<PathBuf>,
}

impl Cgroup {
    /// Creates `path` below the mount of the version 2 hierarchy; `Err` if this machine does not permit that.
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
                    .map_err(|error| format!("needs permission to create cgroups: {error}"))?;
                cgroup.made.push(cgroup.directory.clone());
            }
        }
        Ok(cgroup)
    }

    /// Moves a process into the cgroup.
    pub(crate) fn take(&self, pid: u32) {
        fs::write(self.directory.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for directory in self.made.iter().rev() {
            // Fails while the cgroup contains another test's cgroup or an exiting process.
            fs::remove_dir(directory).ok();
        }
    }
}
