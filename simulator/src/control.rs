//! The control address: plain HTTP on loopback, so that shell scripts can turn every setting.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::duration_serde;
use crate::http1::{AfterResponse, Http1Stream};
use crate::path;
use crate::request::{ReceivedRequest, RequestHead};
use crate::response::SimulatedResponse;
use crate::settings::Settings;
use crate::state::SharedState;

/// Serves the control address for ever.
pub(crate) async fn listen(shared: Arc<SharedState>, listener: TcpListener) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                let _ = serve(&shared, stream).await;
            });
        }
    }
}

async fn serve(shared: &SharedState, stream: TcpStream) -> std::io::Result<()> {
    let mut wire = Http1Stream::new(stream);
    while let Some(head) = wire.read_head().await? {
        let request = ReceivedRequest::new(0, head.clone(), wire.read_body(&head).await?);
        let answer = handle(shared, &head, &request.body);
        let then = wire.send(&head, answer).await?;
        if then != AfterResponse::KeepAlive || head.asks_to_close() {
            break;
        }
    }
    wire.shutdown().await;
    Ok(())
}
fn handle(shared: &SharedState, head: &RequestHead, body: &[u8]) -> SimulatedResponse {
    let (path, query) = path::split(&head.target);
    let done = match (head.method.as_str(), path) {
        ("GET", "/") => return SimulatedResponse::text(200, overview()),
        ("GET", _) => show(shared, path, query),
        (method, _) => change(shared, method, path, body),
    };
    match done {
        Some(Ok(value)) => SimulatedResponse::json(200, &value),
        Some(Err(error)) => SimulatedResponse::json(400, &json!({"error": error})),
        None => SimulatedResponse::json(404, &json!({"error": "see GET /"})),
    }
}

/// Returns what stands at a path, or `None` where nothing does.
fn show(shared: &SharedState, path: &str, query: &str) -> Option<Result<Value, String>> {
    let shown = shared.read(|state| {
        Some(match path {
            "/knobs" => serde_json::to_value(&state.settings),
            "/seen" => {
                let after = path::value(&path::pairs(query), "after").and_then(|a| a.parse().ok());
                let seen =
                    state.recording.requests.iter().filter(|seen| seen.id > after.unwrap_or(0));
                serde_json::to_value(seen.collect::<Vec<_>>())
            }
            "/token-calls" => serde_json::to_value(&state.recording.token_calls),
            "/writes" => serde_json::to_value(&state.recording.writes),
            "/connections" => serde_json::to_value(state.recording.connections),
            "/accounts" => serde_json::to_value(&state.accounts),
            _ => return None,
        })
    });
    shown.map(to_json)
}

/// Does what is asked for, or returns `None` where nothing of the kind can be asked.
fn change(
    shared: &SharedState,
    method: &str,
    path: &str,
    body: &[u8],
) -> Option<Result<Value, String>> {
    let asked = || -> Result<Value, String> {
        match body {
            [] => Ok(Value::Null),
            body => serde_json::from_slice(body).map_err(|error| format!("not JSON: {error}")),
        }
    };
    Some(match (method, path) {
        ("PATCH" | "POST", "/knobs") => asked().and_then(|patch| change_settings(shared, &patch)),
        ("DELETE", "/knobs") => {
            shared.change(|state| state.settings = Settings::default());
            Ok(json!({}))
        }
        ("DELETE", "/seen") => {
            shared.change(|state| state.recording.clear());
            Ok(json!({}))
        }
        ("POST", "/accounts") => asked().and_then(|account| {
            let account = serde_json::from_value(account).map_err(|e| e.to_string())?;
            shared.change(|state| state.put_account(account));
            Ok(json!({}))
        }),
        ("POST", "/faults") => asked().and_then(|fault| {
            let fault = serde_json::from_value(fault).map_err(|error| error.to_string())?;
            shared.change(|state| state.settings.faults.push(fault));
            Ok(json!({}))
        }),
        ("POST", "/advance") => asked().and_then(|by| advance(shared, &by)),
        ("POST", "/revoke") => asked().and_then(|what| revoke(shared, &what)),
        ("POST", "/password") => asked().and_then(|change| password(shared, &change)),
        ("POST", "/close-idle") => {
            shared.sweep.send_modify(|count| *count += 1);
            Ok(json!({}))
        }
        ("POST", "/listening") => asked().map(|wanted| {
            shared.listening.send_replace(wanted.as_bool().unwrap_or(true));
            json!({})
        }),
        _ => return None,
    })
}

fn to_json(value: serde_json::Result<Value>) -> Result<Value, String> {
    value.map_err(|error| error.to_string())
}

fn change_settings(shared: &SharedState, patch: &Value) -> Result<Value, String> {
    shared.change(|state| {
        state.settings = state.settings.merged(patch)?;
        to_json(serde_json::to_value(&state.settings))
    })
}

fn advance(shared: &SharedState, by: &Value) -> Result<Value, String> {
    let amount = by.get("seconds").or_else(|| by.get("by")).unwrap_or(by);
    let text = amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
    shared.clock.advance(duration_serde::parse(&text)?);
    shared.change(|_| ());
    Ok(json!({"unix_time": crate::clock::unix_seconds(shared.clock.wall())}))
}

fn revoke(shared: &SharedState, what: &Value) -> Result<Value, String> {
    let token = what.get("token").and_then(Value::as_str);
    let kind = what.as_str().or_else(|| what.get("kind").and_then(Value::as_str));
    shared.change(|state| match (token, kind) {
        (Some(token), _) => Ok(json!({"known": state.tokens.revoke_access(token)})),
        (None, Some("access")) => {
            state.tokens.revoke_all_access();
            Ok(json!({}))
        }
        (None, Some("refresh")) => {
            state.tokens.revoke_all_refresh();
            Ok(json!({}))
        }
        (None, Some("all") | None) => {
            state.tokens.revoke_all_access();
            state.tokens.revoke_all_refresh();
            Ok(json!({}))
        }
        (None, Some(other)) => Err(format!("cannot revoke {other:?}: access, refresh or all")),
    })
}

fn password(shared: &SharedState, change: &Value) -> Result<Value, String> {
    let given = |name| change.get(name).and_then(Value::as_str).ok_or(format!("{name:?} missing"));
    let (email, new) = (given("email")?, given("password")?);
    shared.change(|state| {
        let account = state.accounts.iter_mut().find(|account| account.goes_by(email));
        account.ok_or("no such account")?.password = new.to_owned();
        if state.settings.token.revoke_on_password_change {
            state.tokens.revoke_account(email);
        }
        Ok(json!({}))
    })
}

fn overview() -> String {
    let defaults = serde_json::to_string_pretty(&Settings::default()).unwrap_or_default();
    format!(
        "{USAGE}\nKnobs and their defaults:\n{defaults}\n\n{}",
        crate::settings_reference::SETTINGS_REFERENCE
    )
}

const USAGE: &str = "\
Nexudus simulator, control address

GET    /knobs             every setting and its value
PATCH  /knobs             turn some: {\"token\": {\"access_life\": \"20s\"}}
DELETE /knobs             all back to their defaults
POST   /faults            add a fault: {\"path\": \"/api/x\", \"times\": 1, \"deed\": \"reset\"}
GET    /seen?after=ID     requests in order; DELETE forgets them
GET    /token-calls       calls of /api/token
GET    /writes            writes that were carried out
GET    /connections       accepted, open, failed handshakes
GET    /accounts          who can log in; POST adds or replaces one
POST   /advance           move the clock: {\"seconds\": 60} or \"15d\"
POST   /revoke            \"access\", \"refresh\", \"all\" or {\"token\": \"…\"}
POST   /password          {\"email\": \"…\", \"password\": \"…\"}
POST   /close-idle        close idle connections
POST   /listening         false closes the port, true opens it again
";
