//! Room for descriptors.
//!
//! Owns the limit on open descriptors, as far as the process may raise it by itself. Each connection takes two, its socket and
//! the pidfd of its peer; one whose peer is not identified yet takes one. If they ran out before the slots for connections do, the peer that connects most would keep operators out
//! and the daemon from asking an issuer.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Limits;
use crate::arrivals;
use crate::caps::Caps;

/// What everything else takes: listeners, files, issuers, the threads' own.
const OTHERS: u64 = 256;

/// How many descriptors these limits may take.
fn needed(limits: &Limits) -> u64 {
    let number = |count| u64::try_from(count).unwrap_or(u64::MAX);
    number(Caps::most(limits))
        .saturating_mul(2)
        .saturating_add(number(arrivals::most(limits)))
        .saturating_add(OTHERS)
}

/// Raises the limit to what is needed, as far as possible, and says what to do if that is not far enough.
pub(crate) fn make_room(limits: &Limits) -> Option<String> {
    let needed = needed(limits);
    let has = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed);
    let now = getrlimit(Resource::Nofile);
    if has(now.current) {
        return None;
    }
    let raised = Rlimit {
        current: Some(now.maximum.map_or(needed, |most| most.min(needed))),
        ..now
    };
    let open = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(_refused) => now.current,
    };
    (!has(open)).then(|| {
        let open = open.unwrap_or(u64::MAX);
        format!(
            "the process may open {open} descriptors, and the connections that are allowed can take {needed}; raise LimitNOFILE= of the unit (or `ulimit -n`), or lower `server.limits.connections`"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_takes_two() {
        assert_eq!(needed(&Limits::DEFAULT), 2 * (1024 + 328) + 512 + 256);
        let most = Limits {
            connections: usize::MAX,
            ..Limits::DEFAULT
        };
        assert_eq!(needed(&most), u64::MAX, "any limit can be computed");
    }
}
