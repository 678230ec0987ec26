//! Which records a peer causes, and how often.

use std::io::{self, Write};
use std::sync::Mutex;

use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::peer::Cgroup;
use claviger_runtime::clock::SteppedClock;

/// The log of this thread.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(log.clone())
            .with_ansi(false)
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// The lines since the last call.
    fn lines(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn peer() -> Facts {
    Facts {
        uid: 1000,
        cgroup: Some(Cgroup {
            path: "/x".into(),
            unit: Some("billing.service".into()),
            container: Some("c0ffee".into()),
        }),
        ..Facts::default()
    }
}

fn entry<'a>(peer: &'a Facts, operation: Operation, name: &'a str) -> Entry<'a> {
    Entry {
        operation,
        name,
        peer,
        rule: Some(3),
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_release_of_each_generation_to_an_identity_is_an_event() {
    let (log, _guard) = Log::start();
    let audit = Audit::new(Arc::new(SteppedClock::default()));
    let (trail, peer) = (Arc::<Trail>::default(), peer());
    let (one, another) = (Recorder::new(Arc::clone(&trail)), Recorder::new(trail));
    let stranger = Recorder::new(Arc::default());
    let api = entry(&peer, Operation::GetToken, "api");
    let released = audit.release(&one, &api, Some(7), "value");
    assert_eq!((*released, released.into_inner()), ("value", "value"));
    let lines = log.lines();
    assert_eq!(lines.len(), 1);
    for part in [
        "INFO claviger::event",
        "event_type=\"token_released\"",
        "name=\"api\"",
        "generation=7",
        "rule=3",
        "peer.uid=1000",
        "peer.unit=\"billing.service\"",
        "peer.container=\"c0ffee\"",
    ] {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
    let watched = entry(&peer, Operation::WatchToken, "api");
    let other = entry(&peer, Operation::GetToken, "other");
    let secret = entry(&peer, Operation::GetSecret, "api");
    for (recorder, entry, generation, events) in [
        (&one, &api, Some(7), 0),
        (&another, &api, Some(7), 0),
        (&another, &watched, Some(7), 0),
        (&another, &api, None, 0),
        (&another, &api, Some(8), 1),
        (&one, &api, Some(8), 0),
        (&one, &other, Some(7), 1),
        (&one, &secret, Some(7), 1),
        (&stranger, &api, Some(7), 1),
    ] {
        let _released = audit.release(recorder, entry, generation, ());
        assert_eq!(log.lines().len(), events, "{entry:?} {generation:?}");
    }
    let counted = |operation: Operation| {
        let all = audit.metrics().read();
        all.into_iter().find(|counts| counts.operation == operation)
    };
    for (operation, answered) in [
        (Operation::GetToken, 8),
        (Operation::WatchToken, 1),
        (Operation::GetSecret, 1),
        (Operation::Reload, 0),
    ] {
        let counts = Counts {
            operation,
            answered,
            denied: 0,
            failed: 0,
        };
        assert_eq!(counted(operation), Some(counts));
    }
}

#[tokio::test(start_paused = true)]
async fn releases_are_remembered_and_recorded_within_bounds() {
    let (log, _guard) = Log::start();
    let clock = Arc::new(SteppedClock::default());
    let audit = Audit::new(Arc::clone(&clock) as Arc<dyn Clock>);
    let (trail, peer) = (Arc::<Trail>::default(), peer());
    let recorder = Recorder::new(Arc::clone(&trail));
    let api = entry(&peer, Operation::GetToken, "api");
    for generation in 0..1000 {
        let _released = audit.release(&recorder, &api, Some(generation), ());
    }
    assert_eq!(log.lines().len(), 64);
    let remembered = format!("{trail:?}").matches("generation").count();
    assert_eq!(remembered, 64);
    // A release over the rate was not forgotten: the next one of the same generation is recorded.
    clock.suspend(std::time::Duration::from_secs(1));
    let _released = audit.release(&recorder, &api, Some(999), ());
    assert_eq!(log.lines().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_refusals_is_counted_and_throttled() {
    let (log, _guard) = Log::start();
    let clock = Arc::new(SteppedClock::default());
    let audit = Audit::new(Arc::clone(&clock) as Arc<dyn Clock>);
    let (recorder, peer) = (Recorder::new(Arc::default()), peer());
    let name = format!("forged\nline {}", "ä".repeat(100));
    let asked = entry(&peer, Operation::GetSecret, &name);
    let refusal = |denied, limited| Refusal {
        denied,
        limited,
        stranger: false,
        reason: Reason::Denied,
        detail: &crate::peer::Changed::Exited,
    };
    for _ in 0..100 {
        audit.refuse(&recorder, &asked, &refusal(true, false));
    }
    let lines = log.lines();
    assert_eq!(lines.len(), 5);
    assert!(lines[0].contains("request refused") && lines[0].contains("forged\\nline"));
    assert!(lines[0].len() < 400, "{}", lines[0]);
    clock.suspend(std::time::Duration::from_secs(1));
    audit.refuse(&recorder, &asked, &refusal(false, true));
    let lines = log.lines();
    assert!(lines[0].contains("Rate limit exceeded") && lines[0].contains("suppressed=95"));
    audit.refuse(&recorder, &asked, &refusal(false, false));
    let expected = Counts {
        operation: Operation::GetSecret,
        answered: 0,
        denied: 100,
        failed: 2,
    };
    assert!(audit.metrics().read().contains(&expected));
}

#[tokio::test(start_paused = true)]
async fn refusals_of_any_number_of_peers_fill_no_log() {
    let (log, _guard) = Log::start();
    let clock = Arc::new(SteppedClock::default());
    let audit = Audit::new(Arc::clone(&clock) as Arc<dyn Clock>);
    let peer = peer();
    let asked = entry(&peer, Operation::GetToken, "api");
    let flood = |stranger| {
        let refusal = Refusal {
            denied: true,
            limited: false,
            stranger,
            reason: Reason::Denied,
            detail: &crate::peer::Changed::Exited,
        };
        for _ in 0..1000 {
            audit.refuse(&Recorder::new(Arc::default()), &asked, &refusal);
        }
        log.lines().len()
    };
    assert_eq!(flood(true), 5, "as if they were one");
    assert_eq!(flood(false), 5, "ten in all");
    clock.suspend(std::time::Duration::from_secs(1));
    assert_eq!(flood(true), 1);
    assert_eq!(flood(false), 9);
    clock.suspend(std::time::Duration::from_secs(1));
    let refusal = Refusal {
        denied: true,
        limited: false,
        stranger: true,
        reason: Reason::Denied,
        detail: &crate::peer::Changed::Exited,
    };
    audit.refuse(&Recorder::new(Arc::default()), &asked, &refusal);
    assert!(log.lines()[0].contains("suppressed=999"));
}

#[test]
fn counts_of_all_threads_are_added_up() {
    let metrics = Metrics::default();
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                for operation in Operation::ALL.into_iter().cycle().take(12_000) {
                    metrics.count(operation, |counters| &counters.failed);
                }
            });
        }
    });
    let counts = metrics.read();
    assert_eq!(counts.len(), Operation::ALL.len());
    for (index, counts) in counts.iter().enumerate() {
        assert_eq!(counts.operation as usize, index, "its own counters");
    }
    assert!(
        counts.iter().all(|counts| counts.failed == 40_000),
        "{counts:?}"
    );
}
