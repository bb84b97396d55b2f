//! `/v1/status`: what a person or a program wants to know, in one answer.

use super::AdminContext;
use super::api::{
    API_VERSION, ClientStatus, LastError, LimiterStatus, RequestCounts, SessionStatus, Status,
    ThrottleStatus,
};
use crate::clients;
use crate::config::format_rate;
use crate::session::{self, SessionState};
use crate::telemetry;
use crate::throttle;

/// Tells what is so now.
pub(super) fn status(shared: &AdminContext) -> Status {
    let facts = &shared.server;
    let now = shared.runtime_state();
    Status {
        api: API_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        profile: facts.profile.clone(),
        phase: now.lifecycle,
        readiness: shared.readiness(now.lifecycle),
        uptime_s: facts.started.elapsed().as_secs(),
        listening: facts.listening.clone(),
        upstream: facts.upstream.clone(),
        proxy: Some(facts.proxy.clone()),
        ca_file: facts.ca_file.clone(),
        session: shared.session_status(),
        renewals: shared.telemetry.metrics.renewals(),
        requests: requests(shared),
        clients: shared.clients.statuses().map(|views| views.iter().map(client).collect()),
        throttle: throttle(&shared.throttle.status()),
        host_throttles: shared.host_throttles.iter().map(|it| throttle(&it.status())).collect(),
        config: facts.config.clone(),
        settings: now.settings,
        restart_needed: now.restart_needed,
        log_dropped: telemetry::dropped(),
    }
}

/// Says what `view` says, over the wire.
pub(super) fn session(view: &session::SessionStatus) -> SessionStatus {
    let seconds = |duration: Option<std::time::Duration>| duration.map(|it| it.as_secs());
    SessionStatus {
        state: state_name(view.state).to_owned(),
        renewing: view.renewing,
        generation: view.generation,
        account: view.account.clone(),
        source: view.source.clone(),
        sources: vec![],
        halves: vec![],
        resumed: view.source.is_none() && view.expires_in.is_some(),
        store: view.store.kind.to_owned(),
        store_reason: view.store.reason.clone(),
        age_s: seconds(view.age),
        expires_in_s: seconds(view.expires_in),
        renews_in_s: seconds(view.renews_in),
        refresh_token_expires_in_s: seconds(view.refresh_token_expires_in),
        error: view.error.as_ref().map(|error| LastError {
            code: error.code.to_owned(),
            sentence: error.sentence.clone(),
            cause: error.cause.clone(),
            hint: error.hint.to_owned(),
        }),
        degraded: view.degraded.clone(),
        api_access: view.api_access,
        advice: view.advice.clone(),
    }
}

/// Every word of a session's state.
pub(super) const SESSION_STATES: [SessionState; 10] = [
    SessionState::Starting,
    SessionState::Ready,
    SessionState::Waiting,
    SessionState::Locked,
    SessionState::NotLoggedIn,
    SessionState::Refused,
    SessionState::TotpRequired,
    SessionState::PasswordReset,
    SessionState::Expired,
    SessionState::CredentialsUnavailable,
];

pub(super) fn state_name(word: SessionState) -> &'static str {
    match word {
        SessionState::Starting => "starting",
        SessionState::Ready => "ready",
        SessionState::Waiting => "waiting",
        SessionState::Locked => "locked",
        SessionState::NotLoggedIn => "not-logged-in",
        SessionState::Refused => "refused",
        SessionState::TotpRequired => "totp-required",
        SessionState::PasswordReset => "password-reset",
        SessionState::Expired => "expired",
        SessionState::CredentialsUnavailable => "credentials-unavailable",
    }
}

fn throttle(view: &throttle::ThrottleStatus) -> ThrottleStatus {
    ThrottleStatus { reads: pace(&view.reads), writes: pace(&view.writes), own: pace(&view.own) }
}

fn pace(kind: &throttle::LimiterStatus) -> LimiterStatus {
    let millis = |it: std::time::Duration| it.as_millis().try_into().unwrap_or(u64::MAX);
    let paced = match kind.paced {
        throttle::PacedScope::Nothing => "nothing",
        throttle::PacedScope::Shape => "shape",
        throttle::PacedScope::All => "all",
    };
    LimiterStatus {
        state: kind.to_string(),
        paced: paced.to_owned(),
        path: kind.path.clone(),
        paused_ms: kind.paused.map(millis),
        waiting: kind.waiting as u64,
        callers: kind.callers as u64,
        windows: kind.windows.iter().map(ToString::to_string).collect(),
        learned: kind.learned,
        minute: kind.minute,
        day: kind.day,
        above_published: kind.above_published,
        throttled: kind.throttled,
        replayed: kind.replayed,
        refused: kind.refused,
        waited_ms: millis(kind.waited),
    }
}

fn client(view: &clients::ClientStatus) -> ClientStatus {
    let clients::ClientStatus {
        name,
        limits,
        is_expired: is_over,
        requests,
        refused,
        idle,
        counted,
        ..
    } = view;
    let written = |time| humantime::format_rfc3339_seconds(time).to_string();
    ClientStatus {
        name: name.clone(),
        may: limits.to_string(),
        rate: limits.rate.map(format_rate),
        expires: limits.expires.map(written),
        expired: *is_over,
        max_requests: limits.max_requests,
        used: *counted,
        left: limits.max_requests.zip(*counted).map(|(most, used)| most.saturating_sub(used)),
        requests: *requests,
        refused: *refused,
        idle_s: idle.map(|idle| idle.as_secs()),
    }
}

fn requests(shared: &AdminContext) -> RequestCounts {
    let tally = &shared.telemetry.metrics;
    let mut requests = RequestCounts {
        in_flight: shared.in_flight.get() as u64,
        connections: tally.connections().1,
        by_code: tally.problems().into_iter().map(|(code, n)| (code.to_owned(), n)).collect(),
        ..RequestCounts::default()
    };
    for (_, class, count) in tally.requests().filter(|(_, _, count)| *count > 0) {
        requests.total += count;
        *requests.by_status.entry(class.to_owned()).or_default() += count;
    }
    requests
}
