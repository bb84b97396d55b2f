//! `/v1/status`: the state of the daemon in one response.

use super::api::{API_VERSION, ClientStatus, RequestCounts, Status};
use super::context::AdminContext;
use crate::clients;
use crate::config::format_rate;
use crate::telemetry;
use crate::throttle::Throttle;

/// Returns the current state of the daemon.
pub(super) fn status(context: &AdminContext) -> Status {
    let server = &context.server;
    let runtime = context.runtime_state();
    Status {
        api: API_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        profile: server.profile.clone(),
        phase: runtime.lifecycle,
        readiness: context.readiness(runtime.lifecycle),
        uptime_s: server.started.elapsed().as_secs(),
        listening: server.listening.clone(),
        upstream: server.upstream.clone(),
        proxy: Some(server.proxy.clone()),
        ca_file: server.ca_file.clone(),
        session: context.session_report(),
        renewals: context.telemetry.metrics.renewals(),
        requests: requests(context),
        clients: context.clients.statuses().map(|clients| clients.iter().map(client).collect()),
        throttle: context.throttle.status(),
        host_throttles: context.host_throttles.iter().map(Throttle::status).collect(),
        fleet: context.fleet_status(),
        authorities: context.authority_reports(),
        config: server.config.clone(),
        settings: runtime.settings,
        restart_needed: runtime.restart_needed,
        log_dropped: telemetry::dropped(),
    }
}

fn client(status: &clients::ClientStatus) -> ClientStatus {
    let clients::ClientStatus {
        name,
        limits,
        is_expired,
        requests,
        refused,
        idle,
        counted,
        budgets,
        ..
    } = status;
    let formatted = |time| humantime::format_rfc3339_seconds(time).to_string();
    ClientStatus {
        name: name.clone(),
        may: limits.to_string(),
        rate: limits.rate.map(format_rate),
        expires: limits.expires.map(formatted),
        expired: *is_expired,
        max_requests: limits.max_requests,
        used: *counted,
        left: limits.max_requests.zip(*counted).map(|(max, used)| max.saturating_sub(used)),
        requests: *requests,
        refused: *refused,
        idle_s: idle.map(|idle| idle.as_secs()),
        budgets: budgets.clone(),
    }
}

fn requests(context: &AdminContext) -> RequestCounts {
    let metrics = &context.telemetry.metrics;
    let mut requests = RequestCounts {
        in_flight: context.in_flight.get() as u64,
        connections: metrics.connections().1,
        by_code: metrics.problems().into_iter().map(|(code, n)| (code.to_owned(), n)).collect(),
        ..RequestCounts::default()
    };
    for (_, class, count) in metrics.requests().filter(|(_, _, count)| *count > 0) {
        requests.total += count;
        *requests.by_status.entry(class.to_owned()).or_default() += count;
    }
    requests
}
