//! The units of `deploy/systemd` under a real systemd.
//!
//! Each test boots a small machine of its own: systemd as the first process of new namespaces, with a cgroup of its own,
//! the host's programs and nothing else of the host (`image.sh`, `machine`). The compiled daemon is installed there by the
//! commands of `deploy/systemd/README.md` (`node`), and judged by what its users and operators meet.
//!
//! Needs root, systemd, the version 2 cgroup hierarchy and Linux 6.5. A machine ends with its test: its processes are
//! killed through its cgroup, and its mounts go with its namespaces.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    unreachable_pub,
    reason = "helpers of tests: what goes wrong is reported by a panic"
)]

#[path = "../canary/issuer.rs"]
#[expect(dead_code, reason = "only its good answers are wanted here")]
mod issuer;
#[path = "../support/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "not every test binary uses all of it"
)]
mod support;

mod activation;
mod credentials;
mod hang;
mod machine;
mod node;
mod reload;
mod sandbox;
mod units;
