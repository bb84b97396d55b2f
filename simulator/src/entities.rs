//! Lists, records, writes and commands of `/api/{area}/{entity}`.

use serde_json::{Value, json};

use crate::clock::{RequestTime, format_utc, unix_seconds};
use crate::data::{Record, Store};
use crate::path;
use crate::request::ReceivedRequest;
use crate::response::{SimulatedResponse, envelope, invalid};
use crate::state::SimulatorState;
use crate::user_object::user_object;

/// Answers a request below `/api`; `parts` are the rest of the path in lower case.
pub(crate) fn handle(
    state: &mut SimulatorState,
    request: &ReceivedRequest,
    parts: &[&str],
    now: RequestTime,
) -> SimulatedResponse {
    let query = path::pairs(path::split(&request.target).1);
    let (table, rest) = match parts {
        [area, entity, rest @ ..] if !entity.is_empty() => (format!("{area}/{entity}"), rest),
        _ => return SimulatedResponse::empty(404),
    };
    refresh_system_tables(state, &table, now);
    match (request.method.as_str(), rest) {
        ("GET" | "HEAD", []) => list(state, &table, &query, 25),
        ("GET" | "HEAD", ["commands"]) => SimulatedResponse::json(200, &json!([])),
        ("GET" | "HEAD", [id]) => match row(state, &table, id) {
            Some(record) => SimulatedResponse::json(200, &Value::Object(record)),
            None => SimulatedResponse::empty(404),
        },
        ("POST", []) => create(state, request, &table, now),
        ("POST", ["runcommand"]) => run_command(state, request, &table),
        ("PUT", []) => {
            let id = body(request).and_then(|record| record.get("Id")?.as_u64());
            update(state, request, &table, id, now)
        }
        ("PUT" | "PATCH", [id]) => update(state, request, &table, id.parse().ok(), now),
        ("DELETE", [_]) if DELETED_BY_COMMAND.contains(&table.as_str()) => {
            SimulatedResponse::empty(405).with_header("Allow", "GET, POST, PUT")
        }
        ("DELETE", [id]) => delete(state, &table, id.parse().ok(), now),
        ("OPTIONS", _) => {
            SimulatedResponse::empty(200).with_header("Allow", "GET, POST, PUT, DELETE")
        }
        ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE", _) => SimulatedResponse::empty(404),
        _ => SimulatedResponse::empty(405).with_header("Allow", "GET, POST, PUT, DELETE"),
    }
}

/// Returns one page in the exact envelope of Nexudus.
pub(crate) fn list(
    state: &mut SimulatorState,
    table: &str,
    query: &[(String, String)],
    default_size: usize,
) -> SimulatedResponse {
    let number = |name| path::value(query, name).and_then(|value| value.parse::<usize>().ok());
    let page = number("page").unwrap_or(1).max(1);
    let size = number("size").unwrap_or(default_size).max(1);
    let order = path::value(query, "orderBy").unwrap_or("Id").to_owned();
    let direction = path::value(query, "dir").unwrap_or("1").to_ascii_lowercase();
    let descending = matches!(direction.as_str(), "-1" | "descending" | "desc");
    let rows = state.store.table(table).rows.values();
    let mut rows = rows.filter(|row| matches(row, query)).collect::<Vec<_>>();
    rows.sort_by(|a, b| compare(field(a, &order), field(b, &order)));
    if descending {
        rows.reverse();
    }
    let total = rows.len();
    let pages = total.div_ceil(size);
    let start = (page - 1).saturating_mul(size).min(total);
    let records = &rows[start..start.saturating_add(size).min(total)];
    SimulatedResponse::json(
        200,
        &json!({
            "Records": records, "CurrentPage": page, "CurrentPageSize": size,
            "CurrentOrderField": order, "CurrentSortDirection": if descending { -1 } else { 1 },
            "FirstItem": if records.is_empty() { 0 } else { start + 1 },
            "LastItem": start + records.len(), "PageNumber": page, "PageSize": size,
            "TotalItems": total, "TotalPages": pages, "HasNextPage": page < pages,
            "HasPreviousPage": page > 1 && total > 0,
        }),
    )
}

/// `id=[1,2]`, `Entity_Field=…`, `from_Entity_Field=…`, `to_Entity_Field=…`; others are ignored.
fn matches(row: &Record, query: &[(String, String)]) -> bool {
    query.iter().filter(|(_, value)| !value.is_empty()).all(|(name, value)| {
        if name.eq_ignore_ascii_case("id") {
            let id = row.get("Id").and_then(Value::as_u64).unwrap_or_default();
            let mut ids = value.trim_matches(['[', ']']).split(',');
            return ids.any(|wanted| wanted.trim().parse() == Ok(id));
        }
        let lower = name.to_ascii_lowercase();
        let ranged = lower.strip_prefix("from_").or_else(|| lower.strip_prefix("to_"));
        let Some((_, wanted)) = ranged.unwrap_or(&lower).split_once('_') else { return true };
        let Some(found) = field(row, wanted) else { return true };
        let found = text(found);
        if lower.starts_with("from_") && ranged.is_some() {
            found >= *value
        } else if ranged.is_some() {
            found <= *value
        } else {
            found.eq_ignore_ascii_case(value)
        }
    })
}

fn field<'a>(row: &'a Record, name: &str) -> Option<&'a Value> {
    row.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn compare(a: Option<&Value>, b: Option<&Value>) -> std::cmp::Ordering {
    let number = |value: Option<&Value>| value.and_then(Value::as_f64);
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        _ => a.map(text).cmp(&b.map(text)),
    }
}

fn row(state: &mut SimulatorState, table: &str, id: &str) -> Option<Record> {
    state.store.table(table).rows.get(&id.parse().ok()?).cloned()
}

fn body(request: &ReceivedRequest) -> Option<Record> {
    serde_json::from_slice::<Value>(&request.body).ok()?.as_object().cloned()
}

fn create(
    state: &mut SimulatorState,
    request: &ReceivedRequest,
    table: &str,
    now: RequestTime,
) -> SimulatedResponse {
    let parsed = serde_json::from_slice::<Value>(&request.body).unwrap_or_default();
    if let Some(items) = parsed.as_array() {
        for record in items.iter().filter_map(Value::as_object) {
            state.store.table(table).add(record.clone());
        }
        return SimulatedResponse::empty(200);
    }
    let Some(mut record) = parsed.as_object().cloned() else {
        return SimulatedResponse::json(400, &json!({"Message": "The request is invalid."}));
    };
    if let Some(field) = Store::missing(table, &record) {
        return invalid(field);
    }
    if booking_ends_before_it_begins(&record) {
        let message = "The booking must end after it begins.";
        return SimulatedResponse::json(200, &envelope(500, message, Value::Null, false));
    }
    if table == "spaces/coworkers" && !state.may_create_coworker(now) {
        let status = state.settings.access.no_permission_status;
        return SimulatedResponse::text(status, "Access Denied");
    }
    let at = format_utc(unix_seconds(now.wall));
    record.insert("CreatedOn".to_owned(), at.clone().into());
    record.insert("UpdatedOn".to_owned(), at.into());
    let id = state.store.table(table).add(record);
    write_response(table, "created", id, now)
}

fn booking_ends_before_it_begins(record: &Record) -> bool {
    let time = |name| record.get(name).and_then(Value::as_str);
    time("FromTime").zip(time("ToTime")).is_some_and(|(from, to)| to <= from)
}

fn update(
    state: &mut SimulatorState,
    request: &ReceivedRequest,
    table: &str,
    id: Option<u64>,
    now: RequestTime,
) -> SimulatedResponse {
    let Some(changes) = body(request) else {
        return SimulatedResponse::json(400, &json!({"Message": "The request is invalid."}));
    };
    let Some(record) = id.and_then(|id| state.store.table(table).rows.get_mut(&id)) else {
        return SimulatedResponse::empty(404);
    };
    // A PUT is the whole record: what it leaves out is missing.
    if let Some(field) = Store::missing(table, &changes).filter(|_| request.method == "PUT") {
        return invalid(field);
    }
    record.extend(changes.into_iter().filter(|(name, _)| name != "Id"));
    record.insert("UpdatedOn".to_owned(), format_utc(unix_seconds(now.wall)).into());
    write_response(table, "updated", id.unwrap_or_default(), now)
}

fn delete(
    state: &mut SimulatorState,
    table: &str,
    id: Option<u64>,
    now: RequestTime,
) -> SimulatedResponse {
    let Some(id) = id else { return SimulatedResponse::empty(404) };
    if table == "sys/businesses" {
        let message = "This location has customers and cannot be deleted.";
        return SimulatedResponse::json(500, &envelope(500, message, Value::Null, false));
    }
    if table == "sys/refreshtokens" {
        state.tokens.revoke_refresh(id);
    }
    match state.store.table(table).rows.remove(&id) {
        Some(_) => write_response(table, "deleted", id, now),
        None => SimulatedResponse::empty(404),
    }
}

fn write_response(table: &str, deed: &str, id: u64, now: RequestTime) -> SimulatedResponse {
    let entity = table.split('/').next_back().unwrap_or(table).trim_end_matches('s');
    let message = format!("{entity} was successfully {deed}.");
    let mut reply = envelope(200, &message, json!({"Id": id}), true);
    reply["UpdatedOn"] = format_utc(unix_seconds(now.wall)).into();
    reply["UpdatedBy"] = crate::DEMO_EMAIL.into();
    SimulatedResponse::json(200, &reply)
}

/// Tables whose records are not deleted by DELETE but by a command.
const DELETED_BY_COMMAND: [&str; 3] =
    ["spaces/coworkers", "billing/coworkerinvoices", "billing/coworkercontracts"];

/// The commands that delete, as seen live.
const DELETE_COMMANDS: [&str; 3] =
    ["COWORKER_DELETE", "COWORKER_INVOICE_DELETE", "DELETE_CONTRACT"];

fn run_command(
    state: &mut SimulatorState,
    request: &ReceivedRequest,
    table: &str,
) -> SimulatedResponse {
    let Some(order) = body(request) else {
        return SimulatedResponse::json(400, &json!({"Message": "The request is invalid."}));
    };
    // Names are compared without regard to case, as Json.NET does.
    let listed = field(&order, "Ids").and_then(Value::as_array).cloned().unwrap_or_default();
    let ids = listed.len();
    let key = field(&order, "Key").and_then(Value::as_str).unwrap_or_default().to_uppercase();
    if key.is_empty() || ids == 0 {
        return invalid(if key.is_empty() { "Key" } else { "Ids" });
    }
    if DELETE_COMMANDS.contains(&key.as_str()) {
        let rows = &mut state.store.table(table).rows;
        listed.iter().filter_map(Value::as_u64).for_each(|id| drop(rows.remove(&id)));
    }
    let mut reply = envelope(200, "Command executed.", Value::Null, true);
    if key.ends_with("_PRINT") {
        state.store.downloads += 1;
        let kind = if ids == 1 { "pdf" } else { "zip" };
        // Raw spaces, as the real service sends them.
        reply["RedirectURL"] = format!(
            "/ContentDownload/DownloadTempDataFile?uniqueId={:08}&downloadFileName=Invoice {}.{kind}",
            state.store.downloads, state.store.downloads
        )
        .into();
    }
    SimulatedResponse::json(200, &reply)
}

/// Users and refresh tokens are what the simulator itself knows, not invented.
fn refresh_system_tables(state: &mut SimulatorState, table: &str, now: RequestTime) {
    let rows: Vec<Record> = match table {
        "sys/users" => {
            state.accounts.iter().filter_map(|a| user_object(a, now).as_object().cloned()).collect()
        }
        "sys/refreshtokens" => {
            let began = now.wall - now.time;
            let live = state.tokens.live_refresh(now.time);
            live.filter_map(|refresh| {
                json!({
                    "Id": refresh.id, "Subject": refresh.holder.account,
                    "ClientId": refresh.holder.client_id,
                    "ExpiresOn": format_utc(unix_seconds(began + refresh.expires)),
                    "ProtectedTicket": "simulated", "TicketHash": "simulated",
                    "TicketSalt": "simulated",
                })
                .as_object()
                .cloned()
            })
            .collect()
        }
        _ => return,
    };
    let id = |row: &Record| row.get("Id").and_then(Value::as_u64).unwrap_or_default();
    let table = state.store.table(table);
    table.rows = rows.into_iter().map(|row| (id(&row), row)).collect();
}
