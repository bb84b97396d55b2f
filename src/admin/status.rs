//! `/v1/status`: what a person or a program wants to know, in one answer.

use super::Shared;
use super::wire::{API, Client, Pace, Requests, Session, Status, Throttle, Trouble};
use crate::clients;
use crate::config::write_pace;
use crate::session::{self, Word};
use crate::telemetry;
use crate::throttle;

/// Tells what is so now.
pub(super) fn status(shared: &Shared) -> Status {
    let facts = &shared.facts;
    let now = shared.now();
    Status {
        api: API,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        profile: facts.profile.clone(),
        phase: now.phase,
        readiness: shared.readiness(now.phase),
        uptime_s: facts.started.elapsed().as_secs(),
        listening: facts.listening.clone(),
        upstream: facts.upstream.clone(),
        proxy: Some(facts.proxy.clone()),
        ca_file: facts.ca_file.clone(),
        session: shared.session_now(),
        renewals: shared.record.tally.renewals(),
        requests: requests(shared),
        clients: shared.clients.view().map(|views| views.iter().map(client).collect()),
        throttle: throttle(&shared.throttle.view()),
        host_throttles: shared.host_throttles.iter().map(|it| throttle(&it.view())).collect(),
        config: facts.config.clone(),
        settings: now.settings,
        restart_needed: now.restart_needed,
        log_dropped: telemetry::dropped(),
    }
}

/// Says what `view` says, over the wire.
pub(super) fn session(view: &session::View) -> Session {
    let seconds = |duration: Option<std::time::Duration>| duration.map(|it| it.as_secs());
    Session {
        state: word(view.state).to_owned(),
        renewing: view.renewing,
        generation: view.generation,
        account: view.account.clone(),
        source: view.source.clone(),
        sources: vec![],
        halves: vec![],
        resumed: view.source.is_none() && view.expires_in.is_some(),
        store: view.store.kind.to_owned(),
        store_reason: view.store.why.clone(),
        age_s: seconds(view.age),
        expires_in_s: seconds(view.expires_in),
        renews_in_s: seconds(view.renews_in),
        refresh_token_expires_in_s: seconds(view.refresh_token_expires_in),
        error: view.error.as_ref().map(|error| Trouble {
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
pub(super) const WORDS: [Word; 10] = [
    Word::Starting,
    Word::Ready,
    Word::Waiting,
    Word::Locked,
    Word::NotLoggedIn,
    Word::Refused,
    Word::TotpRequired,
    Word::PasswordReset,
    Word::Expired,
    Word::CredentialsUnavailable,
];

pub(super) fn word(word: Word) -> &'static str {
    match word {
        Word::Starting => "starting",
        Word::Ready => "ready",
        Word::Waiting => "waiting",
        Word::Locked => "locked",
        Word::NotLoggedIn => "not-logged-in",
        Word::Refused => "refused",
        Word::TotpRequired => "totp-required",
        Word::PasswordReset => "password-reset",
        Word::Expired => "expired",
        Word::CredentialsUnavailable => "credentials-unavailable",
    }
}

fn throttle(view: &throttle::View) -> Throttle {
    Throttle { reads: pace(&view.reads), writes: pace(&view.writes), own: pace(&view.own) }
}

fn pace(kind: &throttle::Kind) -> Pace {
    let millis = |it: std::time::Duration| it.as_millis().try_into().unwrap_or(u64::MAX);
    let paced = match kind.paced {
        throttle::Paced::Nothing => "nothing",
        throttle::Paced::Shape => "shape",
        throttle::Paced::All => "all",
    };
    Pace {
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

fn client(view: &clients::View) -> Client {
    let clients::View { name, limits, is_over, requests, refused, idle, counted, .. } = view;
    let written = |time| humantime::format_rfc3339_seconds(time).to_string();
    Client {
        name: name.clone(),
        may: limits.to_string(),
        rate: limits.rate.map(write_pace),
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

fn requests(shared: &Shared) -> Requests {
    let tally = &shared.record.tally;
    let mut requests = Requests {
        in_flight: shared.in_flight.read() as u64,
        connections: tally.connections().1,
        by_code: tally.answers().into_iter().map(|(code, n)| (code.to_owned(), n)).collect(),
        ..Requests::default()
    };
    for (_, class, count) in tally.requests().filter(|(_, _, count)| *count > 0) {
        requests.total += count;
        *requests.by_status.entry(class.to_owned()).or_default() += count;
    }
    requests
}
