//! HTTP/2 on the broker socket, judged by h2spec.
//!
//! h2spec speaks TCP alone, so a relay stands between. Each of its cases must pass but for those of two lists, which say why
//! not.

use std::path::{Path, PathBuf};
use std::process::Output;

use tokio::io::{AsyncRead, AsyncWrite, copy, sink};
use tokio::net::{TcpListener, UnixStream};
use tokio::process::Command;

use crate::support::{Caller, OrSkip as _, installed, rig};
use crate::world::Plan;

/// How many cases the pinned version has, the strict ones included.
const CASES: usize = 146;

/// Cases that fail, and must: HTTP/1.1 is spoken on the same socket, so whatever is no preface of HTTP/2 is answered in
/// HTTP/1.1 (400) before the connection is closed. h2spec expects no answer.
const OTHER_PROTOCOL: [&str; 1] = ["http2/3.5/2"];

/// Cases that may fail: h2spec begins a request, and breaks a rule before it has ended it. The HTTP dialect reads no body, so
/// the whole answer may have left before the fault comes. The stream is closed by then, and what comes on it is to be ignored
/// (RFC 9113, sections 5.1 and 8.1). Each of them must pass when the fault is faster.
const RACES: [&str; 7] = [
    "http2/5.1/8",
    "http2/5.1/9",
    "http2/6.9.1/3",
    "http2/8.1/1",
    "http2/8.1.2.1/3",
    "http2/8.1.2.6/1",
    "http2/8.1.2.6/2",
];

/// How often a lost race is run again, at most. On a busy machine about one in ten is lost.
const RUNS: u32 = 20;

/// Passes on what comes at a port of loopback, which is returned, to a unix socket, and back, for as long as the test runs.
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

/// Passes on one direction. Each ends by itself: the daemon's last words must arrive though it takes no more.
async fn pass_on(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let passed = copy(&mut from, &mut to).await;
    drop(to);
    if passed.is_err() {
        // Unread bytes would turn the end of the connection into a reset.
        let _read = copy(&mut from, &mut sink()).await;
    }
}

async fn h2spec(port: u16, arguments: &[&str]) -> Output {
    Command::new(rig().join("bin/h2spec"))
        // A path that is answered with a body, and needs no header.
        .args(["--strict", "--host", "127.0.0.1", "--path", "/health"])
        // In seconds: what a lost race costs.
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
async fn http2_is_spoken_as_its_standard_says() {
    let name = "http2_is_spoken_as_its_standard_says";
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
            "{case} passes: take it off the list"
        );
    }
    for race in RACES {
        assert!(
            cases.iter().any(|(case, _)| case == race),
            "there is no {race}"
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

    // It lives, nobody else noticed, and it goes on serving.
    let after = world.caller.get("api").await.unwrap();
    assert_eq!(after.fingerprint, before.fingerprint);
    let mut newcomer = Caller::connect(&world.site.socket()).await;
    assert!(newcomer.get("api").await.is_ok());
    let log = world.daemon.log();
    assert!(!log.contains("panicked"), "{log}");
    assert!(world.daemon.terminate().success());
}
