//! The time on two clocks at once, and waiting for a time to come.
//!
//! The boot clock runs on while a laptop sleeps and never jumps: ages are measured on it. The wall
//! clock survives a reboot but may be set back or forth: stored times are written with it. tokio's
//! timers stand still during suspend, so they are only hints here: every wait reads the boot clock
//! again at least once per [`CLOCK_POLL_INTERVAL`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

/// One instant on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    /// Time since boot, suspend included.
    pub boot: Duration,
    /// The wall clock.
    pub wall: SystemTime,
}

impl Timestamp {
    /// Returns the time that has passed on the boot clock since `earlier`.
    pub fn since(self, earlier: Self) -> Duration {
        self.boot.saturating_sub(earlier.boot)
    }

    /// Returns the time `by` later, on both clocks.
    pub fn after(self, by: Duration) -> Self {
        Self { boot: self.boot.saturating_add(by), wall: self.wall + by }
    }
}

/// The source of time. Clones share it.
#[derive(Clone, Debug)]
pub struct Clock(ClockSource);

#[derive(Clone, Debug)]
enum ClockSource {
    System,
    Manual(watch::Receiver<Timestamp>, Arc<Mutex<Duration>>),
}

impl Clock {
    /// Returns the machine's clock.
    pub fn system() -> Self {
        Self(ClockSource::System)
    }

    /// Returns a clock that stands still, and the handle that moves it.
    pub fn manual() -> (Self, ManualClock) {
        let start = Timestamp { boot: Duration::from_secs(1_000), wall: SystemTime::now() };
        let (sender, receiver) = watch::channel(start);
        let suspended = Arc::new(Mutex::new(Duration::ZERO));
        let manual =
            ManualClock { moment: Arc::new(Mutex::new(sender)), suspended: suspended.clone() };
        (Self(ClockSource::Manual(receiver, suspended)), manual)
    }

    /// Returns the present time.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            ClockSource::System => Timestamp { boot: since_boot(), wall: SystemTime::now() },
            ClockSource::Manual(moment, _) => *moment.borrow(),
        }
    }

    /// Returns the time since boot, suspend included: half the cost of [`Clock::now`].
    pub fn boot(&self) -> Duration {
        match &self.0 {
            ClockSource::System => since_boot(),
            ClockSource::Manual(moment, _) => moment.borrow().boot,
        }
    }

    /// Returns how long the machine has been suspended since it was booted, where the system can
    /// tell (Linux); elsewhere zero.
    pub fn suspended(&self) -> Duration {
        match &self.0 {
            ClockSource::System => suspended(),
            ClockSource::Manual(_, suspended) => {
                *suspended.lock().unwrap_or_else(PoisonError::into_inner)
            }
        }
    }

    /// Waits until the boot clock shows `boot`. Returns at once if that time has passed.
    pub async fn wait_until(&self, boot: Duration) {
        match &self.0 {
            ClockSource::System => {
                while let Some(left) = boot.checked_sub(since_boot()).filter(|left| !left.is_zero())
                {
                    tokio::time::sleep(left.min(CLOCK_POLL_INTERVAL)).await;
                }
            }
            ClockSource::Manual(moment, _) => {
                let mut moment = moment.clone();
                if moment.wait_for(|now| now.boot >= boot).await.is_err() {
                    // Nothing moves this clock any more.
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

/// Moves a clock made by [`Clock::manual`].
#[derive(Clone, Debug)]
pub struct ManualClock {
    moment: Arc<Mutex<watch::Sender<Timestamp>>>,
    suspended: Arc<Mutex<Duration>>,
}

impl ManualClock {
    /// Lets `by` pass on both clocks.
    pub fn advance(&self, by: Duration) {
        self.sender().send_modify(|now| *now = now.after(by));
    }

    /// Lets `by` pass on both clocks while the machine is suspended.
    pub fn suspend(&self, by: Duration) {
        *self.suspended.lock().unwrap_or_else(PoisonError::into_inner) += by;
        self.advance(by);
    }

    /// Sets the wall clock alone, as an administrator or a time server does.
    pub fn set_wall(&self, wall: SystemTime) {
        self.sender().send_modify(|now| now.wall = wall);
    }

    fn sender(&self) -> MutexGuard<'_, watch::Sender<Timestamp>> {
        self.moment.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the time since boot, suspend included. Through libc, so that libfaketime can move it.
#[cfg(unix)]
fn since_boot() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const BOOT: ClockId = ClockId::CLOCK_BOOTTIME;
    // macOS: CLOCK_MONOTONIC counts suspended time.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const BOOT: ClockId = ClockId::CLOCK_MONOTONIC;
    clock_gettime(BOOT).map(Duration::from).unwrap_or_default()
}

/// Linux stops one of its two clocks during suspend.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn suspended() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    let awake = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    since_boot().saturating_sub(awake)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn suspended() -> Duration {
    Duration::ZERO
}

/// Returns the time since boot: Windows' performance counter, behind `Instant`, counts suspend.
#[cfg(not(unix))]
fn since_boot() -> Duration {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// How long a wait may trust tokio's timer, which stands still during suspend.
pub const CLOCK_POLL_INTERVAL: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_when_the_manual_clock_reaches_its_time() {
        let (clock, manual) = Clock::manual();
        let target = clock.now().boot + Duration::from_secs(60);
        let waiting = tokio::spawn({
            let clock = clock.clone();
            async move { clock.wait_until(target).await }
        });

        manual.advance(Duration::from_secs(59));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        manual.advance(Duration::from_secs(1));

        waiting.await.unwrap();
    }

    #[test]
    fn setting_the_wall_clock_ages_nothing() {
        let (clock, manual) = Clock::manual();
        let before = clock.now();

        manual.set_wall(SystemTime::UNIX_EPOCH);

        assert_eq!(clock.now().since(before), Duration::ZERO);
    }

    #[test]
    fn suspended_time_passes_and_is_counted_separately() {
        let (clock, manual) = Clock::manual();
        let before = clock.now();

        manual.advance(Duration::from_secs(1));
        manual.suspend(Duration::from_secs(2));

        assert_eq!(clock.now().since(before), Duration::from_secs(3));
        assert_eq!(clock.suspended(), Duration::from_secs(2));
        let _runs = Clock::system().suspended();
    }

    #[test]
    fn the_boot_clock_runs() {
        let first = Clock::system().now();
        assert!(first.boot > Duration::ZERO);
        assert!(Clock::system().now().boot >= first.boot);
    }
}
