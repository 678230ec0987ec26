//! Checks the files in `deploy/` with the tools that read them.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unnecessary_wraps,
    reason = "a test"
)]

#[path = "support/runner.rs"]
mod runner;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

fn main() -> ExitCode {
    runner::run(
        &[
            (
                "the_units_exposure_is_at_most_1_5",
                the_units_exposure_is_at_most_1_5,
            ),
            ("the_units_are_understood", the_units_are_understood),
            ("the_user_is_understood", the_user_is_understood),
            (
                "the_unit_leaves_peers_visible",
                the_unit_leaves_peers_visible,
            ),
            (
                "the_unit_keeps_secrets_off_the_disk",
                the_unit_keeps_secrets_off_the_disk,
            ),
            (
                "the_unit_is_restarted_for_ever",
                the_unit_is_restarted_for_ever,
            ),
            (
                "the_sockets_have_names_and_modes",
                the_sockets_have_names_and_modes,
            ),
        ],
        &[],
    )
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd")
}

fn text(file: &str) -> String {
    fs::read_to_string(folder().join(file)).unwrap()
}

/// The values of a setting, in order.
fn values(file: &str, setting: &str) -> Vec<String> {
    text(file)
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| *name == setting)
        .map(|(_, value)| value.to_owned())
        .collect()
}

fn run(program: &str, arguments: &[&str], file: &Path) -> Result<Output, String> {
    let mut command = Command::new(program);
    command.args(arguments).arg(file);
    command
        .output()
        .map_err(|error| format!("needs {program}: {error}"))
}

/// The standard output and error of a program.
fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn the_units_exposure_is_at_most_1_5() -> Result<(), String> {
    let options = ["security", "--offline=true", "--threshold=15", "--no-pager"];
    let exposure = |file: &Path| run("systemd-analyze", &options, file);
    let ours = exposure(&folder().join("claviger.service"))?;
    assert!(ours.status.success(), "{}", said(&ours));

    let scratch = tempfile::tempdir().unwrap();
    let bare = scratch.path().join("bare.service");
    fs::write(&bare, "[Service]\nExecStart=/usr/bin/claviger run\n").unwrap();
    let bare = exposure(&bare)?;
    assert!(!bare.status.success(), "control: {}", said(&bare));
    Ok(())
}

fn the_units_are_understood() -> Result<(), String> {
    let scratch = tempfile::tempdir().unwrap();
    let copy = |change: fn(String) -> String| {
        for file in [
            "claviger.service",
            "claviger.socket",
            "claviger-admin.socket",
        ] {
            // The program need not be installed on this machine.
            let text = text(file).replace("/usr/bin/claviger ", "/bin/true ");
            fs::write(scratch.path().join(file), change(text)).unwrap();
        }
        let files = ["verify", "--man=no", "--recursive-errors=no"].map(str::to_owned);
        let sockets = ["claviger.socket", "claviger-admin.socket"];
        let mut all = files.to_vec();
        all.extend(sockets.map(|file| scratch.path().join(file).to_str().unwrap().to_owned()));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        run(
            "systemd-analyze",
            &all,
            &scratch.path().join("claviger.service"),
        )
    };
    let ours = copy(|text| text)?;
    assert!(
        ours.status.success() && said(&ours).is_empty(),
        "{}",
        said(&ours)
    );
    let misspelled = copy(|text| text.replace("ProtectHome=", "ProtectHouse="))?;
    assert!(said(&misspelled).contains("ProtectHouse"), "control");
    Ok(())
}

fn the_user_is_understood() -> Result<(), String> {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("usr/lib/sysusers.d");
    fs::create_dir_all(&folder).unwrap();
    fs::create_dir(scratch.path().join("etc")).unwrap();
    let check = |text: &str| {
        fs::write(folder.join("claviger.conf"), text).unwrap();
        let mut command = Command::new("systemd-sysusers");
        command.arg("--dry-run").arg("--root").arg(scratch.path());
        let output = command
            .output()
            .map_err(|error| format!("needs systemd-sysusers: {error}"))?;
        Ok::<_, String>(said(&output))
    };
    let ours = check(&text("claviger.sysusers"))?;
    assert!(ours.contains("Creating user 'claviger'"), "{ours}");
    let wrong = check("u clav!ger -\n")?;
    assert!(wrong.contains("not a valid user"), "control: {wrong}");
    Ok(())
}

/// Each of these settings would make all peers unidentifiable or indistinguishable.
fn the_unit_leaves_peers_visible() -> Result<(), String> {
    for (setting, value) in [
        ("ProtectProc", "default"),
        ("ProcSubset", "all"),
        ("PrivateUsers", "no"),
    ] {
        assert_eq!(values("claviger.service", setting), [value]);
    }
    // The directories of the sockets belong to root; this setting would give them to the daemon.
    assert!(values("claviger.service", "RuntimeDirectory").is_empty());
    Ok(())
}

fn the_unit_keeps_secrets_off_the_disk() -> Result<(), String> {
    for (setting, value) in [
        ("MemorySwapMax", "0"),
        ("LimitCORE", "0"),
        ("LimitMEMLOCK", "64M"),
        ("UMask", "0077"),
        ("StateDirectoryMode", "0700"),
        ("LogsDirectoryMode", "0700"),
        ("CapabilityBoundingSet", ""),
        ("AmbientCapabilities", ""),
        ("NoNewPrivileges", "yes"),
    ] {
        assert_eq!(values("claviger.service", setting), [value], "{setting}");
    }
    assert!(values("claviger.service", "Environment").is_empty());
    Ok(())
}

/// systemd stops restarting after this many starts in this time; a crashing daemon must not reach the limit.
fn the_unit_is_restarted_for_ever() -> Result<(), String> {
    let seconds = |setting| {
        let values = values("claviger.service", setting);
        let value = values[0].strip_suffix('s').unwrap();
        value.parse::<u32>().unwrap()
    };
    assert_eq!(values("claviger.service", "Restart"), ["on-failure"]);
    let starts = 5;
    assert!(seconds("StartLimitIntervalSec") < starts * seconds("RestartSec"));
    Ok(())
}

fn the_sockets_have_names_and_modes() -> Result<(), String> {
    for (file, name, path, directory, mode) in [
        (
            "claviger.socket",
            "broker",
            "/run/claviger/broker.sock",
            "0755",
            "0666",
        ),
        (
            "claviger-admin.socket",
            "admin",
            "/run/claviger/admin/admin.sock",
            "0700",
            "0600",
        ),
    ] {
        for (setting, value) in [
            ("FileDescriptorName", name),
            ("ListenStream", path),
            ("DirectoryMode", directory),
            ("SocketMode", mode),
            ("SocketUser", "root"),
            ("Service", "claviger.service"),
        ] {
            assert_eq!(values(file, setting), [value], "{file}: {setting}");
        }
    }
    // The admin socket's unit must not create the common directory, which would then have mode 0700.
    assert_eq!(
        values("claviger-admin.socket", "After"),
        ["claviger.socket"]
    );
    Ok(())
}
