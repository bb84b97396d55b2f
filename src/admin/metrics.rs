//! `/metrics`: the text format of Prometheus, written by hand.
//!
//! A library would bring locks and families to what is a few dozen numbers, and speaks OpenMetrics,
//! whose counters Prometheus' own linter reads as untyped. No label is chosen by a caller.

use std::fmt::{self, Display, Write as _};

use super::{Shared, health, status};
use crate::telemetry::{self, BOUNDS, Took};
use crate::throttle;

/// Writes every metric.
pub(super) fn metrics(shared: &Shared) -> String {
    let mut text = Text::default();
    // A String takes whatever is written to it.
    let _ = write(shared, &mut text);
    text.0
}

fn write(shared: &Shared, to: &mut Text) -> fmt::Result {
    let tally = &shared.record.tally;
    let (phase, view) = (shared.now().phase, shared.session.view());

    to.family("build_info", "gauge", "The running version.")?;
    to.labelled("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1)?;
    let uptime = shared.facts.started.elapsed().as_secs_f64();
    to.one("uptime_seconds", "gauge", "Time since the start.", uptime)?;
    let ready = health::readiness(&shared.session, phase).ready;
    to.one("ready", "gauge", "Whether a request could be served now.", u8::from(ready))?;

    to.family("requests_total", "counter", "Requests, by kind of method and class of status.")?;
    for (kind, class, count) in tally.requests() {
        to.labelled("requests_total", &[("kind", kind), ("status", class)], count)?;
    }
    to.family("answers_total", "counter", "Answers of the daemon's own, by code.")?;
    for (code, count) in tally.answers() {
        to.labelled("answers_total", &[("code", code)], count)?;
    }
    to.histogram("request_duration_seconds", "From head to last byte.", tally.took())?;
    for (part, took) in tally.parts() {
        let name = format!("request_{part}_seconds");
        to.histogram(&name, &format!("The part that the {part} took."), took)?;
    }
    let in_flight = shared.in_flight.read();
    to.one("requests_in_flight", "gauge", "Requests being answered.", in_flight)?;
    to.one("response_bytes_total", "counter", "Bytes of answers' bodies.", tally.bytes())?;
    let (all, open) = tally.connections();
    to.one("connections_total", "counter", "Local connections.", all)?;
    to.one("connections_open", "gauge", "Local connections that are open.", open)?;

    to.family("session_state", "gauge", "1 for the state that the session is in.")?;
    for word in status::WORDS {
        let is_so = u8::from(view.state == word);
        to.labelled("session_state", &[("state", status::word(word))], is_so)?;
    }
    to.one("token_renewals_total", "counter", "New tokens.", tally.renewals())?;
    to.one("token_generation", "gauge", "Number of the token.", view.generation)?;
    let seconds =
        |duration: Option<std::time::Duration>| duration.map_or(0.0, |it| it.as_secs_f64());
    let left = seconds(view.expires_in);
    to.one("token_expires_in_seconds", "gauge", "Time that the token has left.", left)?;
    let lapse = seconds(view.refresh_token_expires_in);
    to.one("refresh_token_expires_in_seconds", "gauge", "Time until it lapses.", lapse)?;
    throttle(shared, to)?;
    let degraded = u8::from(view.degraded.is_some());
    to.one("degraded", "gauge", "Whether something is handled, but wrong.", degraded)?;
    let dropped = telemetry::dropped();
    to.one("log_lines_dropped_total", "counter", "Log lines lost to a slow reader.", dropped)
}

/// Writes what pacing does, for the API and each `[[host]]`.
fn throttle(shared: &Shared, to: &mut Text) -> fmt::Result {
    let mut kinds = vec![];
    for (at, throttle) in
        std::iter::once(&shared.throttle).chain(&shared.host_throttles).enumerate()
    {
        let throttle::View { reads, writes, own } = throttle.view();
        let host = if at == 0 { "api".to_owned() } else { at.to_string() };
        let named = [("read", reads), ("write", writes), ("own", own)];
        kinds.extend(named.map(|(kind, view)| (host.clone(), kind, view)));
    }
    for (name, kind, help, value) in THROTTLE {
        to.family(name, kind, help)?;
        for (host, kind, view) in &kinds {
            to.labelled(name, &[("host", host), ("kind", kind)], value(view))?;
        }
    }
    Ok(())
}

type Read = fn(&throttle::Kind) -> f64;

/// Name, type, help and value of what is told of each kind of requests.
const THROTTLE: [(&str, &str, &str, Read); 8] = [
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
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) -> fmt::Result {
        writeln!(self.0, "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}")
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) -> fmt::Result {
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

    fn histogram(&mut self, name: &str, help: &str, took: &Took) -> fmt::Result {
        self.family(name, "histogram", help)?;
        let (below, all, sum) = took.read();
        let bucket = format!("{name}_bucket");
        for (bound, count) in BOUNDS.iter().zip(below) {
            self.labelled(&bucket, &[("le", &bound.as_secs_f64().to_string())], count)?;
        }
        self.labelled(&bucket, &[("le", "+Inf")], all)?;
        writeln!(self.0, "{PREFIX}{name}_sum {}", sum.as_secs_f64())?;
        writeln!(self.0, "{PREFIX}{name}_count {all}")
    }
}

const PREFIX: &str = "nexudus_proxy_";
