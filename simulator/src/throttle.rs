//! Request windows as a pure function of the requests so far and the time.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration_serde;

/// How the simulator throttles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThrottleSettings {
    /// The limits, all of which apply (B9). Default none.
    pub windows: Vec<Window>,
    /// Requests to throttle whatever the windows say; counts down. Default 0.
    pub next: u32,
    /// Path prefix to which `next` applies. Default all.
    pub next_path: String,
    /// `Retry-After` of requests throttled by `next`. Default 1 s.
    #[serde(with = "duration_serde")]
    pub next_wait: Duration,
    /// 409, as documented, or 429 (B6). Default 409.
    pub status: u16,
    /// How `Retry-After` is written (B6). Default whole seconds.
    pub retry_after: RetryAfter,
    /// Body of a throttle answer; `{wait}` stands for the seconds, with decimals, as was seen in
    /// `Wait {wait} seconds`. Default empty, as documented.
    pub body: String,
    /// Whether `/api/token` is throttled too (B10). Default false.
    pub token_calls: bool,
}

impl Default for ThrottleSettings {
    fn default() -> Self {
        Self {
            windows: Vec::new(),
            next: 0,
            next_path: String::new(),
            next_wait: Duration::from_secs(1),
            status: 409,
            retry_after: RetryAfter::Seconds,
            body: String::new(),
            token_calls: false,
        }
    }
}

/// At most `limit` requests in any span of `per`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Requests let through.
    pub limit: u32,
    /// Length of the window.
    #[serde(with = "duration_serde")]
    pub per: Duration,
    /// Which requests count. Default all.
    #[serde(default)]
    pub scope: Scope,
    /// The key of a window (B8). Default: one window for all requests.
    #[serde(default)]
    pub key: CounterKey,
}

/// The requests a window counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Every request.
    #[default]
    All,
    /// GET, HEAD and OPTIONS.
    Reads,
    /// Everything else.
    Writes,
}

/// The key by which requests share a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CounterKey {
    /// One window for all requests.
    #[default]
    Global,
    /// One per path ("before accessing this url again").
    Path,
    /// One per bearer token.
    Token,
}

/// How the waiting time is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfter {
    /// Whole seconds, rounded up.
    #[default]
    Seconds,
    /// Seconds with decimals.
    Fraction,
    /// An HTTP date.
    Date,
    /// Not at all.
    Missing,
}

/// The parts of a request that the throttle counts by.
pub(crate) struct ThrottledRequest<'a> {
    pub(crate) write: bool,
    pub(crate) path: &'a str,
    pub(crate) token: &'a str,
}

/// The requests let through so far.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    passed: HashMap<(usize, String), VecDeque<Duration>>,
}

impl Throttle {
    /// Lets the request through, or returns how long it must wait. A refused request counts in no
    /// window.
    pub(crate) fn admit(
        &mut self,
        settings: &mut ThrottleSettings,
        asked: &ThrottledRequest<'_>,
        now: Duration,
    ) -> Result<(), Duration> {
        if settings.next > 0 && crate::path::starts_with(asked.path, &settings.next_path) {
            settings.next -= 1;
            return Err(settings.next_wait);
        }
        let mut counted = Vec::new();
        for (index, window) in settings.windows.iter().enumerate() {
            let applies = match window.scope {
                Scope::All => true,
                Scope::Reads => !asked.write,
                Scope::Writes => asked.write,
            };
            if !applies {
                continue;
            }
            let key = match window.key {
                CounterKey::Global => String::new(),
                CounterKey::Path => asked.path.to_ascii_lowercase(),
                CounterKey::Token => asked.token.to_owned(),
            };
            let passed = self.passed.entry((index, key.clone())).or_default();
            while passed.front().is_some_and(|time| *time + window.per <= now) {
                passed.pop_front();
            }
            if passed.len() >= window.limit as usize {
                let oldest = passed.front().copied().unwrap_or(now);
                return Err((oldest + window.per).saturating_sub(now));
            }
            counted.push((index, key));
        }
        for slot in counted {
            self.passed.entry(slot).or_default().push_back(now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(windows: Vec<Window>) -> ThrottleSettings {
        ThrottleSettings { windows, ..ThrottleSettings::default() }
    }

    fn window(limit: u32, seconds: u64) -> Window {
        let per = Duration::from_secs(seconds);
        Window { limit, per, scope: Scope::All, key: CounterKey::Global }
    }

    const READ: ThrottledRequest<'_> =
        ThrottledRequest { write: false, path: "/api/a", token: "t" };
    const WRITE: ThrottledRequest<'_> =
        ThrottledRequest { write: true, path: "/api/b", token: "t" };

    #[test]
    fn a_full_window_says_how_long_to_wait() {
        let mut throttle = Throttle::default();
        let mut settings = settings(vec![window(2, 10)]);
        let at = Duration::from_secs;

        assert_eq!(throttle.admit(&mut settings, &READ, at(0)), Ok(()));
        assert_eq!(throttle.admit(&mut settings, &READ, at(4)), Ok(()));
        assert_eq!(throttle.admit(&mut settings, &READ, at(5)), Err(at(5)));
        assert_eq!(throttle.admit(&mut settings, &READ, at(10)), Ok(()));
        assert_eq!(throttle.admit(&mut settings, &READ, at(10)), Err(at(4)));
    }

    #[test]
    fn scopes_and_keys_count_apart() {
        let mut throttle = Throttle::default();
        let reads = Window { scope: Scope::Reads, ..window(1, 10) };
        let paths = Window { key: CounterKey::Path, ..window(2, 10) };
        let mut settings = settings(vec![reads, paths]);
        let now = Duration::ZERO;

        assert!(throttle.admit(&mut settings, &READ, now).is_ok());
        assert!(throttle.admit(&mut settings, &READ, now).is_err());
        assert!(throttle.admit(&mut settings, &WRITE, now).is_ok());
        assert!(throttle.admit(&mut settings, &WRITE, now).is_ok());
        assert!(throttle.admit(&mut settings, &WRITE, now).is_err());
    }

    #[test]
    fn the_next_requests_can_be_throttled_by_order() {
        let mut throttle = Throttle::default();
        let mut settings = ThrottleSettings { next: 1, ..ThrottleSettings::default() };

        assert_eq!(
            throttle.admit(&mut settings, &READ, Duration::ZERO),
            Err(Duration::from_secs(1))
        );
        assert_eq!(throttle.admit(&mut settings, &READ, Duration::ZERO), Ok(()));
    }
}
