//! The performance of serving a cached token, as a ratio to a bare tonic server that returns the same bytes.
//!
//! Starts the release build of `claviger` with an embedded issuer, and two bare servers (one on a single-threaded runtime, one
//! on tokio's default runtime), each as a process. Then loads them in turn from this process, pair by pair, so that a drift of
//! the machine affects all alike. Prints a table and writes `target/bench/cached_token.json`.
//!
//! `make bench` runs it. `-- --quick` runs it for a shorter time, with less precise results.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark stops at the first error"
)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

mod bare;
mod load;
mod subject;

use std::path::Path;
use std::time::Duration;

use load::{Load, Sample};
use prost::Message as _;
use serde_json::json;
use subject::Subject;

/// The number of rounds, in each of which all servers are loaded; the median of the ratios is reported.
const ROUNDS: usize = 7;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(position) = arguments.iter().position(|argument| argument == "--bare") {
        return bare::serve(
            Path::new(&arguments[position + 1]),
            &arguments[position + 2],
        );
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(measure(quick));
}

async fn measure(quick: bool) {
    let subject = Subject::start().await;
    let rss_idle = subject.rss_kib();
    subject.cold(1000).await;
    let cold_requests = subject.issuer_requests();
    let token = subject.cached().await;
    let folder = subject.folder().to_owned();
    let bare_single = bare::Bare::start(&folder, "single", &token).await;
    let bare_multi = bare::Bare::start(&folder, "multi", &token).await;

    let throughput = Load {
        connections: 8,
        streams: 8,
        time: span(quick, 2000),
    };
    let latency = Load {
        connections: 1,
        streams: 1,
        time: span(quick, 1000),
    };
    let sockets = [subject.socket(), bare_single.socket(), bare_multi.socket()];
    for socket in &sockets {
        // The lifetime left differs, but has the same length.
        let answer = load::answer(socket).await;
        assert_eq!(
            answer.encoded_len(),
            token.encoded_len(),
            "the same number of bytes"
        );
    }
    let mut busy: [Vec<Sample>; 3] = Default::default();
    let mut calm: [Vec<Sample>; 3] = Default::default();
    for round in 0..if quick { 2 } else { ROUNDS } {
        for turn in 0..3 {
            // Each round begins with another server, so that no server always follows the same one.
            let index = (turn + round) % 3;
            busy[index].push(throughput.run(&sockets[index]).await);
            calm[index].push(latency.run(&sockets[index]).await);
        }
    }
    report(&busy, &calm, rss_idle, subject.rss_kib(), cold_requests);
}

fn span(quick: bool, milliseconds: u64) -> Duration {
    Duration::from_millis(if quick {
        milliseconds / 4
    } else {
        milliseconds
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn ratios(of: &[Sample], to: &[Sample], read: impl Fn(&Sample) -> f64) -> f64 {
    median(
        of.iter()
            .zip(to)
            .map(|(of, to)| read(of) / read(to))
            .collect(),
    )
}

fn report(busy: &[Vec<Sample>; 3], calm: &[Vec<Sample>; 3], idle: u64, loaded: u64, cold: usize) {
    let names = [
        "claviger",
        "bare tonic, single-threaded",
        "bare tonic, multi-threaded",
    ];
    println!(
        "{:<30}{:>16}{:>12}{:>12}",
        "server", "answers/s 8×8", "p50 µs 1×1", "p99 µs 8×8"
    );
    for ((name, busy), calm) in names.iter().zip(busy).zip(calm) {
        println!(
            "{name:<30}{:>16.0}{:>12.1}{:>12.1}",
            median(busy.iter().map(Sample::per_second).collect()),
            median(calm.iter().map(|sample| sample.p50).collect()),
            median(busy.iter().map(|sample| sample.p99).collect()),
        );
    }
    let pair = |index: usize| {
        let throughput = ratios(&busy[0], &busy[index], Sample::per_second);
        let p50 = ratios(&calm[0], &calm[index], |sample| sample.p50);
        (throughput, p50)
    };
    let (single, multi) = (pair(1), pair(2));
    println!(
        "\n{:<44}{:>10}{:>10}",
        "ratio claviger / bare (median of pairs)", "single", "multi"
    );
    println!(
        "{:<44}{:>10.2}{:>10.2}",
        "throughput at 8 connections × 8 streams", single.0, multi.0
    );
    println!("{:<44}{:>10.2}{:>10.2}", "p50 at 1 × 1", single.1, multi.1);
    println!("\n1000 callers on a cold token: {cold} request to the issuer");
    println!(
        "resident memory: {:.1} MiB idle, {:.1} MiB after the load",
        mib(idle),
        mib(loaded)
    );
    let result = json!({
        "throughput_ratio": { "single": single.0, "multi": multi.0 },
        "p50_ratio": { "single": single.1, "multi": multi.1 },
        "answers_per_second": busy.each_ref().map(|samples| {
            median(samples.iter().map(Sample::per_second).collect())
        }),
        "p50_us": calm.each_ref().map(|samples| {
            median(samples.iter().map(|sample| sample.p50).collect())
        }),
        "cold_requests": cold,
        "rss_kib": { "idle": idle, "after_load": loaded },
    });
    std::fs::create_dir_all("target/bench").unwrap();
    std::fs::write("target/bench/cached_token.json", format!("{result:#}\n")).unwrap();
    println!("written to target/bench/cached_token.json");
}

#[expect(clippy::cast_precision_loss, reason = "for display")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
