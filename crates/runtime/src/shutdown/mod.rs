//! Graceful shutdown.
//!
//! Owns the shutdown signal and the count of tasks that must finish first. Every component gets a [`Drain`]; tasks that must
//! not be cut off (a flight to an issuer, an answer being written) run as tracked tasks, and loops watch the signal. Never
//! decides how long to wait: `daemon` does, with [`Drain::finish`].

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// A handle on the daemon's shutdown. Cheap to clone; all clones share one state.
#[derive(Clone, Debug)]
pub struct Drain {
    signal: CancellationToken,
    tasks: TaskTracker,
    /// The runtime of tracked tasks. Connections run on runtimes of their own, but a task that outlives its request must not.
    home: Handle,
}

/// Work that must finish before exit. Dropping this marks it as finished.
#[derive(Debug)]
pub struct Counted(#[expect(dead_code, reason = "dropping it ends the count")] TaskTrackerToken);

impl Drain {
    /// A drain that has not begun. Its tasks run on the runtime `home`, whichever thread spawns them.
    #[must_use]
    pub fn new(home: Handle) -> Self {
        Self {
            signal: CancellationToken::new(),
            tasks: TaskTracker::new(),
            home,
        }
    }

    /// Begins the drain: loops end, and no new work starts.
    pub fn begin(&self) {
        self.signal.cancel();
        self.tasks.close();
    }

    /// Whether the drain has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.signal.is_cancelled()
    }

    /// Waits until the drain begins.
    pub async fn begun(&self) {
        self.signal.cancelled().await;
    }

    /// Runs `task` to completion, even after the drain has begun.
    pub fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.tasks.spawn_on(task, &self.home)
    }

    /// Counts work that runs elsewhere as unfinished until the returned value is dropped.
    #[must_use]
    pub fn count(&self) -> Counted {
        Counted(self.tasks.token())
    }

    /// Begins the drain and waits at most `grace` for the tracked tasks. Returns the number of unfinished tasks.
    pub async fn finish(&self, grace: Duration) -> usize {
        self.begin();
        match tokio::time::timeout(grace, self.tasks.wait()).await {
            Ok(()) => 0,
            Err(_elapsed) => self.tasks.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tracked_work_finishes_and_unfinished_tasks_are_counted() {
        let drain = Drain::new(Handle::current());
        let quick = drain.spawn(tokio::time::sleep(Duration::from_secs(1)));
        let _slow = drain.spawn(tokio::time::sleep(Duration::from_secs(100)));
        let elsewhere = drain.count();
        assert_eq!(drain.finish(Duration::from_secs(10)).await, 2);
        drop(elsewhere);
        assert_eq!(drain.finish(Duration::from_secs(1)).await, 1);
        assert!(quick.is_finished() && drain.has_begun());
        drain.begun().await;
    }
}
