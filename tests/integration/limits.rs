//! Limits on the resources of one peer, so that other peers are not affected.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use claviger_proto::v1::GetTokenRequest;
use claviger_server::Limits;
use tonic::Code;

use crate::actor::need_root;
use crate::caller::{refusal, why, wish};
use crate::daemon::TestDaemon;
use crate::lent::{ANNA, BERT, Lent};
use crate::node::{Node, run};
use crate::table;
use crate::wire::{
    END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM, call, connect, fields, frame,
    get_token, greeting, read_frame, until_closed,
};

table![
    a_silent_connection_is_closed,
    one_user_cannot_use_up_the_connections_of_others,
    peers_without_a_rule_take_no_connection_of_others,
    a_closed_connection_frees_its_slot,
    one_user_cannot_use_up_the_requests_of_others,
    an_unread_answer_counts_as_an_open_request,
    more_streams_than_allowed_are_refused,
    a_message_that_is_too_large_is_refused,
    headers_that_are_too_large_are_refused,
    an_idle_connection_that_answers_no_ping_is_closed,
];

/// A daemon with a short deadline for the first bytes of a connection.
async fn impatient() -> TestDaemon {
    let mut node = Node::new().await;
    node.limits = "preface = \"150ms\"".to_owned();
    TestDaemon::on(node).await
}

fn a_silent_connection_is_closed() -> Result<(), String> {
    run(async {
        let daemon = impatient().await;
        let socket = daemon.node.socket();
        let spoken: [&[u8]; 8] = [
            b"",
            b"P",
            &PREFACE[..23],
            PREFACE,
            &[PREFACE, &[0; 8]].concat(),
            b"GET /v1/token/api HT",
            b"GET /v1/token/api HTTP/1.1\r\nclaviger-request: true\r\nx: y",
            b"GET /health HTTP/1.1\r\nhost: claviger\r\n\r\nGET /heal",
        ];
        tokio::task::block_in_place(|| {
            let mut streams: Vec<(usize, UnixStream)> = Vec::new();
            for said in spoken {
                let mut stream = connect(&socket);
                stream.write_all(said).unwrap();
                streams.push((said.len(), stream));
            }
            for (length, mut stream) in streams {
                let heard = until_closed(&mut stream);
                assert!(heard.is_ok(), "after {length} bytes: {heard:?}");
            }
        });
        assert!(daemon.caller().await.token("api").await.is_ok());
        daemon.stop().await;
    });
    Ok(())
}

/// Whether the daemon answers on this connection.
async fn is_served(stream: UnixStream) -> bool {
    let request = b"GET /health HTTP/1.1\r\nhost: claviger\r\n\r\n";
    tokio::task::spawn_blocking(move || {
        use std::io::Read as _;
        crate::wire::bounded(&stream);
        let mut stream = stream;
        let mut answer = [0; 12];
        // A refused connection may be closed before or after the request is written.
        stream.write_all(request).is_ok()
            && stream.read_exact(&mut answer).is_ok()
            && answer == *b"HTTP/1.1 200"
    })
    .await
    .unwrap()
}

fn one_user_cannot_use_up_the_connections_of_others() -> Result<(), String> {
    need_root()?;
    run(async {
        let mut node = Node::new().await;
        node.limits = "connections = 6\nconnections_per_uid = 4".to_owned();
        let daemon = TestDaemon::on(node).await;
        let socket = daemon.node.socket();
        let mut held = Vec::new();
        for (uid, served) in [
            (ANNA, true),
            (ANNA, true),
            (ANNA, true),
            (ANNA, true),
            (ANNA, false),
        ]
        .into_iter()
        .chain([
            (BERT, true),
            (BERT, true),
            // The oldest of the user that has most makes room, until both have as many.
            (BERT, true),
            (BERT, false),
            (ANNA, false),
        ]) {
            let lent = Lent::by(uid, &socket);
            let answered = is_served(lent.stream.try_clone().unwrap()).await;
            assert_eq!(answered, served, "uid {uid}, with {} held", held.len());
            held.push(lent);
        }
        let mut oldest = held[0].stream.try_clone().unwrap();
        let closed = tokio::task::block_in_place(|| until_closed(&mut oldest));
        assert_eq!(closed.map(drop), Ok(()));
        let status = daemon.admin().await.status().await.unwrap();
        assert_eq!(status.server.unwrap().connections_refused, 3);
        daemon.stop().await;
        Ok(())
    })
}

fn peers_without_a_rule_take_no_connection_of_others() -> Result<(), String> {
    need_root()?;
    run(async {
        let clara = 42_003;
        let mut node = Node::new().await;
        node.limits = "connections = 8\nconnections_per_uid = 4".to_owned();
        let rule = format!("[[allow]]\nuser = {clara}\ntokens = [\"api\"]\n");
        node.rules.push_str(&rule);
        let daemon = TestDaemon::on(node).await;
        let socket = daemon.node.socket();
        let mut held = Vec::new();
        for uid in [ANNA, BERT].repeat(3) {
            let lent = Lent::by(uid, &socket);
            assert!(is_served(lent.stream.try_clone().unwrap()).await);
            held.push(lent);
        }
        let mut callers = Vec::new();
        for _ in 0..4 {
            let lent = Lent::by(clara, &socket);
            let mut caller = lent.caller().await;
            assert!(caller.token("api").await.is_ok());
            callers.push(caller);
            held.push(lent);
        }
        let status = daemon.admin().await.status().await.unwrap();
        let server = status.server.unwrap();
        assert_eq!((server.connections, server.connections_refused), (11, 0));
        daemon.stop().await;
        Ok(())
    })
}

fn a_closed_connection_frees_its_slot() -> Result<(), String> {
    run(async {
        let mut node = Node::new().await;
        node.limits = "connections = 2\nconnections_per_uid = 2".to_owned();
        let daemon = TestDaemon::on(node).await;
        let socket = daemon.node.socket();
        for _ in 0..50 {
            let request = b"GET /health HTTP/1.1\r\nhost: claviger\r\nconnection: close\r\n\r\n";
            let stream = tokio::task::block_in_place(|| {
                let mut stream = connect(&socket);
                stream.write_all(request).unwrap();
                until_closed(&mut stream).unwrap()
            });
            assert!(
                stream.starts_with(b"HTTP/1.1 200"),
                "{}",
                String::from_utf8_lossy(&stream)
            );
        }
        daemon.stop().await;
    });
    Ok(())
}

fn one_user_cannot_use_up_the_requests_of_others() -> Result<(), String> {
    need_root()?;
    run(async {
        let mut node = Node::new().await;
        node.limits = "open_requests = 6\nopen_requests_per_uid = 4".to_owned();
        for uid in [ANNA, BERT] {
            let rule = format!("[[allow]]\nuser = {uid}\ntokens = [\"api\"]\n");
            node.rules.push_str(&rule);
        }
        let daemon = TestDaemon::on(node).await;
        let socket = daemon.node.socket();
        let (anna, again) = (Lent::by(ANNA, &socket), Lent::by(ANNA, &socket));
        let bert = Lent::by(BERT, &socket);
        let (mut anna, mut bert) = (anna.caller().await, bert.caller().await);
        let mut watches = Vec::new();
        for _ in 0..4 {
            let mut watch = anna.watch("api").await;
            assert!(watch.message().await.unwrap().is_some());
            watches.push(watch);
        }
        let refused = refusal(anna.token("api").await);
        assert_eq!(refused.code, Code::ResourceExhausted);
        assert_eq!(refused.reason, "TOO_MANY_REQUESTS");
        assert!(refused.retry.is_some());
        let answer = tokio::task::block_in_place(|| {
            let mut stream = again.stream.try_clone().unwrap();
            let request = b"GET /health HTTP/1.1\r\nconnection: close\r\n\r\n";
            stream.write_all(request).unwrap();
            String::from_utf8(until_closed(&mut stream).unwrap()).unwrap()
        });
        assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
        assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
        assert!(
            bert.token("api").await.is_ok(),
            "other users have their own limit"
        );
        watches.pop();
        // The daemon learns asynchronously that the stream ended.
        while anna.token("api").await.is_err() {
            tokio::task::yield_now().await;
        }
        daemon.stop().await;
        Ok(())
    })
}

fn an_unread_answer_counts_as_an_open_request() -> Result<(), String> {
    run(async {
        let mut node = Node::new().await;
        node.limits = "open_requests_per_uid = 4".to_owned();
        let daemon = TestDaemon::on(node).await;
        tokio::task::block_in_place(|| {
            let mut stream = connect(&daemon.node.socket());
            // SETTINGS_INITIAL_WINDOW_SIZE 0: answers stop after their headers.
            stream.write_all(&greeting(&[(4, 0)])).unwrap();
            for number in 0..6 {
                let id = 2 * number + 1;
                stream.write_all(&get_token(id, "api")).unwrap();
                // One after the other, so that the order is known.
                let head = std::iter::from_fn(|| read_frame(&mut stream))
                    .find(|frame| frame.kind == HEADERS && frame.stream == id);
                let refused = head.unwrap().flags & END_STREAM != 0;
                assert_eq!(refused, number >= 4, "request {number}");
            }
        });
        // The daemon learns asynchronously that the connection ended.
        let mut caller = daemon.caller().await;
        while caller.token("api").await.is_err() {
            tokio::task::yield_now().await;
        }
        daemon.stop().await;
    });
    Ok(())
}

/// Exchanges HTTP/2 frames with a daemon on a new connection.
fn speak<T>(change: impl FnOnce(&mut Limits), talk: impl FnOnce(&mut UnixStream) -> T + Send) -> T {
    run(async {
        let daemon = TestDaemon::with(Node::new().await, change).await;
        let socket = daemon.node.socket();
        let said = tokio::task::block_in_place(|| {
            let mut stream = connect(&socket);
            talk(&mut stream)
        });
        assert!(
            daemon.caller().await.token("api").await.is_ok(),
            "others are served"
        );
        daemon.stop().await;
        said
    })
}

fn more_streams_than_allowed_are_refused() -> Result<(), String> {
    let frames = speak(
        |limits| limits.streams = 8,
        |stream| {
            stream.write_all(&greeting(&[])).unwrap();
            // Requests without a message: each keeps its stream open.
            for number in 0..20 {
                let head = call("/claviger.v1.Tokens/GetToken");
                stream
                    .write_all(&frame(HEADERS, END_HEADERS, 2 * number + 1, &head))
                    .unwrap();
            }
            let mut refused = Vec::new();
            while refused.len() < 12 {
                let Some(frame) = read_frame(stream) else {
                    break;
                };
                if frame.kind == RST_STREAM {
                    refused.push((frame.stream, frame.payload));
                }
            }
            refused
        },
    );
    assert_eq!(frames.len(), 12);
    // REFUSED_STREAM (RFC 9113 §7): the client may retry.
    assert!(
        frames.iter().all(|(_, code)| *code == [0, 0, 0, 7]),
        "{frames:?}"
    );
    Ok(())
}

fn a_message_that_is_too_large_is_refused() -> Result<(), String> {
    run(async {
        let daemon = TestDaemon::new().await;
        let mut caller = daemon.caller().await;
        let large = |bytes: usize| GetTokenRequest {
            scopes: vec!["x".repeat(bytes)],
            ..wish("api")
        };
        let refused = refusal(caller.ask(large(64 * 1024)).await);
        assert_eq!(refused.code, Code::InvalidArgument, "{refused:?}");
        assert_eq!(refused.reason, "MESSAGE_TOO_LARGE");
        assert!(
            refused.remedy.contains("server.limits.message_bytes"),
            "{refused:?}"
        );
        let read = caller.ask(large(32 * 1024)).await.unwrap_err();
        assert_eq!(
            read.code(),
            Code::InvalidArgument,
            "small enough to be read: {read:?}"
        );
        assert_eq!(why(Err::<(), _>(read)).1, "INVALID_REQUEST");
        assert!(
            caller.token("api").await.is_ok(),
            "the connection stays open"
        );
        daemon.stop().await;
    });
    Ok(())
}

fn headers_that_are_too_large_are_refused() -> Result<(), String> {
    let status = speak(
        |_limits| {},
        |stream| {
            let huge = "x".repeat(12 * 1024);
            let head = [
                call("/claviger.v1.Tokens/GetToken"),
                fields(&[("x-huge", &huge)]),
            ]
            .concat();
            stream.write_all(&greeting(&[(1, 0)])).unwrap();
            stream
                .write_all(&frame(HEADERS, END_HEADERS, 1, &head))
                .unwrap();
            stream.write_all(&get_token(3, "api")).unwrap();
            // `:status 431` is no entry of the static table: the name is (8), and the value is spelled out.
            let mut answered = Vec::new();
            while let Some(frame) = read_frame(stream) {
                assert_ne!(frame.kind, GOAWAY, "the connection stays open");
                if frame.stream == 1 {
                    answered.push(frame.kind);
                }
                if frame.stream == 3 && frame.kind == HEADERS {
                    break;
                }
            }
            answered
        },
    );
    assert!(!status.is_empty(), "the request is answered or reset");
    Ok(())
}

fn an_idle_connection_that_answers_no_ping_is_closed() -> Result<(), String> {
    let heard = speak(
        |limits| {
            limits.keepalive = Duration::from_millis(100);
            limits.keepalive_answer = Duration::from_millis(100);
        },
        |stream| {
            stream.write_all(&greeting(&[])).unwrap();
            until_closed(stream)
        },
    );
    heard.map(drop)
}
