//! `/metrics`: the text format of Prometheus, written by hand.
//!
//! A library would add locks and families to a few dozen numbers, and writes OpenMetrics, whose
//! counters Prometheus' own linter reads as untyped. A peer cannot choose the value of a label.

use std::fmt::{self, Display, Write as _};
use std::time::Duration;

use super::context::AdminContext;
use crate::session::SessionState;
use crate::telemetry::{self, BUCKET_BOUNDS, Histogram};
use crate::throttle::{LimiterStatus, ThrottleStatus};
use crate::upstream::ConnectionStats;

/// Returns every metric.
pub(super) fn metrics(context: &AdminContext) -> String {
    let mut text = MetricsText::default();
    // Writing to a String cannot fail.
    let _ = write(context, &mut text);
    text.0
}

fn write(context: &AdminContext, to: &mut MetricsText) -> fmt::Result {
    to.family("build_info", "gauge", "The running version.")?;
    to.labelled("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1)?;
    let uptime = context.server.started.elapsed().as_secs_f64();
    to.single("uptime_seconds", "gauge", "Time since the start.", uptime)?;
    let ready = context.readiness(context.runtime_state().lifecycle).ready;
    to.single("ready", "gauge", "Whether a request could be served now.", u8::from(ready))?;
    requests(context, to)?;
    session(context, to)?;
    fleet(context, to)?;
    throttle(context, to)?;
    upstreams(context, to)?;
    let dropped = telemetry::dropped();
    to.single("log_lines_dropped_total", "counter", "Log lines lost to a slow reader.", dropped)
}

/// Writes the metrics of requests and connections.
fn requests(context: &AdminContext, to: &mut MetricsText) -> fmt::Result {
    let metrics = &context.telemetry.metrics;
    to.family("requests_total", "counter", "Requests, by kind of method and class of status.")?;
    for (kind, class, count) in metrics.requests() {
        to.labelled("requests_total", &[("kind", kind), ("status", class)], count)?;
    }
    to.family("answers_total", "counter", "Responses of the daemon's own, by code.")?;
    for (code, count) in metrics.problems() {
        to.labelled("answers_total", &[("code", code)], count)?;
    }
    let help = "Actions that Nexudus says have failed, by kind of method and the way it says so.";
    to.family("action_failures_total", "counter", help)?;
    for (kind, failure, count) in metrics.failures() {
        to.labelled("action_failures_total", &[("kind", kind), ("failure", failure)], count)?;
    }
    to.histogram("request_duration_seconds", "From head to last byte.", metrics.durations())?;
    for (stage, times) in metrics.stages() {
        let name = format!("request_{stage}_seconds");
        to.histogram(&name, &format!("The part that the {stage} took."), times)?;
    }
    let in_flight = context.in_flight.get();
    to.single("requests_in_flight", "gauge", "Requests in flight.", in_flight)?;
    to.single("response_bytes_total", "counter", "Bytes of response bodies.", metrics.bytes())?;
    let (all, open) = metrics.connections();
    to.single("connections_total", "counter", "Local connections.", all)?;
    to.single("connections_open", "gauge", "Local connections that are open.", open)?;
    data_threads(context, to)
}

/// Writes what each data thread carries; threads are numbered from 1.
fn data_threads(context: &AdminContext, to: &mut MetricsText) -> fmt::Result {
    let loads = context.telemetry.threads.loads();
    let numbered = || (1..).map(|number: usize| number.to_string()).zip(&loads);
    to.family("data_thread_requests_total", "counter", "Requests, by data thread.")?;
    for (thread, load) in numbered() {
        to.labelled("data_thread_requests_total", &[("thread", &thread)], load.requests())?;
    }
    to.family("data_thread_connections", "gauge", "Open local connections, by data thread.")?;
    for (thread, load) in numbered() {
        to.labelled("data_thread_connections", &[("thread", &thread)], load.open())?;
    }
    Ok(())
}

/// Writes the metrics of the session.
fn session(context: &AdminContext, to: &mut MetricsText) -> fmt::Result {
    let status = context.session.status();
    to.family("session_state", "gauge", "1 for the state that the session is in.")?;
    for state in SessionState::ALL {
        let is_current = u8::from(status.state == state);
        to.labelled("session_state", &[("state", state.as_str())], is_current)?;
    }
    let renewals = context.telemetry.metrics.renewals();
    to.single("token_renewals_total", "counter", "New tokens.", renewals)?;
    to.single("token_generation", "gauge", "Number of the token.", status.generation)?;
    let seconds = |duration: Option<Duration>| duration.map_or(0.0, |it| it.as_secs_f64());
    let left = seconds(status.expires_in);
    to.single("token_expires_in_seconds", "gauge", "Time until the token expires.", left)?;
    let left = seconds(status.refresh_token_expires_in);
    let help = "Time until the refresh token expires.";
    to.single("refresh_token_expires_in_seconds", "gauge", help, left)?;
    let degraded = u8::from(status.degraded.is_some());
    to.single("degraded", "gauge", "Whether an error is handled and limits the daemon.", degraded)
}

/// Writes the metrics of the fleet, where this machine is in one.
fn fleet(context: &AdminContext, to: &mut MetricsText) -> fmt::Result {
    let Some(fleet) = context.fleet_status() else { return Ok(()) };
    let connected = u8::from(fleet.connected);
    to.single("fleet_engine_up", "gauge", "Whether the engine of the fleet answers.", connected)?;
    let silent = fleet.silent_s.unwrap_or_default();
    let help = "Time since the last answer of the engine.";
    to.single("fleet_engine_silent_seconds", "gauge", help, silent)?;
    let present = fleet.members.iter().filter(|member| member.is_present()).count();
    to.single("fleet_members", "gauge", "Members that the engine has heard of lately.", present)?;
    let apart = u8::from(fleet.apart);
    to.single("fleet_apart", "gauge", "Whether a session of its own is served.", apart)?;
    let behind = u8::from(fleet.behind);
    to.single(
        "fleet_engine_behind",
        "gauge",
        "Whether the engine lost what members know.",
        behind,
    )?;
    if !fleet.clients_shared {
        return Ok(());
    }
    to.single("fleet_clients", "gauge", "Named clients of the fleet.", fleet.clients)?;
    let help = "Named clients that are refused, because their records do not open.";
    to.single("fleet_clients_unopened", "gauge", help, fleet.clients_unopened)?;
    let stale = u8::from(fleet.clients_stale);
    to.single("fleet_clients_stale", "gauge", "Whether callers with keys are refused.", stale)
}

/// Writes the metrics of throttling, for the API and each `[[host]]`.
fn throttle(context: &AdminContext, to: &mut MetricsText) -> fmt::Result {
    let mut kinds = vec![];
    for (at, throttle) in
        std::iter::once(&context.throttle).chain(&context.host_throttles).enumerate()
    {
        let ThrottleStatus { reads, writes, own } = throttle.status();
        let host = host_label(at);
        let named = [("read", reads), ("write", writes), ("own", own)];
        kinds.extend(named.map(|(kind, status)| (host.clone(), kind, status)));
    }
    for (name, kind, help, value) in THROTTLE_METRICS {
        to.family(name, kind, help)?;
        for (host, kind, status) in &kinds {
            to.labelled(name, &[("host", host), ("kind", kind)], value(status))?;
        }
    }
    Ok(())
}

/// Writes the metrics of the connections to the API and to each `[[host]]`.
fn upstreams(context: &AdminContext, to: &mut MetricsText) -> fmt::Result {
    let hosts = context.upstreams.iter().enumerate();
    let stats: Vec<_> = hosts.map(|(at, it)| (host_label(at), it.connection_stats())).collect();
    let name = "upstream_handshakes_total";
    to.family(name, "counter", "TLS handshakes: connections that were opened.")?;
    for (host, stats) in &stats {
        to.labelled(name, &[("host", host), ("kind", "full")], stats.full_handshakes)?;
        to.labelled(name, &[("host", host), ("kind", "resumed")], stats.resumed_handshakes)?;
    }
    for (name, kind, help, value) in UPSTREAM_METRICS {
        to.family(name, kind, help)?;
        for (host, stats) in &stats {
            to.labelled(name, &[("host", host)], value(stats))?;
        }
    }
    Ok(())
}

/// Names the API and each `[[host]]`, in the order of the configuration.
fn host_label(at: usize) -> String {
    if at == 0 { "api".to_owned() } else { at.to_string() }
}

type ReadCount = fn(&ConnectionStats) -> u64;

/// Name, type, help and value of the metrics of each host's connections.
const UPSTREAM_METRICS: [(&str, &str, &str, ReadCount); 3] = [
    ("upstream_connections_opened_total", "counter", "Connections that were opened.", |it| {
        it.full_handshakes + it.resumed_handshakes
    }),
    ("upstream_connections_idle", "gauge", "Open connections without a request.", |it| {
        it.idle as u64
    }),
    ("upstream_reads_raced_total", "counter", "Reads sent again off a silent connection.", |it| {
        it.raced_reads
    }),
];

type ReadValue = fn(&LimiterStatus) -> f64;

/// Name, type, help and value of the metrics of each kind of requests.
const THROTTLE_METRICS: [(&str, &str, &str, ReadValue); 10] = [
    ("throttle_paused_seconds", "gauge", "Time that Nexudus has asked to wait.", |it| {
        it.paused_ms.map_or(0.0, |left| left as f64 / 1_000.0)
    }),
    ("throttle_waiting", "gauge", "Requests in the queue.", |it| it.waiting as f64),
    ("throttle_requests_this_minute", "gauge", "Requests sent.", |it| it.minute as f64),
    ("throttle_requests_today", "gauge", "Requests sent (UTC).", |it| it.day as f64),
    ("throttle_answers_total", "counter", "Throttle responses of Nexudus.", |it| {
        it.throttled as f64
    }),
    ("throttle_replays_total", "counter", "Requests sent again.", |it| it.replayed as f64),
    ("throttle_refused_total", "counter", "Requests that were not permitted in time.", |it| {
        it.refused as f64
    }),
    ("throttle_paced_by_fleet", "gauge", "Whether the fleet hands out the slots.", |it| {
        f64::from(u8::from(it.paced_by == "fleet"))
    }),
    (
        "throttle_paced_by_share",
        "gauge",
        "Whether a share is used, cut off from the fleet.",
        |it| f64::from(u8::from(it.paced_by == "share")),
    ),
    ("throttle_wait_seconds_total", "counter", "Time that requests have waited.", |it| {
        it.waited_ms as f64 / 1_000.0
    }),
];

/// The text so far.
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

    /// Writes a sample. Labels are our own words: no character in them needs escaping.
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

    fn histogram(&mut self, name: &str, help: &str, times: &Histogram) -> fmt::Result {
        self.family(name, "histogram", help)?;
        let (below, all, sum) = times.read();
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
