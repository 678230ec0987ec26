//! The units of `deploy/systemd` under a real systemd.
//!
//! Each test boots a small machine: systemd as the first process of new namespaces, with its own cgroup,
//! the host's programs and nothing else of the host (`image.sh`, `machine`). The compiled daemon is installed there by the
//! commands of `deploy/systemd/README.md` (`node`), and checked through what users and operators see.
//!
//! Needs root, systemd, the version 2 cgroup hierarchy and Linux 6.5. A machine is removed with its test: its processes are
//! killed through its cgroup, and its mounts go with its namespaces.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    unreachable_pub,
    reason = "test helpers report failures by a panic"
)]

#[path = "../canary/issuer.rs"]
#[expect(dead_code, reason = "these tests use only its successful responses")]
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
