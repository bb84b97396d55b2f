//! Time that passes when a test says so, and what a daemon does meanwhile.

use std::time::Duration;

use nexudus_proxy::clock::ManualClock;
use nexudus_proxy::session::SessionState;
use nexudus_simulator::{Settings, Simulator};

use super::{Daemon, DaemonSetup, daemon, error_code};

/// Lets time pass for a daemon and its upstream alike.
pub fn advance(hand: &ManualClock, upstream: &Simulator, by: Duration) {
    // In this order: a token dies by our own record before it dies for the upstream.
    hand.advance(by);
    upstream.advance(by);
}

/// Tokens that live for 100 s.
pub fn short_lived_tokens(knobs: &mut Settings) {
    knobs.token.access_life = secs(100);
}

/// A daemon whose callers do not wait for a token: with a clock that stands still they would wait
/// for ever.
pub fn impatient(upstream: &Simulator) -> DaemonSetup {
    daemon(upstream).set(|config| config.session.wait = Duration::ZERO)
}

/// Sends a request that gets no token, and returns why.
pub async fn get_error_code(daemon: &Daemon) -> String {
    let answer = daemon.get("/api/auth/me").await;
    assert_eq!(answer.status(), 503);
    error_code(answer).await
}

/// Lets a day pass, with a request every ten minutes that gets no token.
pub async fn advance_a_day(daemon: &Daemon, hand: &ManualClock, upstream: &Simulator) {
    for _ in 0..24 * 6 {
        advance(hand, upstream, secs(600));
        daemon.idle().await;
        get_error_code(daemon).await;
    }
}

/// Asserts that requests are served again within this time, without any help.
pub async fn assert_recovers(
    daemon: &Daemon,
    hand: &ManualClock,
    upstream: &Simulator,
    within: Duration,
) {
    let mut waited = Duration::ZERO;
    while daemon.idle().await.state != SessionState::Ready {
        assert!(waited < within, "still {:?}", daemon.running.session().status());
        advance(hand, upstream, secs(5));
        waited += secs(5);
    }
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
}

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
