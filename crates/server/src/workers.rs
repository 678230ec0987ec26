//! Where connections are served.
//!
//! Owns the threads that serve connections. Each has a single-threaded runtime of its own and a connection stays on the one
//! it was given: no task moves between cores, and no two threads contend for one queue. Work that outlives a request (a
//! flight to an issuer) runs on the daemon's own runtime instead, through `shutdown::Drain`.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Weak;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};

/// Makes the future that serves a connection. Called on the worker, because timers and sockets belong to its runtime.
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

/// Checks that the threads still run jobs. Does not keep them alive.
#[derive(Clone, Debug)]
pub struct Pulse(pub(super) Weak<Workers>);

impl Pulse {
    /// Waits until every thread has run a job. Waits forever if a thread hangs: bound it by a timeout.
    ///
    /// A connection stays on its thread, so one request to the daemon says nothing about the other threads.
    pub async fn felt(&self) {
        let mut beats = Vec::new();
        if let Some(workers) = self.0.upgrade() {
            for queue in &workers.queues {
                let (beat, felt) = oneshot::channel();
                let job: Job = Box::new(move || {
                    Box::pin(async move {
                        // The receiver is dropped if it took too long.
                        beat.send(()).ok();
                    })
                });
                // A thread that has ended drops the job.
                queue.send(job).ok();
                beats.push(felt);
            }
        }
        for beat in beats {
            if beat.await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

fn start_one(index: usize) -> io::Result<mpsc::UnboundedSender<Job>> {
    let (queue, mut jobs) = mpsc::unbounded_channel::<Job>();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    // The thread and its connections end when its queue is closed: when the server is dropped.
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc as blocking};

    use super::*;

    /// A job that does `work`, and a receiver that fires when it is done.
    fn job(work: impl FnOnce() + Send + 'static) -> (Job, oneshot::Receiver<()>) {
        let (done, finished) = oneshot::channel();
        let job: Job = Box::new(|| {
            Box::pin(async {
                work();
                done.send(()).unwrap();
            })
        });
        (job, finished)
    }

    #[tokio::test]
    async fn one_thread_that_hangs_stops_the_pulse() {
        let workers = Arc::new(Workers::start(3).unwrap());
        let pulse = Pulse(Arc::downgrade(&workers));
        pulse.felt().await;
        for hung in 0..3 {
            let (release, wait) = blocking::channel::<()>();
            let (hanging, end) = job(move || wait.recv().unwrap());
            assert!(workers.queues[hung].send(hanging).is_ok());
            let mut felt = tokio::spawn({
                let pulse = pulse.clone();
                async move { pulse.felt().await }
            });
            // All other threads run their jobs, that of the pulse included: it waits for the hanging thread alone.
            for queue in workers
                .queues
                .iter()
                .take(hung)
                .chain(&workers.queues[hung + 1..])
            {
                tokio::task::yield_now().await;
                let (next, done) = job(|| ());
                assert!(queue.send(next).is_ok());
                done.await.unwrap();
            }
            assert!(futures_util::poll!(&mut felt).is_pending(), "thread {hung}");
            release.send(()).unwrap();
            end.await.unwrap();
            felt.await.unwrap();
        }
    }

    #[tokio::test]
    async fn the_pulse_keeps_no_thread_alive() {
        let workers = Arc::new(Workers::start(1).unwrap());
        let pulse = Pulse(Arc::downgrade(&workers));
        drop(workers);
        pulse.felt().await;
    }
}
