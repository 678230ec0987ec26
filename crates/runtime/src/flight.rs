//! One outcome that any number of callers wait for.
//!
//! Owns the two ends of a single flight: [`Landing`], held by the task that does the work, and [`Flight`], cloned for every
//! caller that waits. Callers may go away without ending the work. Never starts a task and never decides whether to join or to
//! start: the owner keeps the [`Flight`] under its own lock and asks [`Flight::is_under_way`] first.

use tokio::sync::watch;

/// The waiting end. Cheap to clone; every clone receives the same outcome.
#[derive(Clone, Debug)]
pub struct Flight<T>(watch::Receiver<Option<T>>);

/// The working end. Dropping it without [`Landing::land`] ends the flight without an outcome.
#[derive(Debug)]
pub struct Landing<T>(watch::Sender<Option<T>>);

impl<T: Clone> Flight<T> {
    /// A flight that has just begun.
    #[must_use]
    pub fn begin() -> (Landing<T>, Self) {
        let (sender, receiver) = watch::channel(None);
        (Landing(sender), Self(receiver))
    }

    /// Whether the work still goes on. False once it has landed or its task was cancelled.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.0.has_changed().is_ok()
    }

    /// Waits for the outcome. `None` if the task was cancelled, for example because its runtime ended. Safe to cancel.
    pub async fn outcome(mut self) -> Option<T> {
        let outcome = self.0.wait_for(Option::is_some).await.ok()?;
        outcome.clone()
    }
}

impl<T> Landing<T> {
    /// Gives the outcome to every caller that waits, now or later.
    pub fn land(self, outcome: T) {
        self.0.send_replace(Some(outcome));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_caller_receives_the_outcome_whenever_it_asks() {
        let (landing, flight) = Flight::begin();
        assert!(flight.is_under_way());
        let early = tokio::spawn(flight.clone().outcome());
        drop(flight.clone().outcome());
        landing.land(7);
        assert_eq!(early.await.unwrap(), Some(7));
        assert!(!flight.is_under_way());
        assert_eq!(flight.clone().outcome().await, Some(7));
        assert_eq!(flight.outcome().await, Some(7));
    }

    #[tokio::test]
    async fn a_cancelled_task_leaves_no_outcome() {
        let (landing, flight) = Flight::<u8>::begin();
        drop(landing);
        assert!(!flight.is_under_way());
        assert_eq!(flight.outcome().await, None);
    }
}
