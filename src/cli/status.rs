//! `status`: everything that the daemon knows.

mod overview;
mod watch;

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::daemon_client::{connect, find_demo};
use super::globals::{DaemonScope, GlobalArgs};
use super::waiting::{DAEMON, say_waiting};
use super::{CliError, Printer, serve, service};
use crate::admin::api::{
    AuthorityReport, AuthorityTrouble, ClientStatus, FleetStatus, LimiterStatus, RequestCounts,
    Status, ThrottleStatus,
};
use crate::admin::client::AdminClient;
use crate::admin::format::{format_duration, pluralize};
use crate::problem::ExitCode;
use crate::session::{LastError, SessionState, SessionStatus};

/// The arguments of `status`.
#[derive(clap::Args, Debug)]
pub(super) struct StatusArgs {
    /// Show it again every two seconds, until `q` or Ctrl-C
    #[arg(long)]
    watch: bool,
}

/// Prints the status.
pub(super) fn run(args: &StatusArgs, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    service::require_unfailed(globals)?;
    let showing = async {
        if args.watch { watch::watch(globals, print).await } else { show(globals, print).await }
    };
    serve::control_runtime()?.block_on(showing).map_err(|error| {
        let is_absent = error.exit_code() == ExitCode::NotRunning;
        if is_absent { service::explain_absence(globals, error) } else { error }
    })
}

async fn show(globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let daemon = find(globals, print).await?;
    if globals.json {
        // Unparsed: a newer daemon may know more than this command.
        return print.json(&fetch::<Json>(&daemon, print).await?);
    }
    let status = fetch::<Status>(&daemon, print).await?;
    print.raw(format_status(&status, globals, print).as_bytes())
}

/// Finds the daemon that serves; where none does, a `demo` that runs.
pub(super) async fn find(globals: &GlobalArgs, print: Printer) -> Result<AdminClient, CliError> {
    let error = match connect(globals).await {
        Ok(daemon) => return Ok(daemon),
        Err(error) => error,
    };
    if error.exit_code() != ExitCode::NotRunning || globals.scope() == DaemonScope::System {
        return Err(error);
    }
    let Some(demo) = find_demo().await else { return Err(error) };
    if !print.is_quiet() && !globals.json {
        print.note(&format!("this is the `demo` that runs (process {}); no daemon runs", demo.pid));
    }
    Ok(demo.admin)
}

async fn fetch<T: DeserializeOwned>(daemon: &AdminClient, print: Printer) -> Result<T, CliError> {
    Ok(say_waiting(print, DAEMON, daemon.get("/v1/status")).await?)
}

/// A name and its value; an empty name continues the row above.
type Row = (&'static str, String);

fn format_status(status: &Status, globals: &GlobalArgs, print: Printer) -> String {
    let parts = [
        session_rows(status, globals, print),
        address_rows(status),
        traffic_rows(status, print),
        maintenance_rows(status, globals, print),
    ];
    format_title(status, print) + &format_rows(&parts.concat(), print)
}

fn format_title(status: &Status, print: Printer) -> String {
    let title = print.style("1", &format!("nexudus-proxy {}", status.version));
    let up = format_duration(status.uptime_s);
    format!("{title}  profile {}, up {up}, process {}\n", status.profile, status.pid)
}

fn format_rows(rows: &[Row], print: Printer) -> String {
    let mut text = String::new();
    for (name, value) in rows {
        let line = format!("  {} {value}", print.style("2", &format!("{name:<10}")));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Whether the daemon can serve, for which account, and what prevents it.
fn session_rows(status: &Status, globals: &GlobalArgs, print: Printer) -> Vec<Row> {
    let session = &status.session;
    let mut rows = vec![("state", state(status, print))];
    rows.extend(hint_rows(status, globals, print));
    rows.push(("account", account(&session.status)));
    rows.extend(session.halves.iter().map(|half| ("passed by", print.style("33", half))));
    rows.push(("token", format_token(&session.status)));
    rows.push((
        "stored",
        format!("{}: {}", session.status.store.kind, session.status.store.reason),
    ));
    rows.extend(status.fleet.as_ref().map(|fleet| ("fleet", format_fleet(fleet, print))));
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

/// How many machines share the session, and whether their engine answers.
fn format_fleet(fleet: &FleetStatus, print: Printer) -> String {
    let present = fleet.members.iter().filter(|member| member.is_present()).count();
    let members = pluralize(present as u64, "member");
    if fleet.connected {
        return format!("{members}; more with `nexudus-proxy fleet status`");
    }
    print.style("33", &format!("cut off; {members} when it was last heard of"))
}

/// The ways out of what prevents it.
fn hint_rows(status: &Status, globals: &GlobalArgs, print: Printer) -> Vec<Row> {
    let hints = status.readiness.reasons.iter().filter_map(|reason| without_status(&reason.hint));
    hints.map(|hint| ("", print.style("2", &globals.as_typed(&hint)))).collect()
}

/// Drops the advice to run this very command; `None` if the hint has no other.
fn without_status(hint: &str) -> Option<String> {
    let is_other = |part: &&str| !(part.contains("`nexudus-proxy ") && part.contains(" status`"));
    if is_other(&hint) {
        return Some(hint.to_owned());
    }
    let parts: Vec<_> = hint.trim_end_matches('.').split("; ").filter(is_other).collect();
    (!parts.is_empty()).then(|| format!("{}.", parts.join("; ")))
}

/// The addresses of the daemon and of its upstreams.
fn address_rows(status: &Status) -> Vec<Row> {
    let mut rows = vec![("listening", listening(status))];
    rows.extend(status.listening.hosts.iter().map(|host| {
        let places: Vec<_> = host.tcp.iter().map(ToString::to_string).collect();
        ("", format!("{} → {}", places.join("  "), host.upstream))
    }));
    rows.extend(status.listening.tls.iter().map(|address| ("", format!("https://{address}"))));
    if let Some(forward) = &status.listening.forward_proxy {
        let others = if forward.tunnels { "go through" } else { "are refused" };
        let what = format!("forward proxy; hosts that are not configured {others}");
        rows.push(("proxy", format!("{}: {what}", forward.tcp)));
    }
    if let Some(address) = status.listening.admin_tcp {
        rows.push(("admin", format!("{address}: health and metrics")));
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
fn maintenance_rows(status: &Status, globals: &GlobalArgs, print: Printer) -> Vec<Row> {
    let mut rows = vec![];
    for trouble in status.authorities.iter().filter_map(AuthorityReport::trouble) {
        let AuthorityTrouble { finding, fix, .. } = trouble;
        rows.push(("ca", print.style("33", &finding)));
        rows.push(("", print.style("2", &globals.as_typed(&fix))));
    }
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
        Some(reason) if status.readiness.ready => {
            print.style("33", &format!("ready, but {} ({})", reason.sentence, reason.code))
        }
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
    if session.is_basic() {
        return format_basic(session);
    }
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

/// Returns one line about the login that stands in for a token.
fn format_basic(session: &SessionStatus) -> String {
    let mut text = "none: each request carries the login (upstream.auth is basic)".to_owned();
    match (session.state, session.age, session.renews_in) {
        (SessionState::Ready, Some(age), _) => {
            text.push_str(&format!(", proved {} ago", format_duration(age.as_secs())));
        }
        (_, _, Some(next)) => {
            let next = format_duration(next.as_secs());
            text.push_str(&format!(", not proved; next attempt in {next}"));
        }
        _ => text.push_str(", not proved"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::ProblemKind;

    #[test]
    fn the_status_never_advises_the_command_that_printed_it() {
        let hints = ProblemKind::ALL.iter().filter_map(|kind| kind.hint());
        for hint in hints {
            for hint in [hint.to_owned(), crate::config::with_profile_flag(hint, "work")] {
                let shown = without_status(&hint).unwrap_or_default();
                assert!(!shown.contains(" status`"), "{shown}");
                assert!(hint.contains(" status`") || shown == hint, "{shown}");
            }
        }
        assert_eq!(without_status("Wait; `nexudus-proxy status` says."), Some("Wait.".to_owned()));
    }
}
