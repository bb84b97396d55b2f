//! `status`: everything that the daemon knows.

use serde_json::Value as Json;

use super::daemon_client::with_daemon;
use super::globals::GlobalArgs;
use super::{CliError, Printer, service};
use crate::admin::api::{ClientStatus, LimiterStatus, RequestCounts, Status, ThrottleStatus};
use crate::admin::format::{format_duration, pluralize};
use crate::session::{LastError, SessionStatus};

/// Prints the status.
pub(super) fn run(globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    service::require_unfailed(globals)?;
    show(globals, print).map_err(|error| service::explain_absence(globals, error))
}

fn show(globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    if globals.json {
        // Unparsed: a newer daemon may know more than this command.
        let status: Json =
            with_daemon(globals, async |daemon| Ok(daemon.get("/v1/status").await?))?;
        return print.json(&status);
    }
    let status: Status = with_daemon(globals, async |daemon| Ok(daemon.get("/v1/status").await?))?;
    print.raw(format_status(&status, print).as_bytes())
}

/// A name and its value; an empty name continues the row above.
type Row = (&'static str, String);

fn format_status(status: &Status, print: Printer) -> String {
    let title = print.style("1", &format!("nexudus-proxy {}", status.version));
    let up = format_duration(status.uptime_s);
    let mut text =
        format!("{title}  profile {}, up {up}, process {}\n", status.profile, status.pid);
    let parts = [
        session_rows(status, print),
        address_rows(status),
        traffic_rows(status, print),
        maintenance_rows(status, print),
    ];
    for (name, value) in parts.concat() {
        let line = format!("  {} {value}", print.style("2", &format!("{name:<10}")));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Whether the daemon can serve, for which account, and what prevents it.
fn session_rows(status: &Status, print: Printer) -> Vec<Row> {
    let session = &status.session;
    let mut rows = vec![("state", state(status, print))];
    let hints = status.readiness.reasons.iter().map(|reason| &reason.hint);
    rows.extend(hints.map(|hint| ("", print.style("2", hint))));
    rows.push(("account", account(&session.status)));
    rows.extend(session.halves.iter().map(|half| ("passed by", print.style("33", half))));
    rows.push(("token", format_token(&session.status)));
    rows.push((
        "stored",
        format!("{}: {}", session.status.store.kind, session.status.store.reason),
    ));
    if let Some(degraded) = &session.status.degraded {
        rows.push(("degraded", print.style("33", degraded)));
    }
    let has_news = |error: &&LastError| {
        let is_reason = status.readiness.reasons.iter().any(|reason| reason.code == error.code);
        !is_reason || error.cause.is_some()
    };
    if let Some(error) = session.status.error.as_ref().filter(has_news) {
        let cause = error.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
        rows.push(("error", print.style("33", &format!("{}{cause}", error.sentence))));
    }
    rows
}

/// The addresses of the daemon and of its upstreams.
fn address_rows(status: &Status) -> Vec<Row> {
    let mut rows = vec![("listening", listening(status))];
    rows.extend(status.listening.hosts.iter().map(|host| {
        let places: Vec<_> = host.tcp.iter().map(ToString::to_string).collect();
        ("", format!("{} → {}", places.join("  "), host.upstream))
    }));
    if let Some(address) = status.listening.admin_tcp {
        rows.push(("admin", format!("{address}: health, metrics and events")));
    }
    if let Some(address) = status.listening.health {
        rows.push(("health", format!("{address}: /healthz and /readyz")));
    }
    rows.push(("upstream", status.upstream.clone()));
    rows
}

/// Requests, clients and pace.
fn traffic_rows(status: &Status, print: Printer) -> Vec<Row> {
    let mut rows = vec![("requests", requests(&status.requests))];
    match &status.clients {
        Some(clients) if clients.is_empty() => rows.push(("clients", "none".to_owned())),
        Some(clients) => rows.extend(clients.iter().enumerate().map(|(at, known)| {
            (if at == 0 { "clients" } else { "" }, format_client(known, print))
        })),
        None => {
            let unreadable = "unreadable: every client key is refused";
            rows.push(("clients", print.style("31", unreadable)));
        }
    }
    rows.extend(paces(&status.throttle).into_iter().map(|(name, pace)| (name, format_pace(pace))));
    for (host, throttles) in status.listening.hosts.iter().zip(&status.host_throttles) {
        let paced = paces(throttles).into_iter().filter(|(_, pace)| is_paced(pace));
        let describe = |pace| format!("{} ({})", format_pace(pace), host.upstream);
        rows.extend(paced.map(|(name, pace)| (name, describe(pace))));
    }
    if !status.requests.by_code.is_empty() {
        let codes = status.requests.by_code.iter().map(|(code, count)| format!("{count} {code}"));
        rows.push(("refused", codes.collect::<Vec<_>>().join("  ")));
    }
    rows
}

/// Things that need a person: restarts, lost log lines.
fn maintenance_rows(status: &Status, print: Printer) -> Vec<Row> {
    let mut rows = vec![];
    if !status.restart_needed.is_empty() {
        let keys = status.restart_needed.join(", ");
        rows.push(("restart", print.style("33", &format!("needed for {keys}"))));
    }
    if status.log_dropped > 0 {
        rows.push(("log", format!("{} lost", pluralize(status.log_dropped, "line"))));
    }
    rows
}

fn state(status: &Status, print: Printer) -> String {
    match status.readiness.reasons.first() {
        None => print.style("32", "ready"),
        Some(reason) => {
            print.style("31", &format!("not ready: {} ({})", reason.sentence, reason.code))
        }
    }
}

fn account(session: &SessionStatus) -> String {
    let account = session.account.as_deref().unwrap_or("none");
    let access = match session.api_access {
        Some(false) => ", without API access",
        Some(true) | None => "",
    };
    match &session.source {
        Some(source) if session.resumed => {
            format!("{account}, session resumed; a login would be read from {source}{access}")
        }
        None if session.resumed => {
            format!("{account}, session resumed; no source holds a login{access}")
        }
        Some(source) => format!("{account}, login from {source}{access}"),
        None => format!("{account}{access}"),
    }
}

/// Returns one line about the token.
pub(super) fn format_token(session: &SessionStatus) -> String {
    let left = session.expires_in.map(|left| left.as_secs());
    let mut text =
        left.map_or_else(|| "none".to_owned(), |left| format!("valid {}", format_duration(left)));
    if let Some(age) = session.age {
        text.push_str(&format!(", last refresh {} ago", format_duration(age.as_secs())));
    }
    if left.is_none() {
        let next = session
            .renews_in
            .map(|next| format!(", next attempt in {}", format_duration(next.as_secs())));
        return text + &next.unwrap_or_default();
    }
    match (session.renewing, session.renews_in) {
        (true, _) => text.push_str(", the next is on its way"),
        (false, Some(next)) => {
            text.push_str(&format!(", next in {}", format_duration(next.as_secs())))
        }
        (false, None) => {}
    }
    text
}

/// The limits of a client, and what is left of them: `agent: read only, 5/s; 12 of 100 used, last
/// 3m ago`.
fn format_client(client: &ClientStatus, print: Printer) -> String {
    let name = &client.name;
    if client.expired {
        return format!("{name}: {}", print.style("31", "expired"));
    }
    let rate = client.rate.iter().map(|rate| format!(", {rate}"));
    let mut text = format!("{name}: {}{}; ", client.may, rate.collect::<String>());
    match (client.max_requests, client.used) {
        (Some(most), Some(used)) if used >= most => {
            text.push_str(&print.style("31", &format!("all {most} used up")));
        }
        (Some(most), Some(used)) => text.push_str(&format!("{used} of {most} used")),
        (Some(most), None) => text.push_str(&format!("unknown of {most} used")),
        (None, _) => text.push_str(&pluralize(client.requests, "request")),
    }
    if client.refused > 0 {
        text.push_str(&format!(", {} refused", client.refused));
    }
    if let Some(idle) = client.idle_s {
        text.push_str(&format!(", last {} ago", format_duration(idle)));
    }
    text
}

/// The limiters to show: the one of the daemon's own requests is shown only while it delays them.
fn paces(throttle: &ThrottleStatus) -> Vec<(&'static str, &LimiterStatus)> {
    let own = Some(("tokens", &throttle.own)).filter(|(_, pace)| is_paced(pace));
    [("reads", &throttle.reads), ("writes", &throttle.writes)].into_iter().chain(own).collect()
}

fn is_paced(pace: &LimiterStatus) -> bool {
    pace.paced != "nothing"
}

fn format_pace(pace: &LimiterStatus) -> String {
    let LimiterStatus { state, minute, day, throttled, above_published, .. } = pace;
    let mut text = format!("{state}; {minute} this minute, {day} today");
    if *above_published {
        text.push_str(", as many as Nexudus has published as its limit for a day");
    }
    match throttled {
        0 => {}
        1 => text.push_str(", throttled once"),
        times => text.push_str(&format!(", throttled {times} times")),
    }
    text
}

fn listening(status: &Status) -> String {
    let listening = &status.listening;
    let tcp = listening.tcp.iter().map(ToString::to_string);
    let unix = listening.unix.iter().map(|path| path.display().to_string());
    let places: Vec<_> = tcp.chain(unix).collect();
    if listening.activated {
        format!("{} (opened by the service manager)", places.join("  "))
    } else {
        places.join("  ")
    }
}

fn requests(requests: &RequestCounts) -> String {
    let classes = requests.by_status.iter().map(|(class, count)| match class.as_str() {
        "none" => format!("{count} abandoned"),
        class => format!("{count} {class}"),
    });
    let classes: Vec<_> = classes.collect();
    let classes =
        if classes.is_empty() { String::new() } else { format!(" ({})", classes.join(", ")) };
    let RequestCounts { total, in_flight, connections, .. } = requests;
    format!(
        "{total}{classes}, {in_flight} in flight, {} open",
        pluralize(*connections, "connection")
    )
}
