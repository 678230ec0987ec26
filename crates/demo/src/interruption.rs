//! The wish of whoever started the demo that it ends.
//!
//! Owns the signals that end it: left to themselves they would leave a daemon and a folder behind. The story looks between
//! its steps, each of which takes a moment; the processes of the scene are in groups of their own, so that Ctrl-C at the
//! terminal reaches the demo alone.

use std::io;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::Error;

/// How long a signal that has reached another process of the group may take to be noticed here.
const MOMENT: Duration = Duration::from_millis(100);

/// Comes with the first SIGINT, SIGTERM or SIGHUP.
pub(super) struct Interruption {
    came: watch::Receiver<bool>,
    runtime: Handle,
}

impl Interruption {
    /// From now on the signals end nothing by themselves. A thread of the runtime waits for them.
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
            // Kept for as long as somebody may ask.
            sender.closed().await;
        });
        Ok(Self {
            came,
            runtime: runtime.clone(),
        })
    }

    /// [`Error::Interrupted`] once it has come.
    pub(super) fn check(&self) -> Result<(), Error> {
        if *self.came.borrow() {
            return Err(Error::Interrupted);
        }
        Ok(())
    }

    /// Waits for it. Blocks.
    pub(super) fn awaited(&self) {
        self.runtime.block_on(self.comes());
    }

    /// Whether it has come, or comes in this very moment. Blocks.
    pub(super) fn comes_now(&self) -> bool {
        let comes = async { tokio::time::timeout(MOMENT, self.comes()).await };
        self.runtime.block_on(comes).is_ok()
    }

    async fn comes(&self) {
        // The sender goes only with the runtime.
        drop(self.came.clone().wait_for(|came| *came).await);
    }
}
