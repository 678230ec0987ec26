//! The meaning of a cgroup path.
//!
//! Owns the parsing of paths as systemd and the container runtimes build them: which systemd *system* unit, which container.
//! Pure and total. The text comes from the kernel, but its names must be treated as an attacker's: a process in a delegated
//! subtree (a user's session, a service with `Delegate=`, a container) may name directories in it freely.
//!
//! So a path is parsed from the root, and trusted only as far as root alone creates directories: slices, nested as systemd
//! nests them, then one unit. Names below that are not trusted. A container in a delegated subtree is still reported, so that a
//! rule by user alone does not match it, but under a name that begins with its owner (`billing.service:<id>`) and cannot
//! collide with that of another owner.

use super::Cgroup;

/// Why a path is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InvalidPath {
    /// It is outside the cgroup namespace of the reader.
    Outside,
    /// The kernel never writes such a path.
    Malformed,
}

/// The path in the version 2 hierarchy, from the text of `/proc/<pid>/cgroup`.
pub(super) fn line(text: &str) -> Option<&str> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("0::"));
    let path = lines.next()?;
    lines.next().is_none().then_some(path)
}

/// Parses a path.
pub(super) fn parse(path: &str) -> Result<Cgroup, InvalidPath> {
    let relative = path.strip_prefix('/').ok_or(InvalidPath::Malformed)?;
    if path.len() > 4096 || path.chars().any(char::is_control) {
        return Err(InvalidPath::Malformed);
    }
    let segments: Vec<&str> = match relative {
        "" => Vec::new(),
        _ => relative.split('/').collect(),
    };
    if segments.contains(&"..") {
        return Err(InvalidPath::Outside);
    }
    if segments.iter().any(|segment| matches!(*segment, "" | ".")) {
        return Err(InvalidPath::Malformed);
    }
    let Place { unit, container } = place(&segments);
    Ok(Cgroup {
        path: path.to_owned(),
        unit,
        container,
    })
}

/// The unit and container of a path.
#[derive(Default)]
struct Place {
    unit: Option<String>,
    container: Option<String>,
}

impl Place {
    /// In a subtree whose names `owner` chooses.
    fn delegated(unit: Option<&str>, owner: &str, below: &[&str]) -> Self {
        let id = below.iter().find_map(|segment| container_id(segment));
        Self {
            unit: unit.map(str::to_owned),
            container: id.map(|id| format!("{owner}:{id}")),
        }
    }

    fn contained(unit: Option<&str>, container: &str) -> Self {
        Self {
            unit: unit.map(str::to_owned),
            container: Some(container.to_owned()),
        }
    }
}

fn place(segments: &[&str]) -> Place {
    // Users create arbitrary directories in their sessions; the second segment, `user-1000.slice`, is still created by systemd.
    if let ["user.slice", below @ ..] = segments {
        let owner = below.first().copied().unwrap_or("user.slice");
        return Place::delegated(None, owner, below);
    }
    if let Some(container) = without_systemd(segments) {
        return Place::contained(None, container);
    }
    let depth = slices(segments);
    let (slices, rest) = segments.split_at_checked(depth).unwrap_or((segments, &[]));
    let Some((first, below)) = rest.split_first() else {
        return in_pod(segments).unwrap_or_default();
    };
    let Some(unit) = unit(first) else {
        let owner = slices.last().unwrap_or(first);
        let place = Place::delegated(None, owner, rest);
        return match place.container {
            Some(_) => place,
            None => in_pod(segments).unwrap_or_default(),
        };
    };
    if unit.starts_with("user@") {
        return Place::delegated(None, unit, below);
    }
    match container_id(unit).or_else(|| machine(unit)) {
        Some(container) => Place::contained(Some(unit), container),
        None => Place::delegated(Some(unit), unit, below),
    }
}

/// The container, if a runtime without systemd created the cgroup, directly below the root.
fn without_systemd<'a>(segments: &[&'a str]) -> Option<&'a str> {
    let pod = |segment: &str| segment.starts_with("pod") && segment.len() > 3;
    let below_kubelet = match segments {
        ["kubelet", rest @ ..] if rest.first() == Some(&"kubepods") => rest,
        _ => segments,
    };
    match below_kubelet {
        ["docker", id, ..] if is_id(id) => Some(id),
        ["kubepods", "burstable" | "besteffort", uid, id, ..] | ["kubepods", uid, id, ..]
            if pod(uid) && is_id(id) =>
        {
            Some(id)
        }
        ["lxc" | "lxc.payload", name, ..] => Some(name),
        [name, ..] => name
            .strip_prefix("lxc.payload.")
            .filter(|name| !name.is_empty()),
        [] => None,
    }
}

/// Every cgroup below `kubepods` is in a pod, even if the runtime's naming of containers is unknown.
fn in_pod(segments: &[&str]) -> Option<Place> {
    match segments {
        ["kubepods" | "kubepods.slice", .., last]
        | ["kubelet", "kubepods", .., last]
        | ["kubelet.slice", "kubelet-kubepods.slice", .., last] => {
            Some(Place::contained(None, &format!("kubepods:{last}")))
        }
        _ => None,
    }
}

/// The number of leading segments that are slices, each within the slice that its name implies: `a-b.slice` is in `a.slice`.
fn slices(segments: &[&str]) -> usize {
    let mut parent: Option<&str> = None;
    segments
        .iter()
        .take_while(|segment| {
            let Some(stem) = segment.strip_suffix(".slice") else {
                return false;
            };
            let own = match parent {
                None => Some(stem),
                Some(parent) => stem
                    .strip_prefix(parent)
                    .and_then(|own| own.strip_prefix('-')),
            };
            parent = Some(stem);
            own.is_some_and(|own| !own.is_empty() && !own.contains('-') && is_unit_name(own))
        })
        .count()
}

/// The unit of a directory, if its name is that of a unit type that has processes.
fn unit(segment: &str) -> Option<&str> {
    // systemd prefixes an underscore to names that the kernel reserves (`_cpu.service`), and to names that begin with one.
    let name = segment.strip_prefix('_').unwrap_or(segment);
    let (stem, kind) = name.rsplit_once('.')?;
    let runs = matches!(kind, "service" | "scope" | "socket" | "mount" | "swap");
    (runs && !stem.is_empty() && name.len() <= 255 && is_unit_name(name)).then_some(name)
}

fn is_unit_name(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte))
}

/// The id in `<id>`, `docker-<id>.scope`, `cri-containerd-<id>.scope`, `libpod-payload-<id>` and the like. `conmon` monitors a
/// container from outside.
fn container_id(segment: &str) -> Option<&str> {
    let name = segment.strip_suffix(".scope").unwrap_or(segment);
    let (runtime, id) = name.rsplit_once('-').unwrap_or(("", name));
    (is_id(id) && runtime.rsplit('-').next() != Some("conmon")).then_some(id)
}

/// The name of a machine of systemd-machined, which is also a container.
fn machine(unit: &str) -> Option<&str> {
    let scope = || unit.strip_prefix("machine-")?.strip_suffix(".scope");
    let service = || {
        unit.strip_prefix("systemd-nspawn@")?
            .strip_suffix(".service")
    };
    scope().or_else(service).filter(|name| !name.is_empty())
}

/// 64 lower-case hexadecimal digits, the form that every OCI runtime uses.
fn is_id(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests;
