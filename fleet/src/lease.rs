//! The right to spend, for a bounded time.

use std::time::Duration;

use crate::fence::Fence;
use crate::timing::Timing;

/// A lease that the engine gave to this member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    fence: Fence,
    deadline: Duration,
}

impl Lease {
    /// Takes the lease that the engine gave for the call that left at `asked`, a reading of the boot
    /// clock. The engine started its clock later than that, so that this deadline is never after
    /// the engine's.
    pub fn new(fence: Fence, asked: Duration, timing: &Timing) -> Self {
        Self { fence, deadline: asked + timing.lease }
    }

    /// Returns the fence: the generation of a pair that is asked for under this lease.
    pub fn fence(&self) -> Fence {
        self.fence
    }

    /// Returns when the lease ends, as a reading of the boot clock.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Says whether a request to the issuer may start at `now`.
    pub fn can_spend(&self, now: Duration, timing: &Timing) -> bool {
        self.deadline.saturating_sub(now) >= timing.spend_margin
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_deadline_counts_from_before_the_call() {
        let lease = Lease::new(Fence::ZERO, seconds(100), &Timing::default());
        assert_eq!(lease.deadline(), seconds(190));
    }

    #[test]
    fn a_request_starts_only_with_35_seconds_left() {
        let timing = Timing::default();
        let lease = Lease::new(Fence::ZERO, seconds(100), &timing);
        assert!(lease.can_spend(seconds(155), &timing));
        assert!(!lease.can_spend(seconds(155) + Duration::from_nanos(1), &timing));
        assert!(!lease.can_spend(seconds(10_000), &timing));
    }

    proptest! {
        #[test]
        fn scaled_times_allow_the_same_at_the_same_part_of_the_lease(
            factor in 1_u32..1_000, at in 0_u64..200,
        ) {
            let (whole, scaled) = (Timing::default(), Timing::default().scaled(factor));
            let one = Lease::new(Fence::ZERO, Duration::ZERO, &whole);
            let other = Lease::new(Fence::ZERO, Duration::ZERO, &scaled);
            // The division rounds down to a nanosecond.
            prop_assume!(at != 55);
            prop_assert_eq!(
                one.can_spend(seconds(at), &whole),
                other.can_spend(seconds(at) / factor, &scaled)
            );
        }
    }
}
