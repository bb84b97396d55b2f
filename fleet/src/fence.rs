//! The numbers that order everything in a fleet.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number that a script of the engine drew: larger than every one that its caller knew.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "u64")]
pub struct Fence(u64);

/// A number that no fence can have, or no number at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a fence")]
pub struct NotAFence;

impl Fence {
    /// Below every fence that was drawn.
    pub const ZERO: Self = Self(0);

    /// The last fence. Lua counts exactly to 2^53, and the scripts add one.
    pub const LAST: Self = Self(1 << 52);

    /// Takes a number as a fence.
    ///
    /// # Errors
    ///
    /// [`NotAFence`] beyond [`Fence::LAST`].
    pub fn new(number: u64) -> Result<Self, NotAFence> {
        if number > Self::LAST.0 { Err(NotAFence) } else { Ok(Self(number)) }
    }

    /// Returns the number.
    pub fn number(self) -> u64 {
        self.0
    }

    /// Returns the fence after this one; the last one has none.
    #[must_use]
    pub fn next(self) -> Self {
        Self((self.0 + 1).min(Self::LAST.0))
    }

    /// Raises this fence to `other` if that one is higher; says whether it was.
    pub fn raise(&mut self, other: Self) -> bool {
        let is_higher = other > *self;
        *self = (*self).max(other);
        is_higher
    }
}

impl TryFrom<u64> for Fence {
    type Error = NotAFence;

    fn try_from(number: u64) -> Result<Self, NotAFence> {
        Self::new(number)
    }
}

impl FromStr for Fence {
    type Err = NotAFence;

    fn from_str(text: &str) -> Result<Self, NotAFence> {
        // Only the engine's own form: no sign, no leading zero, so that each fence has one text.
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let is_canonical = text == "0" || !text.starts_with('0');
        if !is_plain || !is_canonical {
            return Err(NotAFence);
        }
        text.parse().map_err(|_overflow_or_empty| NotAFence).and_then(Self::new)
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_fence_survives_its_text(number in 0..=Fence::LAST.number()) {
            let fence = Fence::new(number).unwrap();
            prop_assert_eq!(fence.to_string().parse(), Ok(fence));
        }

        #[test]
        fn a_raised_fence_is_the_higher_of_both(a in 0_u64..100, b in 0_u64..100) {
            let (mut one, mut other) = (Fence(a), Fence(b));
            prop_assert_eq!(one.raise(Fence(b)), b > a);
            other.raise(Fence(a));
            prop_assert_eq!(one, other);
        }
    }

    #[test]
    fn what_the_engine_never_writes_is_no_fence() {
        for text in
            ["", "-1", "+1", "01", "1.0", "1e9", " 1", "4503599627370497", "99999999999999999999"]
        {
            assert_eq!(text.parse::<Fence>(), Err(NotAFence), "{text}");
        }
        assert_eq!("4503599627370496".parse(), Ok(Fence::LAST));
    }
}
