//! Which answer belongs to which path, once the request has got that far.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use crate::account::Account;
use crate::clock::RequestTime;
use crate::recorder::ExecutedWrite;
use crate::request::ReceivedRequest;
use crate::response::{self, ResponseBody, SimulatedResponse, envelope};
use crate::settings::UnauthorizedStyle;
use crate::state::SimulatorState;
use crate::user_object::{portal_token, user_object};
use crate::{entities, path, token_endpoint};

/// Answers a request, changing the state when it is a write.
pub(crate) fn route(
    state: &mut SimulatorState,
    request: &ReceivedRequest,
    now: RequestTime,
) -> SimulatedResponse {
    let lower = request.path().trim_end_matches('/').to_ascii_lowercase();
    if lower == "/api/token" {
        return token_endpoint::handle_token_request(state, request, now);
    }
    if let Some(answer) = public_route(state, request, &lower) {
        return answer;
    }
    let Some(account) = authenticate(state, request, now) else {
        state.record_default_note(request.id, "no valid token");
        return unauthorized(state.settings.access.refusal, request);
    };
    state.record_account(request.id, &account.email);
    if !has_permission(state, &account, &lower) {
        state.record_note(request.id, "no permission");
        return SimulatedResponse::empty(state.settings.access.no_permission_status);
    }
    let answer = serve_account(state, request, &account, &lower, now);
    if !request.is_read() && answer.status < 300 {
        state.recording.writes.push(ExecutedWrite {
            id: request.id,
            method: request.method.clone(),
            target: request.target.clone(),
            body: request.body.to_vec(),
            account: account.email.clone(),
        });
    }
    answer
}

fn public_route(
    state: &mut SimulatorState,
    request: &ReceivedRequest,
    lower: &str,
) -> Option<SimulatedResponse> {
    let query = path::pairs(path::split(&request.target).1);
    match lower {
        "" => Some(SimulatedResponse::html(200, response::login_page())),
        "/login" | "/en/login" => Some(SimulatedResponse::html(200, response::login_page())),
        "/api/sys/businesses/getbyhost" => {
            let host = path::value(&query, "host").unwrap_or_default();
            let rows = &state.store.table("sys/businesses").rows;
            let found = rows.values().find(|row| row.get("WebAddress") == Some(&host.into()));
            Some(match found {
                Some(row) => {
                    let body = json!({"Id": row.get("Id"), "WebAddress": host});
                    SimulatedResponse::json(200, &body)
                }
                None => SimulatedResponse::empty(404),
            })
        }
        _ if lower.starts_with("/api/public/") && request.is_read() => {
            let (listed, size) = (lower.trim_start_matches("/api/public/"), 15);
            let name = listed.split('/').next().unwrap_or_default();
            if name == "coworkers" {
                return None;
            }
            Some(entities::list(state, &format!("spaces/{name}"), &query, size))
        }
        _ => None,
    }
}

fn authenticate(
    state: &mut SimulatorState,
    request: &ReceivedRequest,
    now: RequestTime,
) -> Option<Account> {
    if let Some(token) = request.bearer() {
        let host = state.settings.token.per_host.then(|| request.host());
        let email = state.tokens.account(token, host, now.time)?;
        return state.account(email).cloned();
    }
    let (scheme, encoded) = request.header("authorization")?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || !state.settings.access.basic {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (email, password) = decoded.split_once(':')?;
    let (account, key) = (state.account(email)?.clone(), email.to_ascii_lowercase());
    if state.logins.lockout_left(&state.settings.token, &key, now.time).is_some() {
        state.record_note(request.id, "locked out after failed logins");
        return None;
    }
    if account.password != password {
        // Each is a failed login, as at the token endpoint.
        state.record_note(request.id, "wrong password");
        state.logins.record_failure(&key, now.time);
        return None;
    }
    let allowed = account.totp_secret.is_none() || state.settings.access.basic_with_totp;
    if !allowed || account.suspended {
        return None;
    }
    state.logins.forget(&key);
    Some(account)
}

fn has_permission(state: &SimulatorState, account: &Account, lower: &str) -> bool {
    let is_me = lower == "/api/auth/me" || lower.ends_with("/user/me");
    if is_me {
        return account.api_access || state.settings.access.me_without_api_access;
    }
    let forbidden = account.forbidden.iter().chain(&state.settings.access.forbidden);
    let mut forbidden = forbidden.filter(|prefix| path::starts_with(lower, prefix));
    let needs_access = lower.starts_with("/api/") && !lower.starts_with("/api/public/");
    forbidden.next().is_none() && (account.api_access || !needs_access)
}

fn unauthorized(refusal: UnauthorizedStyle, request: &ReceivedRequest) -> SimulatedResponse {
    match refusal {
        UnauthorizedStyle::Empty => SimulatedResponse::empty(401),
        UnauthorizedStyle::Json => {
            let message = "Authorization has been denied for this request.";
            SimulatedResponse::json(401, &json!({"Message": message}))
        }
        UnauthorizedStyle::Html => SimulatedResponse::html(401, response::error_page(401)),
        UnauthorizedStyle::Redirect => SimulatedResponse::html(302, "<h2>Object moved</h2>")
            .with_header("Location", format!("/login?returnUrl={}", request.path())),
        UnauthorizedStyle::LoginPage => SimulatedResponse::html(200, response::login_page()),
    }
}

fn serve_account(
    state: &mut SimulatorState,
    request: &ReceivedRequest,
    account: &Account,
    lower: &str,
    now: RequestTime,
) -> SimulatedResponse {
    if lower == "/api/auth/me" || lower.ends_with("/user/me") {
        return SimulatedResponse::json(200, &user_object(account, now));
    }
    if request.is_echo() {
        return echo(request);
    }
    if lower.starts_with("/contentdownload/") || lower.starts_with("/reportcenter/") {
        return download(request);
    }
    if lower == "/api/public/coworkers/profiles" {
        let body =
            json!({"User": user_object(account, now), "DefaultBusiness": null, "Profiles": []});
        return SimulatedResponse::json(200, &body);
    }
    let parts = lower.split('/').skip(1).collect::<Vec<_>>();
    match parts.as_slice() {
        ["en", "basket", "createinvoice"] if request.method == "POST" => {
            SimulatedResponse::empty(200)
        }
        ["api", "public", ..] if !request.is_read() => SimulatedResponse::empty(200),
        ["api", "sys", "users", "validate"] if request.method == "POST" => {
            validate(state, request, now)
        }
        ["api", "sys", "users", "token", "refresh"] => one_time_token(state, request, account, now),
        ["api", "sys", "users", id, "token", "refresh"] => match id.parse() {
            Ok(id) => impersonation(state, id, now),
            Err(_) => SimulatedResponse::empty(404),
        },
        ["api", "spaces" | "billing" | "sys" | "crm" | "content" | "apps" | "support", ..] => {
            entities::handle(state, request, &parts[1..], now)
        }
        _ => SimulatedResponse::empty(404),
    }
}

fn validate(
    state: &mut SimulatorState,
    request: &ReceivedRequest,
    now: RequestTime,
) -> SimulatedResponse {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let given = |field: &str| body.get(field).and_then(Value::as_str).unwrap_or_default();
    let account = state.account(given("Email")).filter(|a| a.password == given("Password"));
    match account {
        Some(account) => {
            let user = user_object(account, now);
            SimulatedResponse::json(
                200,
                &envelope(200, "User was successfully validated.", user, true),
            )
        }
        None => {
            let message = "The email address or password you entered is not valid.";
            SimulatedResponse::json(500, &envelope(500, message, Value::Null, false))
        }
    }
}

fn one_time_token(
    state: &SimulatorState,
    request: &ReceivedRequest,
    account: &Account,
    now: RequestTime,
) -> SimulatedResponse {
    if request.method != "POST" {
        return SimulatedResponse::empty(405).with_header("Allow", "POST");
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let email = body.get("Email").and_then(Value::as_str).unwrap_or(&account.email);
    match state.account(email) {
        Some(account) => {
            let token = portal_token(account, now);
            SimulatedResponse::json(200, &json!({"WasSuccessful": true, "Value": token}))
        }
        None => SimulatedResponse::empty(404),
    }
}

fn impersonation(state: &SimulatorState, id: u64, now: RequestTime) -> SimulatedResponse {
    match state.accounts.iter().find(|account| account.id == id) {
        Some(account) => {
            let token = portal_token(account, now);
            SimulatedResponse::json(
                200,
                &envelope(200, "Token was successfully created.", token.into(), true),
            )
        }
        None => SimulatedResponse::empty(404),
    }
}

/// Says exactly what arrived.
fn echo(request: &ReceivedRequest) -> SimulatedResponse {
    let body = json!({
        "method": request.method, "target": request.target, "version": request.version,
        "authority": request.head.authority, "headers": request.head.headers,
        "body_length": request.body_length, "body_crc32": request.crc32, "body": String::from_utf8_lossy(&request.body),
    });
    SimulatedResponse::json(200, &body)
}

/// `?bytes=N` of the pattern; `?chunked=1` without a length; `?rate=N` bytes per second.
fn download(request: &ReceivedRequest) -> SimulatedResponse {
    let query = path::pairs(path::split(&request.target).1);
    let number = |name| path::value(&query, name).and_then(|value| value.parse::<u64>().ok());
    let name = path::value(&query, "downloadFileName").unwrap_or("download.bin");
    let mut answer =
        SimulatedResponse::with_body(200, Some("application/octet-stream"), bytes::Bytes::new())
            .with_header("Content-Disposition", format!("attachment; filename=\"{name}\""));
    answer.body = ResponseBody::Pattern(number("bytes").unwrap_or(64 * 1024));
    if path::value(&query, "chunked").is_some_and(|value| value != "0") {
        answer.delivery.framing = response::Framing::Chunked;
    }
    if let Some(rate) = number("rate").filter(|rate| *rate > 0) {
        // Twenty pieces a second look like a stream and keep the timer coarse.
        answer.delivery.chunk = (rate / 20).clamp(1, 64 * 1024) as usize;
        let piece = answer.delivery.chunk as f64;
        answer.delivery.pause = std::time::Duration::from_secs_f64(piece / rate as f64);
    }
    answer
}
