//! The overview of `status --watch`: what the page of `ui` shows first, in 24 lines of 80 columns.

use std::env;

use super::{
    Row, format_client, format_pace, format_rows, format_title, format_token, hint_rows, paces,
    requests,
};
use crate::admin::api::{HistoryReport, Status};
use crate::admin::format::format_duration;
use crate::cli::Printer;
use crate::cli::globals::GlobalArgs;

/// Formats a picture.
pub(super) fn format_overview(
    status: &Status,
    history: &HistoryReport,
    globals: &GlobalArgs,
    print: Printer,
) -> String {
    let mut rows = vec![("state", sentence(status, print))];
    rows.extend(hint_rows(status, globals, print));
    rows.push(("token", format_token(&status.session.status)));
    rows.push(("requests", requests(&status.requests)));
    rows.push(("per minute", per_minute(history)));
    rows.push(("latency", latency(history)));
    rows.extend(paces(&status.throttle).into_iter().map(|(name, pace)| (name, format_pace(pace))));
    rows.push(("memory", memory(history)));
    rows.extend(clients(status, print));
    if !status.requests.by_code.is_empty() {
        let codes = status.requests.by_code.iter().map(|(code, count)| format!("{count} {code}"));
        rows.push(("refused", codes.collect::<Vec<_>>().join("  ")));
    }
    rows.extend(events(history, print));
    format_title(status, print) + &format_rows(&rows, print)
}

/// Whether it is up, for whom, and until when.
fn sentence(status: &Status, print: Printer) -> String {
    let session = &status.session.status;
    let reason = status.readiness.reasons.first().filter(|_| !status.readiness.ready);
    if let Some(reason) = reason {
        let sentence = format!("Not ready: {} ({}).", reason.sentence, reason.code);
        return print.style("31", &sentence);
    }
    let renews = session.renews_in.map(|left| left.as_secs());
    let renews = renews.map(|left| format!(", token renews in {}", format_duration(left)));
    let account = session.account.as_deref();
    let account =
        account.map(|account| format!(" Logged in as {account}{}.", renews.unwrap_or_default()));
    let colour = if session.degraded.is_some() || session.error.is_some() { "33" } else { "32" };
    print.style(colour, &format!("Ready.{}", account.unwrap_or_default()))
}

/// The requests of the latest minutes, a letter for each minute.
fn per_minute(history: &HistoryReport) -> String {
    let minutes = history.time.len();
    let all: Vec<u64> = (minutes.saturating_sub(MINUTES)..minutes)
        .map(|at| history.requests.values().filter_map(|column| column.get(at)).sum())
        .collect();
    let most = all.iter().copied().max().unwrap_or_default();
    let now = all.last().copied().unwrap_or_default();
    let letters = if is_utf8() { BLOCKS } else { ASCII };
    format!("{} {now} now, {most} at most", curve(&all, letters))
}

/// Draws each value as a letter, the largest as the last of `letters`.
fn curve(values: &[u64], letters: [char; 8]) -> String {
    let most = values.iter().copied().max().unwrap_or_default().max(1);
    let last = letters.len() as u64 - 1;
    let letter = |value: &u64| letters[usize::try_from((value * last).div_ceil(most)).unwrap_or(0)];
    values.iter().map(letter).collect()
}

/// The latest minute in which a request ended.
fn latency(history: &HistoryReport) -> String {
    let column = |name: &str| history.latency_ms.get(&format!("{name}_p95"));
    let at = column("total").and_then(|total| total.iter().rposition(Option::is_some));
    let Some(at) = at else { return "unknown: no request has ended".to_owned() };
    let value = |name: &str| {
        let value = column(name).and_then(|column| column.get(at).copied().flatten());
        value.map_or_else(|| "unknown".to_owned(), |value| format!("{value:.0} ms"))
    };
    format!(
        "{} for 95 of 100: Nexudus {}, queue {}, token {}",
        value("total"),
        value("upstream"),
        value("queue"),
        value("token")
    )
}

fn memory(history: &HistoryReport) -> String {
    let memory = history.memory_bytes.last().copied().flatten();
    memory.map_or_else(
        || "unknown".to_owned(),
        |bytes| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
    )
}

/// The first clients: more than a few leave no room for anything else.
fn clients(status: &Status, print: Printer) -> Vec<Row> {
    let all = status.clients.as_deref().unwrap_or_default();
    let shown = all.iter().take(MAX_CLIENTS).enumerate();
    let mut rows: Vec<Row> = shown
        .map(|(at, client)| (if at == 0 { "clients" } else { "" }, format_client(client, print)))
        .collect();
    if all.len() > MAX_CLIENTS {
        rows.push(("", format!("and {} more", all.len() - MAX_CLIENTS)));
    }
    rows
}

/// The latest events of the session, the newest first.
fn events(history: &HistoryReport, print: Printer) -> Vec<Row> {
    let latest = history.events.iter().rev().take(MAX_EVENTS).enumerate();
    let row = |(at, event): (usize, &crate::admin::api::SessionEvent)| {
        let ago = format_duration(history.now.saturating_sub(event.time));
        let colour = match event.kind.as_str() {
            "failed" | "unready" => "31",
            "locked" => "33",
            _ => "0",
        };
        let name = if at == 0 { "session" } else { "" };
        (name, print.style(colour, &format!("{ago} ago: {}", event.sentence)))
    };
    latest.map(row).collect()
}

/// Says whether the terminal shows more than ASCII, as its locale says.
fn is_utf8() -> bool {
    let names = ["LC_ALL", "LC_CTYPE", "LANG"];
    let set = names.iter().filter_map(|name| env::var(name).ok()).find(|value| !value.is_empty());
    set.is_some_and(|locale| locale.to_ascii_lowercase().replace('-', "").contains("utf8"))
}

/// Minutes that are drawn: with the name of the row and two figures of four digits they fit into 80 columns.
const MINUTES: usize = 40;

/// Most clients that are shown.
const MAX_CLIENTS: usize = 4;

/// Most events that are shown.
const MAX_EVENTS: usize = 5;

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

const ASCII: [char; 8] = ['_', '.', ':', '-', '=', '+', '*', '#'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_reaches_from_nothing_to_the_most() {
        assert_eq!(curve(&[0, 1, 7, 14], ASCII), "_.=#");
        assert_eq!(curve(&[0, 0], BLOCKS), "▁▁");
        assert_eq!(curve(&[], BLOCKS), "");
        assert_eq!(curve(&[5], ASCII), "#");
    }

    #[test]
    fn the_latest_minute_with_requests_tells_the_latency() {
        let column = |values: [Option<f32>; 3]| values.to_vec();
        let latency_ms = [
            ("total_p95".to_owned(), column([Some(1.0), Some(40.4), None])),
            ("upstream_p95".to_owned(), column([Some(1.0), Some(36.0), None])),
            ("queue_p95".to_owned(), column([None; 3])),
        ];
        let history = HistoryReport { latency_ms: latency_ms.into(), ..HistoryReport::default() };

        let told = latency(&history);

        assert_eq!(told, "40 ms for 95 of 100: Nexudus 36 ms, queue unknown, token unknown");
        assert!(latency(&HistoryReport::default()).starts_with("unknown"));
    }
}
