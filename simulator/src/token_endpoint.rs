//! `POST /api/token`: the password grant and the refresh grant.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::account::Account;
use crate::clock::{RequestTime, unix_seconds};
use crate::path;
use crate::request::ReceivedRequest;
use crate::response::{SimulatedResponse, error_page};
use crate::settings::{ErrorBody, ErrorCase, ErrorPlacement, ExpiresIn, TokenSettings, WrongTotp};
use crate::state::SimulatorState;
use crate::tokens::{IssuedPair, TokenOwner};
use crate::totp;

/// Answers a token call.
pub(crate) fn handle_token_request(
    state: &mut SimulatorState,
    request: &ReceivedRequest,
    now: RequestTime,
) -> SimulatedResponse {
    if request.method != "POST" {
        return SimulatedResponse::empty(405).with_header("Allow", "POST");
    }
    let kind = request.header("content-type").unwrap_or_default().to_ascii_lowercase();
    let form = path::pairs(&String::from_utf8_lossy(&request.body));
    let grant = path::value(&form, "grant_type");
    match grant {
        _ if !kind.starts_with("application/x-www-form-urlencoded") => unsupported_grant(),
        Some("password") => grant_password(state, request, &form, now),
        Some("refresh_token") => grant_refresh(state, request, &form, now),
        Some(_) | None => unsupported_grant(),
    }
}

fn unsupported_grant() -> SimulatedResponse {
    SimulatedResponse::json(400, &json!({"error": "unsupported_grant_type"}))
}

type Form = [(String, String)];

fn grant_password(
    state: &mut SimulatorState,
    request: &ReceivedRequest,
    form: &Form,
    now: RequestTime,
) -> SimulatedResponse {
    let settings = state.settings.token.clone();
    let email = path::value(form, "username").unwrap_or_default().trim().to_owned();
    let key = email.to_ascii_lowercase();
    state.record_account(request.id, &email);
    if let Some(left) = state.logins.lockout_left(&settings, &key, now.time) {
        state.record_note(request.id, "locked out after failed logins");
        return locked_response(&settings, left);
    }
    let Some(account) = state.account(&email).cloned() else {
        state.record_note(request.id, "no such account");
        return password_error(&settings, settings.unknown_account_status);
    };
    if account.password != path::value(form, "password").unwrap_or_default() {
        state.record_note(request.id, "wrong password");
        state.logins.record_failure(&key, now.time);
        return password_error(&settings, settings.bad_login_status);
    }
    if account.suspended {
        state.record_note(request.id, "account suspended");
        return suspended();
    }
    if account.must_reset_password {
        return error_with_code(&settings, "must_reset_password");
    }
    let code = path::value(form, "totp").unwrap_or_default();
    if let Some(refused) = second_factor(state, &account, code, &settings, now) {
        state.record_note(
            request.id,
            if code.is_empty() { "code needed" } else { "wrong or used code" },
        );
        if !code.is_empty() {
            state.logins.record_failure(&key, now.time);
        }
        return refused;
    }
    state.logins.forget(&key);
    let client_id = client_id(request, form, &settings).unwrap_or(&key);
    let host = request.host().to_owned();
    let holder = TokenOwner { account: key.clone(), client_id: client_id.to_owned(), host };
    let pair = state.tokens.log_in(&holder, &settings, now.time);
    token_response(state, request, &settings, &pair)
}

fn client_id<'a>(
    request: &'a ReceivedRequest,
    form: &'a Form,
    settings: &TokenSettings,
) -> Option<&'a str> {
    let in_form = settings.client_id_in_form.then(|| path::value(form, "client_id")).flatten();
    request.header("client_id").or(in_form)
}

fn suspended() -> SimulatedResponse {
    let reason = "The user account is suspended.";
    SimulatedResponse::json(400, &json!({"error": "invalid_grant", "error_description": reason}))
}

fn second_factor(
    state: &mut SimulatorState,
    account: &Account,
    code: &str,
    settings: &TokenSettings,
    now: RequestTime,
) -> Option<SimulatedResponse> {
    let secret = account.totp_secret.as_deref()?;
    if code.is_empty() {
        return Some(error_with_code(settings, "two_factor_auth_check"));
    }
    let account = account.email.to_ascii_lowercase();
    let step = totp::step(secret, code, unix_seconds(now.wall));
    if step.is_some_and(|step| state.logins.use_step(&account, step)) {
        return None;
    }
    Some(match settings.wrong_totp {
        WrongTotp::InvalidGrant => password_error(settings, settings.bad_login_status),
        WrongTotp::TwoFactor => error_with_code(settings, "two_factor_auth_check"),
    })
}

fn grant_refresh(
    state: &mut SimulatorState,
    request: &ReceivedRequest,
    form: &Form,
    now: RequestTime,
) -> SimulatedResponse {
    let settings = state.settings.token.clone();
    let presented = path::value(form, "refresh_token").unwrap_or_default();
    let in_form = settings.client_id_in_form.then(|| path::value(form, "client_id")).flatten();
    let client_id = request.header("client_id").or(in_form);
    match state.tokens.renew(presented, client_id, request.host(), &settings, now.time) {
        Ok((holder, pair)) => {
            state.record_account(request.id, &holder.account);
            token_response(state, request, &settings, &pair)
        }
        Err(refused) => {
            state.record_note(request.id, refused.message());
            SimulatedResponse::json(400, &json!({"error": "invalid_grant"}))
        }
    }
}

fn token_response(
    state: &mut SimulatorState,
    request: &ReceivedRequest,
    settings: &TokenSettings,
    pair: &IssuedPair,
) -> SimulatedResponse {
    if let Some(call) = state.recording.find_token_call(request.id) {
        call.issued = Some(pair.access.clone());
        call.issued_refresh = pair.refresh.clone();
    }
    let mut reply = Map::new();
    let mut put = |snake: &str, pascal: &str, value: Value| {
        reply.insert(if settings.pascal_case { pascal } else { snake }.to_owned(), value);
    };
    put("access_token", "AccessToken", pair.access.as_str().into());
    put("token_type", "TokenType", "bearer".into());
    if let Some(value) = expires_in(settings) {
        put("expires_in", "ExpiresIn", value);
    }
    if let Some(refresh) = pair.refresh.as_deref().filter(|_| !settings.omit_refresh_token) {
        put("refresh_token", "RefreshToken", refresh.into());
    }
    SimulatedResponse::json(200, &Value::Object(reply))
}

fn expires_in(settings: &TokenSettings) -> Option<Value> {
    let seconds = settings.access_life.as_secs();
    Some(match settings.expires_in {
        ExpiresIn::Seconds => seconds.into(),
        ExpiresIn::Text => seconds.to_string().into(),
        ExpiresIn::Minutes => (seconds / 60).into(),
        ExpiresIn::Absent => return None,
        ExpiresIn::Null => Value::Null,
        ExpiresIn::Zero => 0.into(),
        ExpiresIn::Negative => (-1).into(),
        ExpiresIn::Huge => 1e300.into(),
        ExpiresIn::Nonsense => "soon".into(),
        ExpiresIn::Fixed(number) => number.into(),
    })
}

fn locked_response(settings: &TokenSettings, left: Duration) -> SimulatedResponse {
    match settings.lockout_status {
        400 => password_error(settings, 400),
        status => SimulatedResponse::empty(status)
            .with_header("Retry-After", left.as_secs().max(1).to_string()),
    }
}

fn password_error(settings: &TokenSettings, status: u16) -> SimulatedResponse {
    let reason = "The user name or password is incorrect.";
    match settings.bad_login_body {
        ErrorBody::Json if status >= 500 => {
            SimulatedResponse::json(status, &json!({"Message": "An error has occurred."}))
        }
        ErrorBody::Json => {
            let body = json!({"error": "invalid_grant", "error_description": reason});
            SimulatedResponse::json(status, &body)
        }
        ErrorBody::Empty => SimulatedResponse::empty(status),
        ErrorBody::Html => SimulatedResponse::html(status, error_page(status)),
    }
}

fn error_with_code(settings: &TokenSettings, code: &str) -> SimulatedResponse {
    let code = match settings.code_case {
        ErrorCase::Lower => code.to_owned(),
        ErrorCase::Upper => code.to_ascii_uppercase(),
        ErrorCase::Title => code.split('_').map(capitalize).collect::<Vec<_>>().join("_"),
    };
    let body = match settings.code_placement {
        ErrorPlacement::Error => json!({"error": code}),
        ErrorPlacement::Description => json!({"error": "invalid_grant", "error_description": code}),
    };
    SimulatedResponse::json(400, &body)
}

fn capitalize(word: &str) -> String {
    let (first, rest) = word.split_at(1.min(word.len()));
    first.to_ascii_uppercase() + rest
}
