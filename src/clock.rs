//! What time it is, on two clocks at once, and waiting for a time to come.
//!
//! The boot clock runs on while a laptop sleeps and never jumps: ages are measured on it. The wall
//! clock survives a reboot but may be set back or forth: stored times are written with it. tokio's
//! timers stand still during suspend, so they are only hints here: every wait looks at the boot
//! clock again at least once per [`LOOK_AGAIN`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

/// One instant, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Time since boot, suspend included.
    pub boot: Duration,
    /// The wall clock.
    pub wall: SystemTime,
}

impl Moment {
    /// Returns the time that has passed on the boot clock since `earlier`.
    pub fn since(self, earlier: Self) -> Duration {
        self.boot.saturating_sub(earlier.boot)
    }

    /// Returns this moment moved `by` into the future on both clocks.
    pub fn after(self, by: Duration) -> Self {
        Self { boot: self.boot.saturating_add(by), wall: self.wall + by }
    }
}

/// The source of time. Clones share it.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Moved(watch::Receiver<Moment>, Arc<Mutex<Duration>>),
}

impl Clock {
    /// Returns the machine's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// Returns a clock that stands still, and the hand that moves it.
    pub fn by_hand() -> (Self, Hand) {
        let start = Moment { boot: Duration::from_secs(1_000), wall: SystemTime::now() };
        let (sender, receiver) = watch::channel(start);
        let asleep = Arc::new(Mutex::new(Duration::ZERO));
        let hand = Hand { moment: Arc::new(Mutex::new(sender)), asleep: asleep.clone() };
        (Self(Source::Moved(receiver, asleep)), hand)
    }

    /// Returns the present moment.
    pub fn now(&self) -> Moment {
        match &self.0 {
            Source::System => Moment { boot: since_boot(), wall: SystemTime::now() },
            Source::Moved(moment, _) => *moment.borrow(),
        }
    }

    /// Returns the time since boot, suspend included: half the price of [`Clock::now`].
    pub fn boot(&self) -> Duration {
        match &self.0 {
            Source::System => since_boot(),
            Source::Moved(moment, _) => moment.borrow().boot,
        }
    }

    /// Returns how long the machine has been suspended since it was booted, where the system can
    /// tell (Linux); elsewhere zero.
    pub fn asleep(&self) -> Duration {
        match &self.0 {
            Source::System => asleep(),
            Source::Moved(_, asleep) => *asleep.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Waits until the boot clock shows `boot`. Returns at once when it already does.
    pub async fn reaches(&self, boot: Duration) {
        match &self.0 {
            Source::System => {
                while let Some(left) = boot.checked_sub(since_boot()).filter(|left| !left.is_zero())
                {
                    tokio::time::sleep(left.min(LOOK_AGAIN)).await;
                }
            }
            Source::Moved(moment, _) => {
                let mut moment = moment.clone();
                if moment.wait_for(|now| now.boot >= boot).await.is_err() {
                    // The hand is gone: this clock will never move again.
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

/// Moves a clock made by [`Clock::by_hand`].
#[derive(Clone, Debug)]
pub struct Hand {
    moment: Arc<Mutex<watch::Sender<Moment>>>,
    asleep: Arc<Mutex<Duration>>,
}

impl Hand {
    /// Lets `by` pass on both clocks.
    pub fn advance(&self, by: Duration) {
        self.sender().send_modify(|now| *now = now.after(by));
    }

    /// Lets `by` pass on both clocks while the machine is suspended.
    pub fn suspend(&self, by: Duration) {
        *self.asleep.lock().unwrap_or_else(PoisonError::into_inner) += by;
        self.advance(by);
    }

    /// Sets the wall clock alone, as an administrator or a time server does.
    pub fn set_wall(&self, wall: SystemTime) {
        self.sender().send_modify(|now| now.wall = wall);
    }

    fn sender(&self) -> MutexGuard<'_, watch::Sender<Moment>> {
        self.moment.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the time since boot, suspend included. Through libc, so that libfaketime can move it.
#[cfg(unix)]
fn since_boot() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const BOOT: ClockId = ClockId::CLOCK_BOOTTIME;
    // macOS: CLOCK_MONOTONIC counts the time asleep.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const BOOT: ClockId = ClockId::CLOCK_MONOTONIC;
    clock_gettime(BOOT).map(Duration::from).unwrap_or_default()
}

/// Linux stops one of its two clocks during suspend.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn asleep() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    let awake = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    since_boot().saturating_sub(awake)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn asleep() -> Duration {
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
pub const LOOK_AGAIN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_when_the_hand_has_moved_far_enough() {
        let (clock, hand) = Clock::by_hand();
        let target = clock.now().boot + Duration::from_secs(60);
        let waiting = tokio::spawn({
            let clock = clock.clone();
            async move { clock.reaches(target).await }
        });

        hand.advance(Duration::from_secs(59));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        hand.advance(Duration::from_secs(1));

        waiting.await.unwrap();
    }

    #[test]
    fn a_set_wall_clock_does_not_age_anything() {
        let (clock, hand) = Clock::by_hand();
        let before = clock.now();

        hand.set_wall(SystemTime::UNIX_EPOCH);

        assert_eq!(clock.now().since(before), Duration::ZERO);
    }

    #[test]
    fn suspended_time_passes_and_is_counted_apart() {
        let (clock, hand) = Clock::by_hand();
        let before = clock.now();

        hand.advance(Duration::from_secs(1));
        hand.suspend(Duration::from_secs(2));

        assert_eq!(clock.now().since(before), Duration::from_secs(3));
        assert_eq!(clock.asleep(), Duration::from_secs(2));
        let _runs = Clock::system().asleep();
    }

    #[test]
    fn the_boot_clock_runs() {
        let first = Clock::system().now();
        assert!(first.boot > Duration::ZERO);
        assert!(Clock::system().now().boot >= first.boot);
    }
}
