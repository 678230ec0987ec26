//! The sockets and their limits, as the configuration gives them.

use std::path::PathBuf;
use std::time::Duration;

/// Where the daemon listens, and how much it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The broker socket, for programs.
    pub socket: PathBuf,
    /// The admin socket, for operators. In a directory of its own.
    pub admin_socket: PathBuf,
    /// The group that may connect to the broker socket; `None`: every user may connect, and rules decide.
    pub socket_group: Option<u32>,
    /// The limits.
    pub limits: Limits,
}

/// Bounds on what peers can make the daemon hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of peers that a rule selects, in all.
    pub connections: usize,
    /// Connections of one uid in one unit or container.
    pub connections_per_uid: usize,
    /// Open requests of peers that a rule selects, in all: those whose answer is not written yet, streams included.
    pub open_requests: usize,
    /// Open requests of one uid in one unit or container.
    pub open_requests_per_uid: usize,
    /// HTTP/2 streams per connection.
    pub streams: u32,
    /// Requests in flight per connection.
    pub in_flight: usize,
    /// Bytes of headers per request.
    pub header_bytes: u32,
    /// Bytes of one message.
    pub message_bytes: usize,
    /// From accept to the end of the preface or of the first request head.
    pub preface: Duration,
    /// One request that is no stream.
    pub request: Duration,
    /// Between keepalive pings.
    pub keepalive: Duration,
    /// For the answer to a ping.
    pub keepalive_answer: Duration,
    /// A connection's age, after which it is shut down gracefully.
    pub connection_age: Duration,
}

impl Limits {
    /// What holds unless the configuration says otherwise. Together they keep the daemon within the memory of the shipped
    /// unit, whatever peers do.
    pub(crate) const DEFAULT: Self = Self {
        connections: 1024,
        connections_per_uid: 256,
        open_requests: 2048,
        open_requests_per_uid: 1024,
        streams: 64,
        in_flight: 16,
        header_bytes: 8 * 1024,
        message_bytes: 64 * 1024,
        preface: Duration::from_secs(5),
        request: Duration::from_secs(5),
        keepalive: Duration::from_secs(10),
        keepalive_answer: Duration::from_secs(5),
        connection_age: Duration::from_mins(5),
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
