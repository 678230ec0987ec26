//! Any text yields a cgroup or none, and no path in a user's session is parsed as a system unit.
#![no_main]

use claviger_core::peer::cgroup_of;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Some(cgroup) = cgroup_of(text) else {
        return;
    };
    assert!(cgroup.path.starts_with('/') && text.contains(&cgroup.path));
    assert!(!cgroup.path.split('/').any(|segment| segment == ".."));
    let segments: Vec<_> = cgroup.path.split('/').skip(1).collect();
    if segments[0] == "user.slice" {
        assert_eq!(cgroup.unit, None, "{}", cgroup.path);
    }
    if let Some(unit) = &cgroup.unit {
        // The unit is one directory of the path, and all directories before it are slices.
        let named = |segment: &&str| segment.strip_prefix('_').unwrap_or(segment) == unit;
        let at = segments
            .iter()
            .position(named)
            .expect("a directory of the path");
        assert!(
            segments[..at]
                .iter()
                .all(|segment| segment.ends_with(".slice")),
            "{}",
            cgroup.path
        );
        assert!(!unit.starts_with("user@"));
    }
    assert!(cgroup.container.as_deref() != Some(""));
});
