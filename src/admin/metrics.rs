//! `/metrics`: the text format of Prometheus, written by hand.
//!
//! A library would bring locks and families to what is a few dozen numbers, and speaks OpenMetrics,
//! whose counters Prometheus' own linter reads as untyped. No label is chosen by a caller.

use std::fmt::{self, Display, Write as _};

use super::{AdminContext, health, status};
use crate::telemetry::{self, BUCKET_BOUNDS, Histogram};
use crate::throttle;

/// Writes every metric.
pub(super) fn metrics(shared: &AdminContext) -> String {
    let mut text = MetricsText::default();
    // A String takes whatever is written to it.
    let _ = write(shared, &mut text);
    text.0
}

fn write(shared: &AdminContext, to: &mut MetricsText) -> fmt::Result {
    let tally = &shared.telemetry.metrics;
    let (phase, view) = (shared.runtime_state().lifecycle, shared.session.status());

    to.family("build_info", "gauge", "The running version.")?;
    to.labelled("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1)?;
    let uptime = shared.server.started.elapsed().as_secs_f64();
    to.single("uptime_seconds", "gauge", "Time since the start.", uptime)?;
    let ready = health::readiness(&shared.session, phase).ready;
    to.single("ready", "gauge", "Whether a request could be served now.", u8::from(ready))?;

    to.family("requests_total", "counter", "Requests, by kind of method and class of status.")?;
    for (kind, class, count) in tally.requests() {
        to.labelled("requests_total", &[("kind", kind), ("status", class)], count)?;
    }
    to.family("answers_total", "counter", "Answers of the daemon's own, by code.")?;
    for (code, count) in tally.problems() {
        to.labelled("answers_total", &[("code", code)], count)?;
    }
    to.histogram("request_duration_seconds", "From head to last byte.", tally.durations())?;
    for (part, took) in tally.stages() {
        let name = format!("request_{part}_seconds");
        to.histogram(&name, &format!("The part that the {part} took."), took)?;
    }
    let in_flight = shared.in_flight.get();
    to.single("requests_in_flight", "gauge", "Requests being answered.", in_flight)?;
    to.single("response_bytes_total", "counter", "Bytes of answers' bodies.", tally.bytes())?;
    let (all, open) = tally.connections();
    to.single("connections_total", "counter", "Local connections.", all)?;
    to.single("connections_open", "gauge", "Local connections that are open.", open)?;

    to.family("session_state", "gauge", "1 for the state that the session is in.")?;
    for word in status::SESSION_STATES {
        let is_so = u8::from(view.state == word);
        to.labelled("session_state", &[("state", status::state_name(word))], is_so)?;
    }
    to.single("token_renewals_total", "counter", "New tokens.", tally.renewals())?;
    to.single("token_generation", "gauge", "Number of the token.", view.generation)?;
    let seconds =
        |duration: Option<std::time::Duration>| duration.map_or(0.0, |it| it.as_secs_f64());
    let left = seconds(view.expires_in);
    to.single("token_expires_in_seconds", "gauge", "Time that the token has left.", left)?;
    let lapse = seconds(view.refresh_token_expires_in);
    to.single("refresh_token_expires_in_seconds", "gauge", "Time until it lapses.", lapse)?;
    throttle(shared, to)?;
    let degraded = u8::from(view.degraded.is_some());
    to.single("degraded", "gauge", "Whether something is handled, but wrong.", degraded)?;
    let dropped = telemetry::dropped();
    to.single("log_lines_dropped_total", "counter", "Log lines lost to a slow reader.", dropped)
}

/// Writes what pacing does, for the API and each `[[host]]`.
fn throttle(shared: &AdminContext, to: &mut MetricsText) -> fmt::Result {
    let mut kinds = vec![];
    for (at, throttle) in
        std::iter::once(&shared.throttle).chain(&shared.host_throttles).enumerate()
    {
        let throttle::ThrottleStatus { reads, writes, own } = throttle.status();
        let host = if at == 0 { "api".to_owned() } else { at.to_string() };
        let named = [("read", reads), ("write", writes), ("own", own)];
        kinds.extend(named.map(|(kind, view)| (host.clone(), kind, view)));
    }
    for (name, kind, help, value) in THROTTLE_METRICS {
        to.family(name, kind, help)?;
        for (host, kind, view) in &kinds {
            to.labelled(name, &[("host", host), ("kind", kind)], value(view))?;
        }
    }
    Ok(())
}

type ReadValue = fn(&throttle::LimiterStatus) -> f64;

/// Name, type, help and value of what is told of each kind of requests.
const THROTTLE_METRICS: [(&str, &str, &str, ReadValue); 8] = [
    ("throttle_paused_seconds", "gauge", "Time that Nexudus has asked to wait.", |it| {
        it.paused.map_or(0.0, |left| left.as_secs_f64())
    }),
    ("throttle_waiting", "gauge", "Requests waiting for their turn.", |it| it.waiting as f64),
    ("throttle_requests_this_minute", "gauge", "Requests sent.", |it| it.minute as f64),
    ("throttle_requests_today", "gauge", "Requests sent (UTC).", |it| it.day as f64),
    ("throttle_answers_total", "counter", "Throttle answers of Nexudus.", |it| it.throttled as f64),
    ("throttle_replays_total", "counter", "Requests sent again.", |it| it.replayed as f64),
    ("throttle_refused_total", "counter", "Requests without a turn.", |it| it.refused as f64),
    ("throttle_wait_seconds_total", "counter", "Time waited for turns.", |it| {
        it.waited.as_secs_f64()
    }),
];

/// What is written so far.
#[derive(Default)]
struct MetricsText(String);

impl MetricsText {
    fn family(&mut self, name: &str, kind: &str, help: &str) -> fmt::Result {
        writeln!(self.0, "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}")
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) -> fmt::Result {
        self.family(name, kind, help)?;
        writeln!(self.0, "{PREFIX}{name} {value}")
    }

    /// Writes a sample. Labels are words of ours: nothing in them needs escaping.
    fn labelled(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        value: impl Display,
    ) -> fmt::Result {
        let labels = labels.iter().map(|(label, value)| format!("{label}=\"{value}\""));
        let labels = labels.collect::<Vec<_>>().join(",");
        writeln!(self.0, "{PREFIX}{name}{{{labels}}} {value}")
    }

    fn histogram(&mut self, name: &str, help: &str, took: &Histogram) -> fmt::Result {
        self.family(name, "histogram", help)?;
        let (below, all, sum) = took.read();
        let bucket = format!("{name}_bucket");
        for (bound, count) in BUCKET_BOUNDS.iter().zip(below) {
            self.labelled(&bucket, &[("le", &bound.as_secs_f64().to_string())], count)?;
        }
        self.labelled(&bucket, &[("le", "+Inf")], all)?;
        writeln!(self.0, "{PREFIX}{name}_sum {}", sum.as_secs_f64())?;
        writeln!(self.0, "{PREFIX}{name}_count {all}")
    }
}

const PREFIX: &str = "nexudus_proxy_";
