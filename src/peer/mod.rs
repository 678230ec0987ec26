//! Who is on the other end of the socket.
//!
//! Owns the reading of the kernel's description of a peer and its confirmation before every answer. Only this module can
//! build a [`Peer`]. Never decides what a peer may do: that is `policy`.

mod facts;

pub use facts::{Cgroup, Facts};
