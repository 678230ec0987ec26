//! Drain: how the daemon stops without breaking a promise.
//!
//! Owns the order to stop and the count of what must still finish. A [`Drain`] is given to every component; tasks that must
//! not be cut off (a flight to an issuer, an answer being written) run as tracked tasks, loops listen for the signal. Never
//! decides how long to wait: `daemon` does, with [`Drain::finish`].

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// A handle on the daemon's end. Cheap to clone; all clones are the same drain.
#[derive(Clone, Debug)]
pub struct Drain {
    signal: CancellationToken,
    tasks: TaskTracker,
    /// Where tracked tasks run. Connections live on runtimes of their own; what outlives a request must not.
    home: Handle,
}

/// Something that must finish. It has when this is dropped.
#[derive(Debug)]
pub struct Counted(#[expect(dead_code, reason = "held for its end")] TaskTrackerToken);

impl Drain {
    /// A drain that has not begun. Its tasks run on the runtime `home`, whoever spawns them.
    #[must_use]
    pub fn new(home: Handle) -> Self {
        Self {
            signal: CancellationToken::new(),
            tasks: TaskTracker::new(),
            home,
        }
    }

    /// Begins it: loops end, nothing new starts.
    pub fn begin(&self) {
        self.signal.cancel();
        self.tasks.close();
    }

    /// Whether it has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.signal.is_cancelled()
    }

    /// Waits until it begins.
    pub async fn begun(&self) {
        self.signal.cancelled().await;
    }

    /// Runs `task` to its end, also past the beginning of the drain.
    pub fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.tasks.spawn_on(task, &self.home)
    }

    /// Counts something among what must finish until the answer is dropped, for work that runs elsewhere.
    #[must_use]
    pub fn count(&self) -> Counted {
        Counted(self.tasks.token())
    }

    /// Begins the drain and waits for the tracked tasks, at most `grace`. Returns how many were left behind.
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
    async fn tracked_work_finishes_and_stragglers_are_counted() {
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
