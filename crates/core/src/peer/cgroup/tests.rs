//! Real paths, forged paths, and properties of all paths.

use proptest::prelude::*;

use super::*;

const A: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const B: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

/// Parses `path`, in which `{A}` and `{B}` stand for container ids.
fn read(path: &str) -> Cgroup {
    let path = path.replace("{A}", A).replace("{B}", B);
    parse(&path).unwrap_or_else(|error| panic!("{path}: {error:?}"))
}

fn check(table: &[(&str, Option<&str>, Option<&str>)]) {
    for (path, unit, container) in table {
        let expand = |text: &str| text.replace("{A}", A).replace("{B}", B);
        let cgroup = read(path);
        assert_eq!(cgroup.unit, unit.map(expand), "unit of {path}");
        assert_eq!(
            cgroup.container,
            container.map(expand),
            "container of {path}"
        );
    }
}

#[test]
fn system_units_are_read() {
    check(&[
        (
            "/system.slice/billing.service",
            Some("billing.service"),
            None,
        ),
        ("/init.scope", Some("init.scope"), None),
        ("/direct.service", Some("direct.service"), None),
        (
            "/system.slice/system-getty.slice/getty@tty1.service",
            Some("getty@tty1.service"),
            None,
        ),
        (
            r"/system.slice/system-my\x2dapp.slice/my-app@1.service",
            Some("my-app@1.service"),
            None,
        ),
        (
            "/jobs.slice/jobs-night.slice/a.service",
            Some("a.service"),
            None,
        ),
        ("/system.slice/run-u12.scope", Some("run-u12.scope"), None),
        ("/system.slice/dbus.socket", Some("dbus.socket"), None),
        ("/system.slice/_cpu.service", Some("cpu.service"), None),
        ("/system.slice/__odd.service", Some("_odd.service"), None),
        (
            "/system.slice/billing.service/worker/3",
            Some("billing.service"),
            None,
        ),
        ("/system.slice", None, None),
        ("/", None, None),
    ]);
}

#[test]
fn containers_are_read() {
    check(&[
        (
            "/system.slice/docker-{A}.scope",
            Some("docker-{A}.scope"),
            Some("{A}"),
        ),
        (
            "/machine.slice/libpod-{A}.scope/container",
            Some("libpod-{A}.scope"),
            Some("{A}"),
        ),
        (
            "/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope",
            Some("libpod-{A}.scope"),
            Some("{A}"),
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-{A}.scope",
            Some("cri-containerd-{A}.scope"),
            Some("{A}"),
        ),
        (
            "/kubepods.slice/kubepods-pod1_2.slice/crio-{A}.scope",
            Some("crio-{A}.scope"),
            Some("{A}"),
        ),
        (
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod1_2.slice/cri-containerd-{A}.scope",
            Some("cri-containerd-{A}.scope"),
            Some("{A}"),
        ),
        ("/kubepods/burstable/pod1-2/{A}", None, Some("{A}")),
        ("/kubepods/besteffort/pod1-2/{A}/inner", None, Some("{A}")),
        ("/kubepods/pod1-2/{A}", None, Some("{A}")),
        ("/kubelet/kubepods/pod1-2/{A}", None, Some("{A}")),
        ("/docker/{A}", None, Some("{A}")),
        (
            "/lxc.payload.web/system.slice/sshd.service",
            None,
            Some("web"),
        ),
        ("/lxc/web", None, Some("web")),
        ("/lxc.payload.a.service", None, Some("a.service")),
        (
            "/machine.slice/machine-web.scope",
            Some("machine-web.scope"),
            Some("web"),
        ),
        (
            "/machine.slice/systemd-nspawn@web.service/payload/init.scope",
            Some("systemd-nspawn@web.service"),
            Some("web"),
        ),
    ]);
}

#[test]
fn a_monitor_of_a_container_is_not_in_it() {
    check(&[
        (
            "/machine.slice/libpod-conmon-{A}.scope",
            Some("libpod-conmon-{A}.scope"),
            None,
        ),
        (
            "/system.slice/crio-conmon-{A}.scope",
            Some("crio-conmon-{A}.scope"),
            None,
        ),
        ("/system.slice/docker.service", Some("docker.service"), None),
        (
            "/system.slice/containerd.service",
            Some("containerd.service"),
            None,
        ),
    ]);
}

#[test]
fn an_unknown_cgroup_of_a_pod_is_still_in_the_pod() {
    check(&[
        ("/kubepods/burstable/pod1-2", None, Some("kubepods:pod1-2")),
        ("/kubepods/pod1-2/short", None, Some("kubepods:short")),
        (
            "/kubepods.slice/kubepods-pod1_2.slice",
            None,
            Some("kubepods:kubepods-pod1_2.slice"),
        ),
        (
            "/kubepods.slice/kubepods-pod1_2.slice/new",
            None,
            Some("kubepods:new"),
        ),
        ("/kubelet/kubepods/x", None, Some("kubepods:x")),
        (
            "/kubelet.slice/kubelet-kubepods.slice/x",
            None,
            Some("kubepods:x"),
        ),
    ]);
}

/// A user that may name directories must not gain another identity by doing so.
#[test]
fn forged_names_in_a_session_prove_nothing() {
    check(&[
        ("/user.slice/user-1000.slice/user@1000.service", None, None),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/billing.service",
            None,
            None,
        ),
        ("/user.slice/user-1000.slice/session-3.scope", None, None),
        (
            "/user.slice/user-1000.slice/user@1000.service/system.slice/billing.service",
            None,
            None,
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/docker-{A}.scope",
            None,
            Some("user-1000.slice:{A}"),
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope/container",
            None,
            Some("user-1000.slice:{A}"),
        ),
        (
            "/user.slice/docker-{A}.scope",
            None,
            Some("docker-{A}.scope:{A}"),
        ),
        ("/user.slice", None, None),
        ("/user.slice/billing.service", None, None),
        // A user's manager that an operator moved into another slice.
        (
            "/jobs.slice/user@1000.service/app.slice/billing.service",
            None,
            None,
        ),
        (
            "/jobs.slice/user@1000.service/{A}",
            None,
            Some("user@1000.service:{A}"),
        ),
    ]);
}

#[test]
fn forged_names_in_a_service_with_delegation_prove_nothing() {
    check(&[
        (
            "/system.slice/ci.service/system.slice/billing.service",
            Some("ci.service"),
            None,
        ),
        (
            "/system.slice/ci.service/billing.service",
            Some("ci.service"),
            None,
        ),
        (
            "/system.slice/ci.service/docker-{A}.scope",
            Some("ci.service"),
            Some("ci.service:{A}"),
        ),
        (
            "/system.slice/ci.service/docker/{A}",
            Some("ci.service"),
            Some("ci.service:{A}"),
        ),
        (
            "/system.slice/ci.service/libpod-payload-{A}",
            Some("ci.service"),
            Some("ci.service:{A}"),
        ),
    ]);
}

#[test]
fn forged_names_in_a_container_or_a_delegated_directory_prove_nothing() {
    check(&[
        (
            "/system.slice/docker-{A}.scope/system.slice/billing.service",
            Some("docker-{A}.scope"),
            Some("{A}"),
        ),
        ("/docker/{A}/docker/{B}", None, Some("{A}")),
        (
            "/docker/{A}/system.slice/billing.service",
            None,
            Some("{A}"),
        ),
        ("/kubepods/pod1/{A}/{B}", None, Some("{A}")),
        ("/lxc.payload.web/docker/{A}", None, Some("web")),
        // A directory that was delegated to a user.
        ("/given/docker/{A}", None, Some("given:{A}")),
        ("/given/{A}", None, Some("given:{A}")),
        ("/given/system.slice/billing.service", None, None),
        ("/given/kubepods/pod1/{A}", None, Some("given:{A}")),
    ]);
}

#[test]
fn similar_names_are_not_accepted() {
    check(&[
        (
            "/System.slice/billing.service",
            Some("billing.service"),
            None,
        ),
        ("/system/billing.service", None, None),
        ("/system.slice/billing.Service", None, None),
        ("/system.slice/billing.service ", None, None),
        ("/system.slice/billing", None, None),
        ("/system.slice/.service", None, None),
        ("/system.slice/_.service", None, None),
        ("/system.slice/b illing.service", None, None),
        ("/system.slice/billing.service (deleted)", None, None),
        ("/system.slice/bïlling.service", None, None),
        // A slice that is not in the parent that its name implies.
        ("/system.slice/other.slice/billing.service", None, None),
        ("/system-x.slice/billing.service", None, None),
        ("/system.slice/system-a-b.slice/billing.service", None, None),
        ("/system.slice/system-.slice/billing.service", None, None),
        ("/system.slice/systemx-a.slice/billing.service", None, None),
        ("/.slice/billing.service", None, None),
        ("/user.slicex/user.slice/billing.service", None, None),
        // Ids of another length or alphabet.
        ("/docker/0123", None, None),
        ("/docker/{A}0", None, None),
        (
            "/docker/0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
            None,
            None,
        ),
        ("/docker/x/{A}", None, Some("docker:{A}")),
        ("/lxc.payload.", None, None),
        (
            "/machine.slice/machine-.scope",
            Some("machine-.scope"),
            None,
        ),
    ]);
    let long = format!("/system.slice/{}.service", "a".repeat(250));
    assert_eq!(
        read(&long).unit,
        None,
        "unit names are limited to 255 bytes"
    );
}

#[test]
fn invalid_paths_are_rejected() {
    use InvalidPath::{Malformed, Outside};
    let long = format!("/{}", "a/".repeat(2048));
    for (path, error) in [
        ("", Malformed),
        ("system.slice/billing.service", Malformed),
        ("//system.slice", Malformed),
        ("/system.slice//billing.service", Malformed),
        ("/system.slice/billing.service/", Malformed),
        ("/./system.slice", Malformed),
        ("/system.slice/\tbilling.service", Malformed),
        (&long, Malformed),
        ("/..", Outside),
        ("/../../system.slice/billing.service", Outside),
        ("/system.slice/../docker", Outside),
    ] {
        assert_eq!(parse(path), Err(error), "{path:?}");
    }
}

#[test]
fn exactly_one_line_of_version_2_is_accepted() {
    assert_eq!(line("0::/a\n"), Some("/a"));
    let hybrid = "4:memory:/m\n1:name=systemd:/system.slice/x.service\n0::/a\n";
    assert_eq!(line(hybrid), Some("/a"));
    assert_eq!(line("10::/a\n4:memory:0::/b\n"), None);
    assert_eq!(line("0::/a\n0::/b\n"), None, "the kernel writes one line");
    assert_eq!(line(""), None);
}

proptest! {
    #[test]
    fn any_path_is_parsed_or_rejected(path in "(/[a-z0-9._@:\\\\ -]{0,12}){0,6}|.{0,40}") {
        if let Ok(cgroup) = parse(&path) {
            prop_assert_eq!(&cgroup.path, &path);
            prop_assert!(cgroup.unit.is_none_or(|unit| path.contains(&unit)));
        }
    }

    #[test]
    fn no_session_is_a_unit_or_a_container_of_another_owner(
        below in prop::collection::vec(segment(), 0..6),
    ) {
        let path = format!("/user.slice/user-1000.slice/user@1000.service/{}", below.join("/"));
        if let Ok(Cgroup { unit, container, .. }) = parse(path.trim_end_matches('/')) {
            prop_assert_eq!(unit, None);
            prop_assert!(container.is_none_or(|id| id.starts_with("user-1000.slice:")));
        }
    }

    #[test]
    fn no_subtree_changes_its_owner(below in prop::collection::vec(segment(), 1..6)) {
        let below = below.join("/");
        for path in ["/system.slice/ci.service", "/system.slice/system-a.slice/a@1.service"] {
            let (outer, inner) = (read(path), read(&format!("{path}/{below}")));
            let owner = format!("{}:", outer.unit.as_deref().unwrap());
            prop_assert_eq!(inner.unit, outer.unit);
            prop_assert!(inner.container.is_none_or(|id| id.starts_with(&owner)));
        }
        for path in ["/docker/{A}", "/system.slice/docker-{A}.scope", "/kubepods/pod1/{A}", "/lxc/w"] {
            let (outer, inner) = (read(path), read(&format!("{path}/{below}")));
            prop_assert_eq!(inner.unit, outer.unit);
            prop_assert_eq!(inner.container, outer.container);
        }
    }
}

/// Segments that an attacker might choose.
fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9_.-]{1,12}".prop_filter("no dots alone", |text| text != "." && text != ".."),
        Just("system.slice".to_owned()),
        Just("billing.service".to_owned()),
        Just("docker".to_owned()),
        Just("kubepods.slice".to_owned()),
        Just(A.to_owned()),
        Just(format!("docker-{B}.scope")),
        Just(format!("cri-containerd-{A}.scope")),
    ]
}
