//! Messages to the service manager (`sd_notify(3)`): ready, reloading, stopping, status, watchdog.
//!
//! Without `NOTIFY_SOCKET` nothing is sent. READY means that every request gets a response, if only
//! a 503: `readyz` reports a session that does not work, which is no reason to restart the daemon.

use std::time::Duration;

use crate::admin::{Heartbeat, LIVENESS_TIMEOUT, api::Lifecycle, format, readiness};
use crate::session::Session;

/// Reports that requests are served.
pub(super) fn ready() {
    #[cfg(unix)]
    send(&[sd_notify::NotifyState::Ready]);
}

/// Reports that the configuration is being read, until [`ready`].
pub(super) fn reloading() {
    #[cfg(unix)]
    if let Ok(now) = sd_notify::NotifyState::monotonic_usec_now() {
        send(&[sd_notify::NotifyState::Reloading, now]);
    }
}

/// Reports that the daemon stops, and how long that may take, whatever the unit's limit is: the
/// time for requests in flight, and then [`STOP_MARGIN`].
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

/// Reports the status in words, after each change and once a minute.
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

/// Sends the watchdog's signal as often as the service manager wants it, while every data thread
/// responds. The control runtime sends it, so both must run.
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
            let silent = pulse.silent_threads(LIVENESS_TIMEOUT.min(limit / 3)).await;
            if silent.is_empty() {
                send(&[sd_notify::NotifyState::Watchdog]);
            } else {
                tracing::warn!(thread = silent.join(" "), "a data thread does not respond");
            }
        }
    }
    #[cfg(not(unix))]
    let _ = (pulse, LIVENESS_TIMEOUT);
}

#[cfg(unix)]
fn send(states: &[sd_notify::NotifyState<'_>]) {
    // A failure is no reason to stop serving.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "could not notify the service manager");
    }
}

/// Time after the drain: a token request in flight (30 s), and the write of its result.
#[cfg(unix)]
const STOP_MARGIN: Duration = Duration::from_secs(40);

/// How often the status is built again without a change: the token's remaining time is part of it.
const STATUS_POLL_INTERVAL: Duration = Duration::from_secs(60);
