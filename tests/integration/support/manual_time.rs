//! Time that passes when a test says so, and what a daemon does meanwhile.

use std::time::Duration;

use nexudus_proxy::clock::Hand;
use nexudus_proxy::session::Word;
use nexudus_simulator::{Knobs, Simulator};

use super::{Daemon, Setup, code, daemon};

/// Lets time pass for a daemon and its upstream alike.
pub fn pass(hand: &Hand, upstream: &Simulator, by: Duration) {
    // In this order: a token dies by our own record before it dies for the upstream.
    hand.advance(by);
    upstream.advance(by);
}

/// Tokens that live for 100 s.
pub fn short(knobs: &mut Knobs) {
    knobs.token.access_life = secs(100);
}

/// A daemon whose callers do not wait for a token: with a clock that stands still they would wait
/// for ever.
pub fn impatient(upstream: &Simulator) -> Setup {
    daemon(upstream).set(|config| config.session.wait = Duration::ZERO)
}

/// Sends a request that gets no token, and returns why.
pub async fn refused(daemon: &Daemon) -> String {
    let answer = daemon.get("/api/auth/me").await;
    assert_eq!(answer.status(), 503);
    code(answer).await
}

/// Lets a day pass, with a request every ten minutes that gets no token.
pub async fn a_day(daemon: &Daemon, hand: &Hand, upstream: &Simulator) {
    for _ in 0..24 * 6 {
        pass(hand, upstream, secs(600));
        daemon.idle().await;
        refused(daemon).await;
    }
}

/// Asserts that requests are served again within this time, without any help.
pub async fn recovers(daemon: &Daemon, hand: &Hand, upstream: &Simulator, within: Duration) {
    let mut waited = Duration::ZERO;
    while daemon.idle().await.state != Word::Ready {
        assert!(waited < within, "still {:?}", daemon.running.session().view());
        pass(hand, upstream, secs(5));
        waited += secs(5);
    }
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
}

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
