//! Bytes on a socket: HTTP/1.1 as text, and HTTP/2 frame by frame, well-formed or not.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long an answer, or the end of a connection, may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Connects, with timeouts on reads and writes.
pub(crate) fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    bounded(&stream);
    stream
}

/// Sets the timeouts of a connection.
pub(crate) fn bounded(stream: &UnixStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
}

/// Reads until the other end closes; `Err` if it does not.
pub(crate) fn until_closed(stream: &mut UnixStream) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(length) => bytes.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(bytes),
            Err(error) => return Err(format!("still open after {} bytes: {error}", bytes.len())),
        }
    }
}

/// Sends a request and returns what arrives until the other end closes; empty if the connection was refused. Without a
/// request the daemon would close an accepted connection silently, too, so the test would prove nothing.
pub(crate) fn heard(stream: &mut UnixStream) -> Result<Vec<u8>, String> {
    // A refused connection may be closed before the request is written.
    drop(stream.write_all(b"GET /health HTTP/1.1\r\nconnection: close\r\n\r\n"));
    until_closed(stream)
}

/// An HTTP/1.1 answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(have, _)| have == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }
}

/// Sends `text` (with `\n` for HTTP line ends) on a new connection, and reads all answers until it is closed.
pub(crate) fn http(socket: &Path, text: &str) -> Vec<Answer> {
    let mut stream = connect(socket);
    // The daemon may close before everything is sent; its answer states the reason.
    drop(stream.write_all(text.replace('\n', "\r\n").as_bytes()));
    answers(&until_closed(&mut stream).unwrap())
}

/// Sends one request with these header lines on a new connection, and returns its only answer.
pub(crate) fn ask(socket: &Path, head: &str) -> Answer {
    let request = format!("{head}\nhost: claviger\nconnection: close\n\n");
    let answers = http(socket, &request);
    let [answer] = answers.as_slice() else {
        panic!("{head}: {answers:?}")
    };
    answer.clone()
}

/// Sends a GET with claviger's request header.
pub(crate) fn get(socket: &Path, path: &str) -> Answer {
    ask(
        socket,
        &format!("GET {path} HTTP/1.1\nclaviger-request: true"),
    )
}

fn answers(mut bytes: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let headers: Vec<(String, String)> = lines
            .map(|line| {
                line.split_once(": ")
                    .unwrap_or((line.trim_end_matches(':'), ""))
            })
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
        let body = &bytes[end + 4..];
        answers.push(Answer {
            status,
            headers,
            body: body[..length].to_vec(),
        });
        bytes = &body[length..];
    }
    assert!(
        bytes.is_empty(),
        "{} bytes after the last answer",
        bytes.len()
    );
    answers
}

/// The connection preface of HTTP/2 (RFC 9113 §3.4), without the SETTINGS that must follow.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (RFC 9113 §6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

/// Flags.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The preface and SETTINGS with these identifiers and values.
pub(crate) fn greeting(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (identifier, value) in settings {
        payload.extend(identifier.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    [PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat()
}

/// Header fields, none of them indexed or compressed (RFC 7541 §6.2.3).
pub(crate) fn fields(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in pairs {
        block.push(0x10);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of 7 bits (RFC 7541 §5.1).
fn length(block: &mut Vec<u8>, value: usize) {
    if value < 127 {
        block.push(u8::try_from(value).unwrap());
        return;
    }
    block.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 0x80);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// The fields of a gRPC request to a method.
pub(crate) fn call(path: &str) -> Vec<u8> {
    fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "claviger"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("claviger-request", "true"),
    ])
}

/// A gRPC request for a token, as two frames.
pub(crate) fn get_token(stream: u32, name: &str) -> Vec<u8> {
    let mut message = vec![0, 0, 0, 0, u8::try_from(name.len() + 2).unwrap(), 0x0a];
    message.push(u8::try_from(name.len()).unwrap());
    message.extend(name.as_bytes());
    let head = frame(
        HEADERS,
        END_HEADERS,
        stream,
        &call("/claviger.v1.Tokens/GetToken"),
    );
    [head, frame(DATA, END_STREAM, stream, &message)].concat()
}

/// A received frame: its type, flags, stream and payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// Reads one frame; `None` when the connection ends.
pub(crate) fn read_frame(stream: &mut UnixStream) -> Option<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).ok()?;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
    Some(Frame {
        kind: head[3],
        flags: head[4],
        stream,
        payload,
    })
}
