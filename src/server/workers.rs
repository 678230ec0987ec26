//! Where connections are served.
//!
//! Owns the threads that serve connections. Each has a single-threaded runtime of its own and a connection stays on the one
//! it was given: no task moves between cores, and no two threads contend for one queue. Work that outlives a request (a
//! flight to an issuer) runs on the daemon's own runtime instead, through `shutdown::Drain`.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc;

/// A connection, ready to be served where it lands. Made there, because its timers and sockets belong to that runtime.
pub(crate) type Job = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// The threads that serve connections.
#[derive(Debug)]
pub(crate) struct Workers {
    /// One queue per thread; none: serve on `home`.
    queues: Vec<mpsc::UnboundedSender<Job>>,
    next: AtomicUsize,
    home: Handle,
}

impl Workers {
    /// Starts `threads` of them; with 0 connections are served on the runtime that calls.
    ///
    /// # Errors
    /// If a thread or its runtime cannot be made.
    pub(crate) fn start(threads: usize) -> io::Result<Self> {
        let queues = (0..threads).map(start_one).collect::<io::Result<_>>()?;
        Ok(Self {
            queues,
            next: AtomicUsize::new(0),
            home: Handle::current(),
        })
    }

    /// Serves a connection, in turn on each thread. The queues hold no more than the caps on connections let through.
    pub(crate) fn serve(&self, job: Job) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let queue = turn
            .checked_rem(self.queues.len())
            .and_then(|index| self.queues.get(index));
        let refused = match queue {
            Some(queue) => queue.send(job).err().map(|error| error.0),
            None => Some(job),
        };
        if let Some(job) = refused {
            self.home.spawn(job());
        }
    }
}

fn start_one(index: usize) -> io::Result<mpsc::UnboundedSender<Job>> {
    let (queue, mut jobs) = mpsc::unbounded_channel::<Job>();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    // The thread ends, with all that it serves, when its queue is closed: when the server is dropped.
    drop(
        thread::Builder::new()
            .name(format!("claviger-serve-{index}"))
            .spawn(move || {
                runtime.block_on(async move {
                    while let Some(job) = jobs.recv().await {
                        tokio::spawn(job());
                    }
                });
            })?,
    );
    Ok(queue)
}
