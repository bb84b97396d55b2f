//! `POST /api/token`: the password grant and the refresh grant.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::account::Account;
use crate::answer::{Answer, error_page};
use crate::clock::unix;
use crate::knobs::{Case, ErrorBody, ExpiresIn, Placement, TokenKnobs, WrongTotp};
use crate::path;
use crate::request::Request;
use crate::state::{Now, State};
use crate::tokens::{Holder, Pair};
use crate::totp;

/// What the token endpoint remembers about logins.
#[derive(Debug, Default)]
pub(crate) struct Logins {
    failed: HashMap<String, (u32, Duration)>,
    used_steps: HashMap<String, u64>,
}

impl Logins {
    pub(crate) fn forget_failures(&mut self) {
        self.failed.clear();
    }
}

/// Answers a token call.
pub(crate) fn token(state: &mut State, request: &Request, now: Now) -> Answer {
    if request.method != "POST" {
        return Answer::empty(405).header("Allow", "POST");
    }
    let kind = request.header("content-type").unwrap_or_default().to_ascii_lowercase();
    let form = path::pairs(&String::from_utf8_lossy(&request.body));
    let grant = path::value(&form, "grant_type");
    match grant {
        _ if !kind.starts_with("application/x-www-form-urlencoded") => unsupported(),
        Some("password") => log_in(state, request, &form, now),
        Some("refresh_token") => renew(state, request, &form, now),
        Some(_) | None => unsupported(),
    }
}

fn unsupported() -> Answer {
    Answer::json(400, &json!({"error": "unsupported_grant_type"}))
}

type Form = [(String, String)];

fn log_in(state: &mut State, request: &Request, form: &Form, now: Now) -> Answer {
    let knobs = state.knobs.token.clone();
    let email = path::value(form, "username").unwrap_or_default().trim().to_owned();
    let key = email.to_ascii_lowercase();
    state.speaks_for(request.id, &email);
    if let Some(left) = locked_out(&state.logins, &knobs, &key, now.time) {
        state.note(request.id, "locked out after failed logins");
        return locked_answer(&knobs, left);
    }
    let Some(account) = state.account(&email).cloned() else {
        state.note(request.id, "no such account");
        return refusal(&knobs, knobs.unknown_account_status);
    };
    if account.password != path::value(form, "password").unwrap_or_default() {
        state.note(request.id, "wrong password");
        let failed = state.logins.failed.entry(key).or_default();
        *failed = (failed.0 + 1, now.time);
        return refusal(&knobs, knobs.bad_login_status);
    }
    if account.suspended {
        state.note(request.id, "account suspended");
        let reason = "The user account is suspended.";
        return Answer::json(400, &json!({"error": "invalid_grant", "error_description": reason}));
    }
    if account.must_reset_password {
        return coded(&knobs, "must_reset_password");
    }
    let code = path::value(form, "totp").unwrap_or_default();
    if let Some(refused) = second_factor(state, &account, code, &knobs, now) {
        state.note(request.id, if code.is_empty() { "code needed" } else { "wrong or used code" });
        if !code.is_empty() {
            let failed = state.logins.failed.entry(key).or_default();
            *failed = (failed.0 + 1, now.time);
        }
        return refused;
    }
    state.logins.failed.remove(&key);
    let in_form = knobs.client_id_in_form.then(|| path::value(form, "client_id")).flatten();
    let client_id = request.header("client_id").or(in_form).unwrap_or(&key);
    let host = request.host().to_owned();
    let holder = Holder { account: key.clone(), client_id: client_id.to_owned(), host };
    let pair = state.tokens.log_in(&holder, &knobs, now.time);
    issued(state, request, &knobs, &pair)
}

fn second_factor(
    state: &mut State,
    account: &Account,
    code: &str,
    knobs: &TokenKnobs,
    now: Now,
) -> Option<Answer> {
    let secret = account.totp_secret.as_deref()?;
    if code.is_empty() {
        return Some(coded(knobs, "two_factor_auth_check"));
    }
    let last = state.logins.used_steps.entry(account.email.to_ascii_lowercase()).or_default();
    if let Some(step) = totp::step(secret, code, unix(now.wall)).filter(|step| step > last) {
        *last = step;
        return None;
    }
    Some(match knobs.wrong_totp {
        WrongTotp::InvalidGrant => refusal(knobs, knobs.bad_login_status),
        WrongTotp::TwoFactor => coded(knobs, "two_factor_auth_check"),
    })
}

fn renew(state: &mut State, request: &Request, form: &Form, now: Now) -> Answer {
    let knobs = state.knobs.token.clone();
    let presented = path::value(form, "refresh_token").unwrap_or_default();
    let in_form = knobs.client_id_in_form.then(|| path::value(form, "client_id")).flatten();
    let client_id = request.header("client_id").or(in_form);
    match state.tokens.renew(presented, client_id, request.host(), &knobs, now.time) {
        Ok((holder, pair)) => {
            state.speaks_for(request.id, &holder.account);
            issued(state, request, &knobs, &pair)
        }
        Err(refused) => {
            state.note(request.id, refused.words());
            Answer::json(400, &json!({"error": "invalid_grant"}))
        }
    }
}

fn issued(state: &mut State, request: &Request, knobs: &TokenKnobs, pair: &Pair) -> Answer {
    if let Some(call) = state.view.find_token_call(request.id) {
        call.issued = Some(pair.access.clone());
        call.issued_refresh = pair.refresh.clone();
    }
    let mut reply = Map::new();
    let mut put = |snake: &str, pascal: &str, value: Value| {
        reply.insert(if knobs.pascal_case { pascal } else { snake }.to_owned(), value);
    };
    put("access_token", "AccessToken", pair.access.as_str().into());
    put("token_type", "TokenType", "bearer".into());
    if let Some(value) = expires_in(knobs) {
        put("expires_in", "ExpiresIn", value);
    }
    if let Some(refresh) = pair.refresh.as_deref().filter(|_| !knobs.omit_refresh_token) {
        put("refresh_token", "RefreshToken", refresh.into());
    }
    Answer::json(200, &Value::Object(reply))
}

fn expires_in(knobs: &TokenKnobs) -> Option<Value> {
    let seconds = knobs.access_life.as_secs();
    Some(match knobs.expires_in {
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

fn locked_out(logins: &Logins, knobs: &TokenKnobs, key: &str, now: Duration) -> Option<Duration> {
    let (count, last) = logins.failed.get(key)?;
    let until = *last + knobs.lockout_life;
    (*count >= knobs.lockout_after? && now < until).then(|| until - now)
}

fn locked_answer(knobs: &TokenKnobs, left: Duration) -> Answer {
    match knobs.lockout_status {
        400 => refusal(knobs, 400),
        status => Answer::empty(status).header("Retry-After", left.as_secs().max(1).to_string()),
    }
}

fn refusal(knobs: &TokenKnobs, status: u16) -> Answer {
    let reason = "The user name or password is incorrect.";
    match knobs.bad_login_body {
        ErrorBody::Json if status >= 500 => {
            Answer::json(status, &json!({"Message": "An error has occurred."}))
        }
        ErrorBody::Json => {
            let body = json!({"error": "invalid_grant", "error_description": reason});
            Answer::json(status, &body)
        }
        ErrorBody::Empty => Answer::empty(status),
        ErrorBody::Html => Answer::html(status, error_page(status)),
    }
}

fn coded(knobs: &TokenKnobs, code: &str) -> Answer {
    let code = match knobs.code_case {
        Case::Lower => code.to_owned(),
        Case::Upper => code.to_ascii_uppercase(),
        Case::Title => code.split('_').map(capital).collect::<Vec<_>>().join("_"),
    };
    let body = match knobs.code_placement {
        Placement::Error => json!({"error": code}),
        Placement::Description => json!({"error": "invalid_grant", "error_description": code}),
    };
    Answer::json(400, &body)
}

fn capital(word: &str) -> String {
    let (first, rest) = word.split_at(1.min(word.len()));
    first.to_ascii_uppercase() + rest
}
