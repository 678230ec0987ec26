//! The queue between the threads that log and the thread that writes.
//!
//! Owns the bound on records that wait, the count of those that were dropped, and the writing thread. The reader of
//! standard error may stop: a full pipe, a container's driver that blocks, a full disk. Logging never waits for that. Never
//! formats a record, except for the one about dropped records.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How many records may wait.
const PLACES: usize = 4096;

/// How long the end of the process waits for a reader.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// The log of the process. Dropped at its end, when it writes what still waits.
#[derive(Debug)]
pub struct Log {
    queue: Arc<Queue>,
    has_writer: bool,
}

impl Log {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self {
            queue,
            has_writer: false,
        }
    }

    /// Starts the thread that writes; until then records wait. Call it once the process may have further threads.
    ///
    /// # Errors
    /// If the system refuses the thread or a descriptor.
    pub fn write_from_now_on(&mut self) -> io::Result<()> {
        let out = standard_error()?;
        let queue = Arc::clone(&self.queue);
        thread::Builder::new()
            .name("claviger-log".to_owned())
            .spawn(move || queue.write_all_to(out))?;
        self.has_writer = true;
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if self.has_writer {
            self.queue.wait_until_written(LAST_WAIT);
        } else if let Ok(mut out) = standard_error() {
            self.queue.take_all().iter().for_each(|record| {
                // If standard error is closed, nothing can report it.
                drop(out.write_all(record));
            });
        }
    }
}

/// Standard error without the lock of the standard library: a blocked writer would keep it from panics and last words.
fn standard_error() -> io::Result<File> {
    Ok(io::stderr().as_fd().try_clone_to_owned()?.into())
}

/// Records that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// A record came, or was written.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    /// Whether the writer has taken a record and not finished with it.
    writing: bool,
    /// Records dropped since the last report of it.
    dropped: u64,
}

impl State {
    /// The number of dropped records, once the reader is back and there is room to report it.
    fn take_dropped(&mut self) -> Option<u64> {
        (self.dropped > 0 && self.waiting.len() <= PLACES / 2)
            .then(|| std::mem::take(&mut self.dropped))
    }
}

/// The formatter writes each record with one call.
impl Write for &Queue {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let mut state = self.lock();
        if state.waiting.len() < PLACES {
            state.waiting.push_back(record.to_owned());
            self.changed.notify_all();
        } else {
            state.dropped = state.dropped.saturating_add(1);
        }
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes records as they come, until the process ends.
    fn write_all_to(&self, mut out: impl Write) {
        loop {
            let record = self.next();
            let written = out.write_all(&record);
            if let Some(dropped) = self.note(&written) {
                tracing::error!(target: "claviger", dropped, "log records were dropped, because standard error was not read");
            }
        }
    }

    fn next(&self) -> Vec<u8> {
        let mut state = self.lock();
        loop {
            if let Some(record) = state.waiting.pop_front() {
                state.writing = true;
                return record;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Notes that the record was written or lost; gives the number of dropped ones if it is to be reported now.
    fn note(&self, written: &io::Result<()>) -> Option<u64> {
        let mut state = self.lock();
        state.writing = false;
        self.changed.notify_all();
        if written.is_err() {
            // Not reported before a record gets through, because the report would be lost, too.
            state.dropped = state.dropped.saturating_add(1);
            return None;
        }
        state.take_dropped()
    }

    pub(super) fn take_all(&self) -> VecDeque<Vec<u8>> {
        std::mem::take(&mut self.lock().waiting)
    }

    fn wait_until_written(&self, at_most: Duration) {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), at_most, |state| {
                state.writing || !state.waiting.is_empty()
            });
        drop(waited);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A reader that takes a record when the test allows it.
    struct Reader {
        allowed: Receiver<io::Result<()>>,
        read: Sender<Vec<u8>>,
    }

    impl Write for Reader {
        fn write(&mut self, record: &[u8]) -> io::Result<usize> {
            self.allowed.recv().unwrap_or(Ok(()))?;
            // The test may have ended.
            drop(self.read.send(record.to_owned()));
            Ok(record.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stops_costs_records_and_no_time() {
        let queue = Arc::new(Queue::default());
        let (allow, allowed) = channel();
        let (read, records) = channel();
        let reader = Reader { allowed, read };
        let of_writer = Arc::clone(&queue);
        thread::spawn(move || of_writer.write_all_to(reader));
        let put = |text: &str| (&*queue).write_all(text.as_bytes()).unwrap();

        put("first");
        allow.send(Ok(())).unwrap();
        assert_eq!(records.recv().unwrap(), b"first");

        // The reader stops; at most one record is in its hands.
        for number in 0..PLACES + 100 {
            put(&number.to_string());
        }
        let dropped = queue.lock().dropped;
        assert!((99..=100).contains(&dropped), "{dropped}");
        queue.wait_until_written(Duration::ZERO);

        // It is back: the count is reported once, when there is room for the report.
        drop(allow);
        for number in 0..PLACES {
            assert_eq!(records.recv().unwrap(), number.to_string().as_bytes());
        }
        queue.wait_until_written(LAST_WAIT);
        assert_eq!(queue.lock().dropped, 0);
    }

    #[test]
    fn a_record_that_cannot_be_written_is_counted_until_one_can() {
        let queue = Queue::default();
        let full = Err(io::ErrorKind::StorageFull.into());
        assert_eq!(queue.note(&full), None);
        assert_eq!(queue.note(&full), None);
        assert_eq!(queue.note(&Ok(())), Some(2));
        assert_eq!(queue.note(&Ok(())), None);
    }
}
