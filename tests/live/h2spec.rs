//! HTTP/2 on the broker socket, judged by h2spec.
//!
//! h2spec only speaks TCP, so the test runs a relay. Every case must pass, except those in two lists, which state the
//! reasons.

use std::path::{Path, PathBuf};
use std::process::Output;

use tokio::io::{AsyncRead, AsyncWrite, copy, sink};
use tokio::net::{TcpListener, UnixStream};
use tokio::process::Command;

use crate::support::{Caller, OrSkip as _, installed, rig};
use crate::world::Plan;

/// How many cases the pinned version has, the strict ones included.
const CASES: usize = 146;

/// Cases that must fail: the same socket speaks HTTP/1.1, so bytes other than an HTTP/2 preface are answered in HTTP/1.1
/// (400) before the connection is closed. h2spec expects no answer.
const OTHER_PROTOCOL: [&str; 1] = ["http2/3.5/2"];

/// Cases that may fail: h2spec begins a request and violates the protocol before it ends the request. The HTTP dialect reads
/// no body, so the whole answer may have been sent before the violation arrives. By then the stream is closed, and the daemon
/// must ignore its frames (RFC 9113, sections 5.1 and 8.1). Each case must pass when the violation arrives first.
const RACES: [&str; 7] = [
    "http2/5.1/8",
    "http2/5.1/9",
    "http2/6.9.1/3",
    "http2/8.1/1",
    "http2/8.1.2.1/3",
    "http2/8.1.2.6/1",
    "http2/8.1.2.6/2",
];

/// The maximum number of retries of a lost race. On a busy machine about one in ten is lost.
const RUNS: u32 = 20;

/// Relays between a loopback port, which it returns, and a unix socket, for as long as the test runs.
async fn relay(socket: PathBuf) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bindable");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = UnixStream::connect(&socket).await.expect("it listens");
            let (from_near, to_near) = near.into_split();
            let (from_far, to_far) = far.into_split();
            tokio::spawn(pass_on(from_near, to_far));
            tokio::spawn(pass_on(from_far, to_near));
        }
    });
    port
}

/// Relays one direction. Each ends by itself: the daemon's last bytes must arrive even after it stops reading.
async fn pass_on(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let passed = copy(&mut from, &mut to).await;
    drop(to);
    if passed.is_err() {
        // Unread bytes would turn the close into a reset.
        let _read = copy(&mut from, &mut sink()).await;
    }
}

async fn h2spec(port: u16, arguments: &[&str]) -> Output {
    Command::new(rig().join("bin/h2spec"))
        // A path whose answer has a body, and that needs no request header.
        .args(["--strict", "--host", "127.0.0.1", "--path", "/health"])
        // In seconds: how long a lost race takes.
        .args(["--timeout", "4", "--port", &port.to_string()])
        .args(arguments)
        .env_clear()
        .kill_on_drop(true)
        .output()
        .await
        .expect("h2spec runs")
}

/// The cases in a report, as `SECTION/NUMBER`, and whether each passed.
fn cases(report: &Path) -> Vec<(String, bool)> {
    let report = std::fs::read_to_string(report).expect("there is a report");
    let mut found = Vec::new();
    let mut number = (String::new(), 0);
    for case in report.split("<testcase package=\"").skip(1) {
        let (section, rest) = case.split_once('"').expect("it is quoted");
        if number.0 != section {
            number = (section.to_owned(), 0);
        }
        number.1 += 1;
        let (_, rest) = rest.split_once('>').expect("it is closed");
        let (said, _) = rest.split_once("</testcase>").expect("it ends");
        found.push((format!("{section}/{}", number.1), said.is_empty()));
    }
    found
}

#[tokio::test]
async fn http2_conforms_to_its_standard() {
    let name = "http2_conforms_to_its_standard";
    let (Some(plan), Some(())) = (Plan::draw(name), installed("h2spec").or_skip(name)) else {
        return;
    };
    let mut world = plan.token("api", "basic", "").start().await;
    let before = world.caller.get("api").await.unwrap();
    let port = relay(world.site.socket()).await;

    let report = world.site.path().join("state/h2spec.xml");
    let report_flags = [
        "--junit-report",
        report.to_str().expect("our paths are UTF-8"),
    ];
    let suites = ["generic", "hpack", "http2"];
    let output = h2spec(port, &[&report_flags[..], &suites].concat()).await;
    let cases = cases(&report);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(cases.len(), CASES, "{said}");
    let failed: Vec<_> = cases
        .iter()
        .filter(|(_, passed)| !passed)
        .map(|(case, _)| case.as_str())
        .collect();
    for case in &failed {
        assert!(
            OTHER_PROTOCOL.contains(case) || RACES.contains(case),
            "{case} failed:\n{said}"
        );
    }
    for case in OTHER_PROTOCOL {
        assert!(
            failed.contains(&case),
            "{case} passes: remove it from the list"
        );
    }
    for race in RACES {
        assert!(
            cases.iter().any(|(case, _)| case == race),
            "h2spec has no case {race}"
        );
        let mut won = !failed.contains(&race);
        for _ in 0..RUNS {
            if won {
                break;
            }
            let output = h2spec(port, &[race]).await;
            won = String::from_utf8_lossy(&output.stdout).contains("1 tests, 1 passed");
        }
        assert!(won, "{race} never passes:\n{said}");
    }

    // The daemon still runs and serves other connections.
    let after = world.caller.get("api").await.unwrap();
    assert_eq!(after.fingerprint, before.fingerprint);
    let mut newcomer = Caller::connect(&world.site.socket()).await;
    assert!(newcomer.get("api").await.is_ok());
    let log = world.daemon.log();
    assert!(!log.contains("panicked"), "{log}");
    assert!(world.daemon.terminate().success());
}
