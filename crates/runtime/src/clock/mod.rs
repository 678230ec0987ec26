//! Clocks, which are passed as arguments.
//!
//! Owns the two clocks that decide expiry: the wall clock, which may be stepped, and the boot-time clock, which continues
//! during suspend and never jumps. A [`Deadline`] is set on both and has passed when either clock reaches it, so a backward
//! step never extends a credential. No other code in claviger reads the system time. Also owns what is computed from time
//! alone: [`Backoff`], [`Breaker`] and [`Pace`].
//!
//! [`SystemClock`] reads the system's clocks. [`SteppedClock`] follows tokio's timer, which tests pause, and can be stepped as
//! by NTP or suspended like a laptop. Next: `shutdown`, then the first user, `secrets`.

mod backoff;
mod breaker;
mod pace;

use std::fmt::Debug;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

pub use backoff::{Backoff, Jitter, Roll};
pub use breaker::{Breaker, BreakerSettings};
pub use pace::Pace;

/// The wall clock of [`SteppedClock`] starts at 2026-01-01T00:00:00Z.
const NEW_YEAR: Duration = Duration::from_hours(490_896);

/// The longest single sleep. tokio's timer stops during suspend, so a long wait is split into sleeps of at most this length; a
/// prime number of seconds keeps many daemons from waking at the same time.
const LONGEST_NAP: Duration = Duration::from_secs(37);

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Time since boot, suspend included.
    pub boot: Duration,
    /// Time since the Unix epoch.
    pub wall: Duration,
}

impl Moment {
    /// The deadline `lifetime` after this moment; saturates instead of overflowing.
    #[must_use]
    pub fn after(self, lifetime: Duration) -> Deadline {
        Deadline {
            boot: self.boot.saturating_add(lifetime),
            wall: self.wall.saturating_add(lifetime),
        }
    }

    /// The time that passed since `earlier`, on the boot-time clock; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.boot.saturating_sub(earlier.boot)
    }

    /// The wall clock's reading as a [`SystemTime`].
    #[must_use]
    pub fn system_time(self) -> SystemTime {
        UNIX_EPOCH.checked_add(self.wall).unwrap_or(UNIX_EPOCH)
    }
}

/// An instant on both clocks. It has passed as soon as either clock reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    boot: Duration,
    wall: Duration,
}

impl Deadline {
    /// Whether either clock has reached it.
    #[must_use]
    pub fn passed(self, now: Moment) -> bool {
        self.left(now).is_zero()
    }

    /// The time left until the first of the two clocks reaches it.
    #[must_use]
    pub fn left(self, now: Moment) -> Duration {
        let by_boot = self.boot.saturating_sub(now.boot);
        let by_wall = self.wall.saturating_sub(now.wall);
        by_boot.min(by_wall)
    }

    /// The earlier of two deadlines, clock by clock.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self {
            boot: self.boot.min(other.boot),
            wall: self.wall.min(other.wall),
        }
    }

    /// The same deadline moved `by` earlier; saturates at zero.
    #[must_use]
    pub fn earlier(self, by: Duration) -> Self {
        Self {
            boot: self.boot.saturating_sub(by),
            wall: self.wall.saturating_sub(by),
        }
    }

    /// Its reading on the wall clock, since the Unix epoch. For display and for callers; never base a decision on it.
    #[must_use]
    pub fn wall(self) -> Duration {
        self.wall
    }
}

/// Reads the time.
pub trait Clock: Debug + Send + Sync {
    /// Both clocks, read together.
    fn now(&self) -> Moment;
}

/// Waits until `deadline` has passed on `clock`, even if the machine is suspended during the wait.
pub async fn sleep_until(clock: &dyn Clock, deadline: Deadline) {
    loop {
        let left = deadline.left(clock.now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LONGEST_NAP)).await;
    }
}

/// The clocks of the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        let read = |id| {
            let time = clock_gettime(id);
            // Neither clock can be negative on a running system; a wall clock set before 1970 reads as 1970.
            let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
            Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
        };
        Moment {
            boot: read(ClockId::Boottime),
            wall: read(ClockId::Realtime),
        }
    }
}

/// A clock that follows tokio's timer and can be stepped. In a paused runtime it advances only when the test advances it.
#[derive(Debug)]
pub struct SteppedClock {
    origin: tokio::time::Instant,
    start: Moment,
    boot_step_ms: AtomicU64,
    wall_step_ms: AtomicI64,
}

impl SteppedClock {
    /// A clock that reads one hour after boot, and 2026-01-01T00:00:00Z. Call this inside a runtime.
    #[must_use]
    pub fn new() -> Self {
        Self {
            #[expect(clippy::disallowed_methods, reason = "this clock reads tokio's time")]
            origin: tokio::time::Instant::now(),
            start: Moment {
                boot: Duration::from_hours(1),
                wall: NEW_YEAR,
            },
            boot_step_ms: AtomicU64::new(0),
            wall_step_ms: AtomicI64::new(0),
        }
    }

    /// Steps only the wall clock, forward or backward, as a time server would.
    pub fn step_wall(&self, seconds: i64) {
        self.wall_step_ms
            .fetch_add(seconds.saturating_mul(1000), Ordering::SeqCst);
    }

    /// Advances both clocks while tokio's timer stands still, as during suspend.
    pub fn suspend(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.boot_step_ms.fetch_add(ms, Ordering::SeqCst);
        self.wall_step_ms
            .fetch_add(i64::try_from(ms).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

impl Default for SteppedClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SteppedClock {
    fn now(&self) -> Moment {
        let run = self.origin.elapsed();
        let suspended = Duration::from_millis(self.boot_step_ms.load(Ordering::SeqCst));
        let stepped = self.wall_step_ms.load(Ordering::SeqCst);
        let size = Duration::from_millis(stepped.unsigned_abs());
        let wall = self.start.wall.saturating_add(run);
        Moment {
            boot: self
                .start
                .boot
                .saturating_add(run)
                .saturating_add(suspended),
            wall: if stepped < 0 {
                wall.saturating_sub(size)
            } else {
                wall.saturating_add(size)
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[tokio::test(start_paused = true)]
    async fn a_backward_step_of_the_wall_clock_never_extends_a_deadline() {
        let clock = SteppedClock::new();
        let deadline = clock.now().after(HOUR);
        clock.step_wall(-3600);
        tokio::time::advance(HOUR).await;
        assert!(
            deadline.passed(clock.now()),
            "the boot-time clock has reached it"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_forward_step_and_a_suspend_both_expire_a_deadline() {
        let clock = SteppedClock::new();
        let deadline = clock.now().after(HOUR);
        clock.step_wall(3599);
        assert_eq!(deadline.left(clock.now()), Duration::from_secs(1));
        clock.step_wall(-3599);
        clock.suspend(HOUR);
        assert!(deadline.passed(clock.now()));
    }

    #[tokio::test(start_paused = true)]
    async fn sleeping_ends_after_a_suspend() {
        let clock = SteppedClock::new();
        let deadline = clock.now().after(HOUR);
        clock.suspend(Duration::from_secs(3599));
        let before = clock.now();
        sleep_until(&clock, deadline).await;
        assert!(clock.now().since(before) <= LONGEST_NAP);
    }

    #[test]
    fn arithmetic_saturates() {
        let now = SystemClock.now();
        assert_eq!(
            now.after(Duration::MAX).left(now),
            Duration::MAX.saturating_sub(now.wall.max(now.boot))
        );
        assert!(now.after(HOUR).earlier(Duration::MAX).passed(now));
        let zero = Moment {
            boot: Duration::ZERO,
            wall: Duration::ZERO,
        };
        assert_eq!(zero.since(now), Duration::ZERO);
    }
}
