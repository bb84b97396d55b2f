//! `status`: what the daemon knows.

use serde_json::Value as Json;

use super::reach::ask;
use super::{Failure, Globals, Print};
use crate::admin::wire::{Client, Pace, Requests, Session, Status, Throttle, Trouble};
use crate::admin::words::{count, span};

/// Prints it.
pub(super) fn run(globals: &Globals, print: Print) -> Result<(), Failure> {
    if globals.json {
        // As it came: a newer daemon may know more than this command.
        let status: Json = ask(globals, async |daemon| Ok(daemon.get("/v1/status").await?))?;
        return print.json(&status);
    }
    let status: Status = ask(globals, async |daemon| Ok(daemon.get("/v1/status").await?))?;
    print.raw(text(&status, print).as_bytes())
}

/// A name and what there is to say of it; without a name it goes on with the row above.
type Row = (&'static str, String);

fn text(status: &Status, print: Print) -> String {
    let title = print.accent("1", &format!("nexudus-proxy {}", status.version));
    let up = span(status.uptime_s);
    let mut text =
        format!("{title}  profile {}, up {up}, process {}\n", status.profile, status.pid);
    let parts = [session(status, print), places(status), work(status, print), rest(status, print)];
    for (name, value) in parts.concat() {
        let line = format!("  {} {value}", print.accent("2", &format!("{name:<10}")));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Whether it can serve, as whom, and what is in the way.
fn session(status: &Status, print: Print) -> Vec<Row> {
    let session = &status.session;
    let mut rows = vec![("state", state(status, print))];
    let hints = status.readiness.reasons.iter().map(|reason| &reason.hint);
    rows.extend(hints.map(|hint| ("", print.accent("2", hint))));
    rows.push(("account", account(session)));
    rows.extend(session.halves.iter().map(|half| ("passed by", print.accent("33", half))));
    rows.push(("token", token(session)));
    rows.push(("kept", format!("{}: {}", session.store, session.store_reason)));
    if let Some(degraded) = &session.degraded {
        rows.push(("degraded", print.accent("33", degraded)));
    }
    let is_told = |trouble: &&Trouble| {
        let told = status.readiness.reasons.iter().any(|reason| reason.code == trouble.code);
        !told || trouble.cause.is_some()
    };
    if let Some(error) = session.error.as_ref().filter(is_told) {
        let cause = error.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
        rows.push(("trouble", print.accent("33", &format!("{}{cause}", error.sentence))));
    }
    rows
}

/// Where it listens, and where requests go.
fn places(status: &Status) -> Vec<Row> {
    let mut rows = vec![("listening", listening(status))];
    rows.extend(status.listening.hosts.iter().map(|host| {
        let places: Vec<_> = host.tcp.iter().map(ToString::to_string).collect();
        ("", format!("{} → {}", places.join("  "), host.upstream))
    }));
    if let Some(address) = status.listening.admin_tcp {
        rows.push(("admin", format!("{address}: health, metrics and events")));
    }
    rows.push(("upstream", status.upstream.clone()));
    rows
}

/// What was asked of it, by whom, and how fast that may go on.
fn work(status: &Status, print: Print) -> Vec<Row> {
    let mut rows = vec![("requests", requests(&status.requests))];
    match &status.clients {
        Some(clients) if clients.is_empty() => rows.push(("clients", "none".to_owned())),
        Some(clients) => rows.extend(
            clients
                .iter()
                .enumerate()
                .map(|(at, known)| (if at == 0 { "clients" } else { "" }, client(known, print))),
        ),
        None => {
            let unreadable = "unreadable: every client key is refused";
            rows.push(("clients", print.accent("31", unreadable)));
        }
    }
    rows.extend(paces(&status.throttle).into_iter().map(|(name, pace)| (name, throttle(pace))));
    for (host, throttles) in status.listening.hosts.iter().zip(&status.host_throttles) {
        let paced = paces(throttles).into_iter().filter(|(_, pace)| is_paced(pace));
        let told = |pace| format!("{} ({})", throttle(pace), host.upstream);
        rows.extend(paced.map(|(name, pace)| (name, told(pace))));
    }
    if !status.requests.by_code.is_empty() {
        let codes = status.requests.by_code.iter().map(|(code, count)| format!("{count} {code}"));
        rows.push(("refused", codes.collect::<Vec<_>>().join("  ")));
    }
    rows
}

/// What a person may want to do about it.
fn rest(status: &Status, print: Print) -> Vec<Row> {
    let mut rows = vec![];
    if !status.restart_needed.is_empty() {
        let keys = status.restart_needed.join(", ");
        rows.push(("restart", print.accent("33", &format!("needed for {keys}"))));
    }
    if status.log_dropped > 0 {
        rows.push(("log", format!("{} lost", count(status.log_dropped, "line"))));
    }
    rows
}

fn state(status: &Status, print: Print) -> String {
    match status.readiness.reasons.first() {
        None => print.accent("32", "ready"),
        Some(reason) => {
            print.accent("31", &format!("not ready: {} ({})", reason.sentence, reason.code))
        }
    }
}

fn account(session: &Session) -> String {
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

/// Says what there is of a token, in a line.
pub(super) fn token(session: &Session) -> String {
    let left = session.expires_in_s;
    let mut text = left.map_or_else(|| "none".to_owned(), |left| format!("valid {}", span(left)));
    if let Some(age) = session.age_s {
        text.push_str(&format!(", last refresh {} ago", span(age)));
    }
    if left.is_none() {
        let next = session.renews_in_s.map(|next| format!(", next attempt in {}", span(next)));
        return text + &next.unwrap_or_default();
    }
    match (session.renewing, session.renews_in_s) {
        (true, _) => text.push_str(", the next is on its way"),
        (false, Some(next)) => text.push_str(&format!(", next in {}", span(next))),
        (false, None) => {}
    }
    text
}

/// What it may, and what is left of that: `agent: read only, 5/s; 12 of 100 used, last 3m ago`.
fn client(client: &Client, print: Print) -> String {
    let name = &client.name;
    if client.expired {
        return format!("{name}: {}", print.accent("31", "expired"));
    }
    let rate = client.rate.iter().map(|rate| format!(", {rate}"));
    let mut text = format!("{name}: {}{}; ", client.may, rate.collect::<String>());
    match (client.max_requests, client.used) {
        (Some(most), Some(used)) if used >= most => {
            text.push_str(&print.accent("31", &format!("all {most} used up")));
        }
        (Some(most), Some(used)) => text.push_str(&format!("{used} of {most} used")),
        (Some(most), None) => text.push_str(&format!("unknown of {most} used")),
        (None, _) => text.push_str(&count(client.requests, "request")),
    }
    if client.refused > 0 {
        text.push_str(&format!(", {} refused", client.refused));
    }
    if let Some(idle) = client.idle_s {
        text.push_str(&format!(", last {} ago", span(idle)));
    }
    text
}

/// The daemon's own calls are of interest only while they are held back.
fn paces(throttle: &Throttle) -> Vec<(&'static str, &Pace)> {
    let own = Some(("tokens", &throttle.own)).filter(|(_, pace)| is_paced(pace));
    [("reads", &throttle.reads), ("writes", &throttle.writes)].into_iter().chain(own).collect()
}

fn is_paced(pace: &Pace) -> bool {
    pace.paced != "nothing"
}

fn throttle(pace: &Pace) -> String {
    let Pace { state, minute, day, throttled, above_published, .. } = pace;
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
    match listening.activated {
        true => format!("{} (opened by the service manager)", places.join("  ")),
        false => places.join("  "),
    }
}

fn requests(requests: &Requests) -> String {
    let classes = requests.by_status.iter().map(|(class, count)| match class.as_str() {
        "none" => format!("{count} abandoned"),
        class => format!("{count} {class}"),
    });
    let classes: Vec<_> = classes.collect();
    let classes = match classes.is_empty() {
        true => String::new(),
        false => format!(" ({})", classes.join(", ")),
    };
    let Requests { total, in_flight, connections, .. } = requests;
    format!("{total}{classes}, {in_flight} in flight, {} open", count(*connections, "connection"))
}
