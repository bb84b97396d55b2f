//! Messages to the service manager (`sd_notify(3)`): ready, reloading, stopping, status, watchdog.
//!
//! Without `NOTIFY_SOCKET` nothing is sent, nor by a process that the service manager has not started
//! itself: a child of another service inherits the variable, and would speak for that service. READY means that every request gets a response, if only
//! a 503: `readyz` reports a session that does not work, which is no reason to restart the daemon.

use std::ffi::OsString;
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
    if !is_notified(|name| std::env::var_os(name), std::process::id()) {
        return;
    }
    let mut changes = session.subscribe();
    let mut said = String::new();
    loop {
        let readiness = readiness(&session, Lifecycle::Serving);
        let words = match readiness.reasons.first() {
            Some(reason) => reason.sentence.clone(),
            None if session.status().is_basic() => "ready: each request carries the login".into(),
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
        let limit = watchdog_limit(|name| std::env::var_os(name), std::process::id());
        let Some(limit) = limit else { return };
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

/// Says whether the service manager listens to this process. `SYSTEMD_EXEC_PID` names the process
/// that it has started (systemd.exec(5)); other managers, and systemd before version 248, do not
/// set it.
fn is_notified(var: impl Fn(&str) -> Option<OsString>, pid: u32) -> bool {
    var("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty())
        && is_absent_or(var("SYSTEMD_EXEC_PID"), pid)
}

/// Returns how often the service manager wants the watchdog's signal at least
/// (sd_watchdog_enabled(3)).
#[cfg(unix)]
fn watchdog_limit(var: impl Fn(&str) -> Option<OsString>, pid: u32) -> Option<Duration> {
    if !is_notified(&var, pid) || !is_absent_or(var("WATCHDOG_PID"), pid) {
        return None;
    }
    let micros = var("WATCHDOG_USEC")?.to_str()?.parse().ok()?;
    Some(Duration::from_micros(micros)).filter(|limit| !limit.is_zero())
}

/// Says whether a variable that names a process names this one, or is not set.
fn is_absent_or(named: Option<OsString>, pid: u32) -> bool {
    named.filter(|named| !named.is_empty()).is_none_or(|named| *named == *pid.to_string())
}

#[cfg(unix)]
fn send(states: &[sd_notify::NotifyState<'_>]) {
    if !is_notified(|name| std::env::var_os(name), std::process::id()) {
        return;
    }
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

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_the_service_manager_has_started_speaks_to_it() {
        for (exec_pid, is_ours) in [
            (None, true),
            (Some(""), true),
            (Some("7"), true),
            (Some("8"), false),
            (Some("x"), false),
        ] {
            let vars = [("NOTIFY_SOCKET", Some("@socket")), ("SYSTEMD_EXEC_PID", exec_pid)];
            assert_eq!(is_notified(var(&vars), 7), is_ours, "{exec_pid:?}");
        }
        for socket in [None, Some("")] {
            assert!(!is_notified(var(&[("NOTIFY_SOCKET", socket)]), 7));
        }
    }

    #[test]
    fn the_watchdog_is_fed_only_where_it_watches_this_process() {
        let socket = ("NOTIFY_SOCKET", Some("@socket"));
        let usec = ("WATCHDOG_USEC", Some("300000"));
        let limit = |vars: &[_]| watchdog_limit(var(vars), 7);
        let on = Some(Duration::from_millis(300));

        assert_eq!(limit(&[socket, usec]), on);
        assert_eq!(limit(&[socket, usec, ("WATCHDOG_PID", Some("7"))]), on);
        for other in ["8", "7x", "0"] {
            assert_eq!(limit(&[socket, usec, ("WATCHDOG_PID", Some(other))]), None, "{other}");
            assert_eq!(limit(&[socket, usec, ("SYSTEMD_EXEC_PID", Some(other))]), None, "{other}");
        }
        for wrong in ["", "0", "-1", "1s"] {
            assert_eq!(limit(&[socket, ("WATCHDOG_USEC", Some(wrong))]), None, "{wrong:?}");
        }
        assert_eq!(limit(&[usec]), None);
    }

    fn var<'a>(vars: &'a [(&'a str, Option<&'a str>)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        |name| vars.iter().find(|(key, _)| *key == name)?.1.map(OsString::from)
    }
}
