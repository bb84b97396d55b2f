//! `status`: what the daemon knows.

use serde_json::Value as Json;

use super::reach::ask;
use super::{Failure, Globals, Print};
use crate::admin::wire::{Pace, Requests, Session, Status, Throttle, Trouble};
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

fn text(status: &Status, print: Print) -> String {
    let mut rows = vec![];
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    let session = &status.session;
    row("state", state(status, print));
    for reason in &status.readiness.reasons {
        row("", print.accent("2", &reason.hint));
    }
    row("account", account(session));
    for half in &session.halves {
        row("passed by", print.accent("33", half));
    }
    row("token", token(session));
    row("kept", format!("{}: {}", session.store, session.store_reason));
    if let Some(degraded) = &session.degraded {
        row("degraded", print.accent("33", degraded));
    }
    let is_told = |trouble: &&Trouble| {
        let told = status.readiness.reasons.iter().any(|reason| reason.code == trouble.code);
        !told || trouble.cause.is_some()
    };
    if let Some(error) = session.error.as_ref().filter(is_told) {
        let cause = error.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
        row("trouble", print.accent("33", &format!("{}{cause}", error.sentence)));
    }
    row("listening", listening(status));
    for host in &status.listening.hosts {
        let places: Vec<_> = host.tcp.iter().map(ToString::to_string).collect();
        row("", format!("{} → {}", places.join("  "), host.upstream));
    }
    row("upstream", status.upstream.clone());
    row("requests", requests(&status.requests));
    for (name, pace) in paces(&status.throttle) {
        row(name, throttle(pace));
    }
    for (host, paces_of_host) in status.listening.hosts.iter().zip(&status.host_throttles) {
        for (name, pace) in paces(paces_of_host).into_iter().filter(|(_, pace)| is_paced(pace)) {
            row(name, format!("{} ({})", throttle(pace), host.upstream));
        }
    }
    if !status.requests.by_code.is_empty() {
        let codes = status.requests.by_code.iter().map(|(code, count)| format!("{count} {code}"));
        row("refused", codes.collect::<Vec<_>>().join("  "));
    }
    if !status.restart_needed.is_empty() {
        let keys = status.restart_needed.join(", ");
        row("restart", print.accent("33", &format!("needed for {keys}")));
    }
    if status.log_dropped > 0 {
        row("log", format!("{} lost", count(status.log_dropped, "line")));
    }
    let title = print.accent("1", &format!("nexudus-proxy {}", status.version));
    let up = span(status.uptime_s);
    let mut text =
        format!("{title}  profile {}, up {up}, process {}\n", status.profile, status.pid);
    for (name, value) in rows {
        let line = format!("  {} {value}", print.accent("2", &format!("{name:<10}")));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
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
    let Some(left) = session.expires_in_s else {
        return match session.renews_in_s {
            Some(next) => format!("none, next attempt in {}", span(next)),
            None => "none".to_owned(),
        };
    };
    let mut text = format!("valid {}", span(left));
    if let Some(age) = session.age_s {
        text.push_str(&format!(", received {} ago", span(age)));
    }
    match (session.renewing, session.renews_in_s) {
        (true, _) => text.push_str(", being renewed"),
        (false, Some(next)) => text.push_str(&format!(", renewed in {}", span(next))),
        (false, None) => {}
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
