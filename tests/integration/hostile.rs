//! Hostile peers: floods, garbage and malformed frames, against the compiled daemon.
//!
//! After each attack the daemon answers a healthy peer, and uses no more memory or descriptors than before.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::actor::need_root;
use crate::caller::Caller;
use crate::lent::{BERT, Lent};
use crate::node::{Node, run};
use crate::program::{BINARY, Program};
use crate::table;
use crate::wire::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM,
    SETTINGS, call, connect, fields, frame, get_token, greeting,
};

table![
    floods_and_garbage_cost_nothing_that_lasts,
    one_user_cannot_fill_the_memory,
    malformed_frames_do_not_affect_other_peers,
    a_daemon_raises_its_descriptor_limit,
    a_daemon_without_descriptors_recovers,
];

/// How much the daemon's memory may grow during an attack, in KiB.
const GROWTH: u64 = 10 * 1024;

/// Connections per attack.
const CONNECTIONS: u32 = 8;

/// An attack on one connection: writes until the daemon closes it or stops reading.
type Attack = (&'static str, fn(&mut UnixStream));

/// Writes as much of `bytes` as the daemon reads; `false` when it closed the connection or stopped reading.
fn push(stream: &mut UnixStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).is_ok()
}

const ATTACKS: [Attack; 14] = [
    ("zero window, many streams", |stream| {
        // SETTINGS_INITIAL_WINDOW_SIZE 0: no answer may be written.
        push(stream, &greeting(&[(4, 0)]));
        for number in 0..5000 {
            if !push(stream, &get_token(2 * number + 1, "api")) {
                return;
            }
        }
    }),
    ("rapid reset", |stream| {
        push(stream, &greeting(&[]));
        for number in 0..5000 {
            let id = 2 * number + 1;
            let reset = frame(RST_STREAM, 0, id, &8_u32.to_be_bytes());
            if !push(stream, &[get_token(id, "api"), reset].concat()) {
                return;
            }
        }
    }),
    ("CONTINUATION without end", |stream| {
        push(stream, &greeting(&[]));
        push(
            stream,
            &frame(HEADERS, 0, 1, &call("/claviger.v1.Tokens/GetToken")),
        );
        let more = fields(&[("x", &"y".repeat(4000))]);
        for _ in 0..2000 {
            if !push(stream, &frame(CONTINUATION, 0, 1, &more)) {
                return;
            }
        }
    }),
    ("empty CONTINUATION without end", |stream| {
        push(stream, &greeting(&[]));
        push(
            stream,
            &frame(HEADERS, 0, 1, &call("/claviger.v1.Tokens/GetToken")),
        );
        for _ in 0..20_000 {
            if !push(stream, &frame(CONTINUATION, 0, 1, &[])) {
                return;
            }
        }
    }),
    ("PING flood", |stream| {
        stream
            .set_write_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        push(stream, &greeting(&[]));
        let many = frame(PING, 0, 0, &[7; 8]).repeat(1000);
        for _ in 0..50 {
            if !push(stream, &many) {
                return;
            }
        }
    }),
    ("SETTINGS flood", |stream| {
        stream
            .set_write_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        push(stream, &greeting(&[]));
        let many = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]).repeat(1000);
        for _ in 0..50 {
            if !push(stream, &many) {
                return;
            }
        }
    }),
    ("empty DATA flood", |stream| {
        push(stream, &greeting(&[]));
        push(
            stream,
            &frame(
                HEADERS,
                END_HEADERS,
                1,
                &call("/claviger.v1.Tokens/GetToken"),
            ),
        );
        let many = frame(DATA, 0, 1, &[]).repeat(1000);
        for _ in 0..50 {
            if !push(stream, &many) {
                return;
            }
        }
    }),
    ("a message announced as huge", |stream| {
        push(stream, &greeting(&[]));
        for number in 0..60 {
            let id = 2 * number + 1;
            let head = frame(
                HEADERS,
                END_HEADERS,
                id,
                &call("/claviger.v1.Tokens/GetToken"),
            );
            push(
                stream,
                &[head, frame(DATA, 0, id, &[0, 0xff, 0xff, 0xff, 0xff, 1])].concat(),
            );
        }
    }),
    ("a frame announced as huge", |stream| {
        push(
            stream,
            &[
                &greeting(&[]),
                &[0xff, 0xff, 0xff, HEADERS, 4, 0, 0, 0, 1][..],
            ]
            .concat(),
        );
        push(stream, &[0; 64 * 1024]);
    }),
    ("a header table announced as huge", |stream| {
        push(
            stream,
            &greeting(&[(1, u32::MAX), (5, 16_777_215), (6, u32::MAX)]),
        );
        for number in 0..60 {
            push(stream, &get_token(2 * number + 1, "api"));
        }
    }),
    ("a header block that grows when it is unpacked", |stream| {
        push(stream, &greeting(&[]));
        // Adds one large field to the dynamic table, then refers to it repeatedly (index 62).
        let mut block = call("/claviger.v1.Tokens/GetToken");
        block.extend([0x40, 1, b'x', 127, 0x81, 0x1e]);
        block.extend([b'y'; 4000]);
        block.extend([0xbe; 10_000]);
        push(stream, &frame(HEADERS, END_HEADERS | END_STREAM, 1, &block));
    }),
    ("garbage", |stream| {
        push(stream, &noise(1));
    }),
    ("garbage after the preface", |stream| {
        push(stream, &[PREFACE, &noise(2)].concat());
    }),
    ("a request line without end", |stream| {
        for _ in 0..200 {
            if !push(stream, &[b'G'; 4096]) {
                return;
            }
        }
    }),
];

/// Pseudorandom bytes, the same for the same seed.
fn noise(seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..))
        .take(100_000)
        .collect()
}

/// Whether a well-behaved peer is served.
fn answers(program: &Program) -> bool {
    run(async {
        match Caller::admitted(&program.node.socket()).await {
            Some(mut caller) => caller.token("api").await.is_ok(),
            None => false,
        }
    })
}

/// Waits until the daemon has closed the connections of the attack, and has as many descriptors as before.
fn settled(program: &Program, before: usize) -> bool {
    // Each poll is a request and an answer, so the daemon makes progress between polls.
    (0..2000).any(|_| {
        assert!(answers(program), "a healthy peer is not answered");
        program.descriptors() <= before
    })
}

fn floods_and_garbage_cost_nothing_that_lasts() -> Result<(), String> {
    let mut node = run(Node::new());
    node.limits = "request = \"200ms\"\npreface = \"200ms\"".to_owned();
    let program = Program::on(node);
    // Warm up: memory that is allocated once and kept does not count as growth.
    for _ in 0..200 {
        assert!(answers(&program));
    }
    assert!(settled(&program, program.descriptors()));
    let before = (program.resident(), program.descriptors());
    for (name, attack) in ATTACKS {
        let streams: Vec<UnixStream> = (0..CONNECTIONS)
            .map(|_| {
                let mut stream = connect(&program.node.socket());
                attack(&mut stream);
                stream
            })
            .collect();
        assert!(answers(&program), "during \"{name}\"");
        let during = program.resident();
        assert!(
            during < before.0 + GROWTH,
            "{name}: from {} to {during} KiB",
            before.0
        );
        drop(streams);
        assert!(settled(&program, before.1), "{name}: descriptors stay open");
    }
    let after = program.resident();
    assert!(
        after < before.0 + GROWTH,
        "from {} to {after} KiB",
        before.0
    );
    let (status, log, node) = program.terminate();
    assert!(status.success(), "{log}");
    assert!(node.issuer.requests() < 5, "{}", node.issuer.requests());
    assert!(!log.contains("internal error"), "{log}");
    Ok(())
}

/// The memory that a user without a rule may use, in KiB: about half of the shipped unit's limit.
const COST_OF_ONE: u64 = 140 * 1024;

/// Requests with large headers and unfinished messages, on all connections and streams that one user may open.
fn one_user_cannot_fill_the_memory() -> Result<(), String> {
    need_root()?;
    let mut node = run(Node::new());
    let rule = format!("[[allow]]\nuser = {BERT}\ntokens = [\"api\"]\n");
    node.rules.push_str(&rule);
    let program = Program::on(node);
    assert!(answers(&program));
    let bert = Lent::by(BERT, &program.node.socket());
    let mut bert = run(bert.caller());
    let (before, descriptors) = (program.resident(), program.descriptors());
    let many: Vec<String> = (0..150).map(|number| format!("x{number}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "y")).collect();
    let head = [call("/claviger.v1.Tokens/GetToken"), fields(&many)].concat();
    let begun = [&[0, 0, 0, 0xff, 0xff][..], &[b'z'; 1000]].concat();
    let mut most = 0;
    let streams: Vec<UnixStream> = (0..250)
        .map(|_| {
            let mut stream = connect(&program.node.socket());
            let mut said = greeting(&[(4, 0)]);
            for number in 0..64 {
                let id = 2 * number + 1;
                said.extend(frame(HEADERS, END_HEADERS, id, &head));
                said.extend(frame(DATA, 0, id, &begun));
            }
            push(&mut stream, &said);
            most = most.max(program.resident());
            stream
        })
        .collect();
    assert!(run(bert.token("api")).is_ok(), "others are answered");
    most = most.max(program.resident());
    assert!(most < before + COST_OF_ONE, "from {before} to {most} KiB");
    drop(streams);
    // New requests of this user are refused until its last request has ended.
    let hanging = Instant::now() + Duration::from_secs(20);
    while !answers(&program) {
        assert!(Instant::now() < hanging, "still refused");
    }
    assert!(settled(&program, descriptors + 2), "descriptors stay open");
    Ok(())
}

fn malformed_frames_do_not_affect_other_peers() -> Result<(), String> {
    let program = Program::on(run(Node::new()));
    assert!(answers(&program));
    let before = program.resident();
    let descriptors = program.descriptors();
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let valid = [
        greeting(&[(1, 4096), (4, 65_535)]),
        get_token(1, "api"),
        frame(PING, 0, 0, &[1; 8]),
        frame(8, 0, 0, &1024_u32.to_be_bytes()),
        get_token(3, "payroll"),
        frame(2, 0, 5, &[0, 0, 0, 0, 16]),
        frame(RST_STREAM, 0, 3, &8_u32.to_be_bytes()),
        frame(GOAWAY, 0, 0, &[0; 8]),
    ]
    .concat();
    let text =
        b"GET /v1/token/api?scope=read:demo HTTP/1.1\r\nhost: claviger\r\nclaviger-request: true\r\n\r\n";
    for round in 0..4000 {
        let mut bytes = if round % 4 == 0 {
            text.to_vec()
        } else {
            valid.clone()
        };
        // Mutates mostly bytes after the preface, to reach the frame parser.
        let from = if round % 16 == 1 || round % 4 == 0 {
            0
        } else {
            PREFACE.len()
        };
        for _ in 0..random.usize(1..6) {
            if bytes.len() <= from + 1 {
                break;
            }
            let place = random.usize(from..bytes.len());
            match random.u8(0..5) {
                0 => bytes[place] = random.u8(..),
                1 => bytes[place] ^= 1 << random.u8(0..8),
                2 => bytes.insert(place, random.u8(..)),
                3 => drop(bytes.remove(place)),
                _ => bytes.truncate(place.max(from + 1)),
            }
        }
        let mut stream = connect(&program.node.socket());
        push(&mut stream, &bytes);
        // Some connections close at once, others wait for the answer.
        if round % 64 == 0 {
            assert!(answers(&program), "seed {seed}, round {round}");
        }
    }
    assert!(
        settled(&program, descriptors),
        "seed {seed}: descriptors stay open"
    );
    let after = program.resident();
    assert!(
        after < before + GROWTH,
        "seed {seed}: from {before} to {after} KiB"
    );
    let (status, log, _node) = program.terminate();
    assert!(
        status.success() && !log.contains("internal error"),
        "seed {seed}: {log}"
    );
    Ok(())
}

fn a_daemon_raises_its_descriptor_limit() -> Result<(), String> {
    for (limit, soft, warned) in [("512:8192", "3472", false), ("512:600", "600", true)] {
        let mut command = Command::new("prlimit");
        if command.arg("--version").output().is_err() {
            return Err("needs prlimit".to_owned());
        }
        let mut command = Command::new("prlimit");
        command.args([&format!("--nofile={limit}"), BINARY]);
        let program = Program::by(run(Node::new()), command);
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", program.pid())).unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let now = line.unwrap().split_ascii_whitespace().nth(3);
        assert_eq!(now, Some(soft), "{limit}");
        let status = run(async { program.admin().await.status().await.unwrap() });
        let reported = status
            .warnings
            .iter()
            .any(|text| text.contains("LimitNOFILE="));
        assert_eq!(reported, warned, "{limit}: {:?}", status.warnings);
        let says = |log: &str| log.contains("LimitNOFILE=") == warned;
        let log = program.log_when(says);
        assert!(says(&log), "{log}");
    }
    Ok(())
}

fn a_daemon_without_descriptors_recovers() -> Result<(), String> {
    let mut command = Command::new("prlimit");
    if command.arg("--version").output().is_err() {
        return Err("needs prlimit".to_owned());
    }
    let mut command = Command::new("prlimit");
    command.args(["--nofile=64:64", BINARY]);
    let program = Program::by(run(Node::new()), command);
    assert!(answers(&program));
    let (descriptors, ticks) = (program.descriptors(), program.ticks());
    let streams: Vec<UnixStream> = (0..200)
        .map(|_| UnixStream::connect(program.node.socket()).unwrap())
        .collect();
    // The log reports what happens to connections without a descriptor: they wait or are refused.
    let noted = || {
        let log = program.log();
        log.contains("a peer cannot be identified")
            || log.contains("cannot accept connections; pausing")
    };
    let hanging = Instant::now() + Duration::from_secs(20);
    while !noted() {
        assert!(Instant::now() < hanging, "{}", program.log());
        std::thread::yield_now();
    }
    let used = program.ticks() - ticks;
    assert!(used < 50, "so many connections cost {used} ticks of 10 ms");
    drop(streams);
    // Until the last of them is closed the daemon may refuse others; then it serves as before.
    let recovered = || answers(&program) && program.descriptors() <= descriptors;
    let hanging = Instant::now() + Duration::from_secs(20);
    while !recovered() {
        assert!(Instant::now() < hanging, "{}", program.log());
    }
    Ok(())
}
