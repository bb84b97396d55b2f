//! What the service manager is told (`sd_notify(3)`): ready, reloading, stopping, in words, alive.
//!
//! Without `NOTIFY_SOCKET` nothing is said. READY means that requests are answered, if only with a
//! 503: a session in trouble is for `readyz`, and no reason to restart anything.

use std::time::Duration;

use crate::admin::{Heartbeat, LIVENESS_TIMEOUT, api::Lifecycle, format, readiness};
use crate::session::Session;

/// Tells that requests are answered.
pub(super) fn ready() {
    #[cfg(unix)]
    send(&[sd_notify::NotifyState::Ready]);
}

/// Tells that the configuration is being read; [`ready`] ends it.
pub(super) fn reloading() {
    #[cfg(unix)]
    if let Ok(now) = sd_notify::NotifyState::monotonic_usec_now() {
        send(&[sd_notify::NotifyState::Reloading, now]);
    }
}

/// Tells that the end has begun, and how long it may take: as long as requests may take to finish,
/// whatever limit the unit has, and then some to settle.
pub(super) fn stopping(in_flight: usize, drain: Duration) {
    #[cfg(unix)]
    {
        use sd_notify::NotifyState::{ExtendTimeoutUsec, Status, Stopping};
        let status =
            format!("stopping, {} in flight", format::pluralize(in_flight as u64, "request"));
        let most = u32::try_from((drain + STOP_MARGIN).as_micros()).unwrap_or(u32::MAX);
        send(&[Stopping, ExtendTimeoutUsec(most), Status(&status)]);
    }
    #[cfg(not(unix))]
    let _ = (in_flight, drain);
}

/// Says in words how things are, after each change and once a minute.
pub(super) async fn watch_status(session: Session) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let mut changes = session.subscribe();
    let mut said = String::new();
    loop {
        let readiness = readiness(&session, Lifecycle::Serving);
        let words = match readiness.reasons.first() {
            Some(reason) => reason.sentence.clone(),
            None => {
                let left = session.status().expires_in.unwrap_or_default();
                format!("token valid {}", format::format_duration(left.as_secs()))
            }
        };
        if words != said {
            #[cfg(unix)]
            send(&[sd_notify::NotifyState::Status(&words)]);
            said = words;
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(STATUS_POLL_INTERVAL) => {}
        }
    }
}

/// Tells that the data path's loop turns, as often as the service manager wants to hear it.
///
/// Asked of the data path and told from the control runtime: both must run.
pub(super) async fn watchdog(pulse: Heartbeat) {
    #[cfg(unix)]
    {
        let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else {
            return;
        };
        let mut turns = tokio::time::interval(limit / 3);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            if pulse.responds_within(LIVENESS_TIMEOUT.min(limit / 3)).await {
                send(&[sd_notify::NotifyState::Watchdog]);
            } else {
                tracing::warn!("the data path does not answer");
            }
        }
    }
    #[cfg(not(unix))]
    let _ = (pulse, LIVENESS_TIMEOUT);
}

#[cfg(unix)]
fn send(states: &[sd_notify::NotifyState<'_>]) {
    // A service manager that cannot be told is no reason to stop serving.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "could not tell the service manager");
    }
}

/// At most one token request is under way (30 s), and what it brings is written.
#[cfg(unix)]
const STOP_MARGIN: Duration = Duration::from_secs(40);

/// How often the words are looked at without being told of a change.
const STATUS_POLL_INTERVAL: Duration = Duration::from_secs(60);
