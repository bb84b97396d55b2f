//! Random numbers: seeded ones for data and faults, unseeded ones for tokens. Not for cryptography.

/// A generator whose numbers follow from its seed.
#[derive(Clone, Debug)]
pub(crate) struct Rng(fastrand::Rng);

impl Rng {
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    pub(crate) fn from_entropy() -> Self {
        Self(fastrand::Rng::new())
    }

    /// Returns a number below `end`, or 0 when `end` is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.0.u64(..end) }
    }

    /// Returns a number from 0 to 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        self.0.f64()
    }

    pub(crate) fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        self.0.choice(from).copied().unwrap_or("")
    }

    pub(crate) fn hex(&mut self, length: usize) -> String {
        std::iter::repeat_with(|| self.0.digit(16)).take(length).collect()
    }

    /// Returns a random GUID (version 4).
    pub(crate) fn guid(&mut self) -> String {
        let hex = self.hex(30);
        let [a, b, c, d, e] = [&hex[..8], &hex[8..12], &hex[12..15], &hex[15..18], &hex[18..]];
        format!("{a}-{b}-4{c}-8{d}-{e}")
    }
}
