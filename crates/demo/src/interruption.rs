//! Interruption of the demo by a signal.
//!
//! Owns the signals that end the demo: by default they would end it at once and leave a daemon and a folder behind. The demo
//! checks for a signal between its short steps. The child processes are in their own process groups, so that Ctrl-C at the
//! terminal reaches only the demo.

use std::io;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::Error;

/// How long to wait for a signal that has already reached another process of the group.
const MOMENT: Duration = Duration::from_millis(100);

/// Set by the first SIGINT, SIGTERM or SIGHUP.
pub(super) struct Interruption {
    came: watch::Receiver<bool>,
    runtime: Handle,
}

impl Interruption {
    /// Installs handlers, so that the signals no longer end the process. A thread of the runtime waits for them.
    pub(super) fn expected(runtime: &Handle) -> io::Result<Self> {
        let _entered = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let (sender, came) = watch::channel(false);
        runtime.spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            sender.send_replace(true);
            // Keep the sender while there are receivers.
            sender.closed().await;
        });
        Ok(Self {
            came,
            runtime: runtime.clone(),
        })
    }

    /// [`Error::Interrupted`] after a signal.
    pub(super) fn check(&self) -> Result<(), Error> {
        if *self.came.borrow() {
            return Err(Error::Interrupted);
        }
        Ok(())
    }

    /// Waits for a signal. Blocks.
    pub(super) fn awaited(&self) {
        self.runtime.block_on(self.comes());
    }

    /// Whether a signal has arrived, or arrives within [`MOMENT`]. Blocks.
    pub(super) fn comes_now(&self) -> bool {
        let comes = async { tokio::time::timeout(MOMENT, self.comes()).await };
        self.runtime.block_on(comes).is_ok()
    }

    async fn comes(&self) {
        // The sender is dropped only with the runtime.
        drop(self.came.clone().wait_for(|came| *came).await);
    }
}
