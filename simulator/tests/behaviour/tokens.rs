//! The token endpoint, row by row as documented, and each of its open questions both ways.

use std::time::Duration;

use crate::client::{access, ask, field, get, log_in, refresh, token};
use nexudus_simulator::{
    Account, DEMO_EMAIL, ErrorBody, ErrorCase, ErrorPlacement, ExpiresIn, Fault, FaultAction,
    Simulator, WrongTotp,
};

const DAY: Duration = Duration::from_secs(86_400);
const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

fn simulator() -> Simulator {
    Simulator::start().unwrap()
}

#[test]
fn a_login_returns_the_four_documented_fields() {
    let simulator = simulator();

    let answer = log_in(&simulator, Some("client-a"));

    let reply = answer.json();
    assert_eq!(answer.status, 200);
    assert_eq!(reply.as_object().unwrap().len(), 4);
    assert_eq!(reply["token_type"], "bearer");
    assert_eq!(reply["expires_in"], 604_799);
    assert_eq!(field(&answer, "access_token").len(), 432);
    assert_eq!(field(&answer, "refresh_token").len(), 32);
}

#[test]
fn only_forms_are_understood() {
    let simulator = simulator();
    let json = "Content-Type: application/json\r\n";

    let answer = ask(&simulator, "POST", "/api/token", json, "{\"grant_type\":\"password\"}");
    let missing = token(&simulator, None, "username=a");

    assert_eq!((answer.status, field(&answer, "error").as_str()), (400, "unsupported_grant_type"));
    assert_eq!(
        (missing.status, field(&missing, "error").as_str()),
        (400, "unsupported_grant_type")
    );
    assert_eq!(ask(&simulator, "GET", "/api/token", "", "").status, 405);
}

#[test]
fn a_refresh_needs_the_client_id_of_the_login() {
    let simulator = simulator();
    let first = field(&log_in(&simulator, Some("client-a")), "refresh_token");

    assert_eq!(refresh(&simulator, None, &first).text(), r#"{"error":"invalid_grant"}"#);
    assert_eq!(refresh(&simulator, Some("client-b"), &first).status, 400);
    assert_eq!(refresh(&simulator, Some("client-a"), &first).status, 200);
}

#[test]
fn without_a_client_id_the_email_is_the_client_id() {
    let simulator = simulator();
    let first = field(&log_in(&simulator, None), "refresh_token");

    assert_eq!(refresh(&simulator, None, &first).status, 400);
    assert_eq!(refresh(&simulator, Some(DEMO_EMAIL), &first).status, 200);
}

#[test]
fn a_refresh_token_works_once_and_access_tokens_survive() {
    let simulator = simulator();
    let login = log_in(&simulator, Some("a"));
    let (old, old_access) = (field(&login, "refresh_token"), field(&login, "access_token"));

    let renewed = refresh(&simulator, Some("a"), &old);
    let again = refresh(&simulator, Some("a"), &old);

    assert_ne!(field(&renewed, "refresh_token"), old);
    assert_eq!(again.status, 400);
    assert_eq!(get(&simulator, "/api/auth/me", &old_access).status, 200);
    assert_eq!(get(&simulator, "/api/auth/me", &field(&renewed, "access_token")).status, 200);
    assert_eq!(refresh(&simulator, Some("a"), &field(&renewed, "refresh_token")).status, 200);
}

#[test]
fn a_new_login_kills_the_old_refresh_token_of_its_client_id_only() {
    let simulator = simulator();
    let old = field(&log_in(&simulator, Some("a")), "refresh_token");
    let other = field(&log_in(&simulator, Some("b")), "refresh_token");

    log_in(&simulator, Some("a"));

    assert_eq!(refresh(&simulator, Some("a"), &old).status, 400);
    assert_eq!(refresh(&simulator, Some("b"), &other).status, 200);
}

#[test]
fn tokens_expire_by_the_simulated_clock() {
    let simulator = simulator();
    let login = log_in(&simulator, Some("a"));

    simulator.advance(7 * DAY);
    let dead = get(&simulator, "/api/auth/me", &field(&login, "access_token"));
    simulator.advance(7 * DAY);
    let renewed = refresh(&simulator, Some("a"), &field(&login, "refresh_token"));
    simulator.advance(15 * DAY);

    assert_eq!((dead.status, dead.body.len()), (401, 0));
    assert_eq!(renewed.status, 200);
    assert_eq!(refresh(&simulator, Some("a"), &field(&renewed, "refresh_token")).status, 400);
}

#[test]
fn the_refresh_life_can_be_absolute() {
    let simulator = Simulator::builder().set(|k| k.token.sliding_refresh = false).start().unwrap();
    let login = log_in(&simulator, Some("a"));

    simulator.advance(14 * DAY);
    let renewed = refresh(&simulator, Some("a"), &field(&login, "refresh_token"));
    simulator.advance(DAY);

    assert_eq!(renewed.status, 200);
    assert_eq!(refresh(&simulator, Some("a"), &field(&renewed, "refresh_token")).status, 400);
}

#[test]
fn a_just_used_refresh_token_can_be_given_grace() {
    let simulator = simulator();
    simulator.set(|settings| settings.token.rotation_grace = Duration::from_secs(60));
    let old = field(&log_in(&simulator, Some("a")), "refresh_token");
    refresh(&simulator, Some("a"), &old);

    assert_eq!(refresh(&simulator, Some("a"), &old).status, 200);
    simulator.advance(Duration::from_secs(61));
    assert_eq!(refresh(&simulator, Some("a"), &old).status, 400);
    assert_eq!(simulator.live_refresh_tokens().len(), 1);
}

#[test]
fn a_rotation_can_lose_its_reply() {
    let simulator = simulator();
    let old = field(&log_in(&simulator, Some("a")), "refresh_token");
    simulator.fault(
        Fault::on("/api/token", FaultAction::Close).grant("refresh_token").executed().times(1),
    );

    let lost = refresh(&simulator, Some("a"), &old);

    assert_eq!(lost.status, 0);
    assert_eq!(refresh(&simulator, Some("a"), &old).status, 400);
    let calls = simulator.token_calls();
    assert!(calls[1].issued_refresh.is_some() && calls[1].status.is_none());
}

#[test]
fn a_wrong_password_looks_as_chosen() {
    let simulator = simulator();
    let wrong = "grant_type=password&username=ada@example.test&password=no";
    let unknown = "grant_type=password&username=unknown@example.test&password=no";

    let answer = token(&simulator, None, wrong);
    assert_eq!((answer.status, field(&answer, "error").as_str()), (400, "invalid_grant"));
    assert_eq!(field(&answer, "error_description"), "The user name or password is incorrect.");
    assert_eq!(token(&simulator, None, unknown).status, 500);

    for (status, body) in [(401, ErrorBody::Json), (500, ErrorBody::Html), (400, ErrorBody::Empty)]
    {
        simulator.set(|settings| {
            settings.token.bad_login_status = status;
            settings.token.bad_login_body = body;
        });
        let answer = token(&simulator, None, wrong);
        assert_eq!(answer.status, status);
        assert_eq!(answer.body.is_empty(), body == ErrorBody::Empty);
        assert_eq!(answer.text().starts_with("<!DOCTYPE"), body == ErrorBody::Html);
    }
}

#[test]
fn a_second_factor_is_asked_for_and_each_code_works_once() {
    let account = Account::new("eve@example.test", "pw").with_totp_secret(SECRET);
    let simulator = Simulator::builder().account(account).frozen_clock().start().unwrap();
    let login = |code: &str| {
        let form = format!("grant_type=password&username=eve@example.test&password=pw&totp={code}");
        token(&simulator, Some("a"), &form)
    };
    let code = simulator.totp_code("eve@example.test").unwrap();

    assert_eq!(login("").text(), r#"{"error":"two_factor_auth_check"}"#);
    assert_eq!(login(&code).status, 200);
    assert_eq!(field(&login(&code), "error"), "invalid_grant");

    simulator.advance(Duration::from_secs(60));
    let next = simulator.totp_code("eve@example.test").unwrap();
    assert_eq!(login(&next).status, 200);
    simulator.set(|settings| settings.token.wrong_totp = WrongTotp::TwoFactor);
    assert_eq!(field(&login("000000"), "error"), "two_factor_auth_check");
}

#[test]
fn codes_can_stand_in_the_description_and_in_capitals() {
    let mut account = Account::new("eve@example.test", "pw");
    account.must_reset_password = true;
    let simulator = Simulator::builder().account(account).start().unwrap();
    let form = "grant_type=password&username=eve@example.test&password=pw";

    assert_eq!(field(&token(&simulator, None, form), "error"), "must_reset_password");
    simulator.set(|settings| {
        settings.token.code_placement = ErrorPlacement::Description;
        settings.token.code_case = ErrorCase::Title;
    });
    let answer = token(&simulator, None, form);
    assert_eq!(field(&answer, "error"), "invalid_grant");
    assert_eq!(field(&answer, "error_description"), "Must_Reset_Password");
}

#[test]
fn failed_logins_can_lock_the_account_out() {
    let simulator = simulator();
    simulator.set(|settings| settings.token.lockout_after = Some(2));
    let wrong = "grant_type=password&username=ADA@example.test&password=no";

    assert_eq!(token(&simulator, None, wrong).status, 400);
    assert_eq!(token(&simulator, None, wrong).status, 400);
    let locked = log_in(&simulator, None);
    assert_eq!(locked.status, 429);
    assert!(locked.header("retry-after").is_some());
    simulator.advance(Duration::from_secs(15 * 60));
    assert_eq!(log_in(&simulator, None).status, 200);
}

#[test]
fn expires_in_can_be_written_in_every_way() {
    let simulator = simulator();
    let ways = [
        (ExpiresIn::Text, Some("\"604799\"")),
        (ExpiresIn::Minutes, Some("10079")),
        (ExpiresIn::Absent, None),
        (ExpiresIn::Null, Some("null")),
        (ExpiresIn::Zero, Some("0")),
        (ExpiresIn::Negative, Some("-1")),
        (ExpiresIn::Huge, Some("1e+300")),
        (ExpiresIn::Nonsense, Some("\"soon\"")),
        (ExpiresIn::Fixed(5), Some("5")),
    ];
    for (way, expected) in ways {
        simulator.set(|settings| settings.token.expires_in = way);
        let reply = log_in(&simulator, Some("a")).json();
        let found = reply.get("expires_in").map(ToString::to_string);
        assert_eq!(found.as_deref(), expected, "{way:?}");
    }
}

#[test]
fn replies_can_differ_in_shape() {
    let simulator = simulator();
    simulator.set(|settings| settings.token.pascal_case = true);
    assert!(!field(&log_in(&simulator, Some("a")), "AccessToken").is_empty());

    simulator.set(|settings| {
        settings.token.pascal_case = false;
        settings.token.omit_refresh_token = true;
    });
    assert!(log_in(&simulator, Some("a")).json().get("refresh_token").is_none());

    for (deed, body) in
        [(FaultAction::Empty, ""), (FaultAction::Nonsense, "{\"access_token\": oops")]
    {
        simulator.fault(Fault::on("/api/token", deed).times(1));
        let answer = log_in(&simulator, Some("a"));
        assert_eq!((answer.status, answer.text().as_str()), (200, body));
    }
}

#[test]
fn tokens_can_be_revoked_from_outside() {
    let simulator = simulator();
    let login = log_in(&simulator, Some("a"));
    let first = field(&login, "access_token");
    let second = access(&simulator);

    assert!(simulator.revoke_access(&first));
    assert_eq!(get(&simulator, "/api/auth/me", &first).status, 401);
    assert_eq!(get(&simulator, "/api/auth/me", &second).status, 200);
    simulator.revoke_access_tokens();
    assert_eq!(get(&simulator, "/api/auth/me", &second).status, 401);
    simulator.revoke_refresh_tokens();
    assert_eq!(refresh(&simulator, Some("a"), &field(&login, "refresh_token")).status, 400);
}

#[test]
fn a_new_password_kills_the_accounts_tokens() {
    let simulator = simulator();
    let login = log_in(&simulator, Some("a"));

    assert!(simulator.change_password(DEMO_EMAIL, "new"));

    assert_eq!(get(&simulator, "/api/auth/me", &field(&login, "access_token")).status, 401);
    assert_eq!(refresh(&simulator, Some("a"), &field(&login, "refresh_token")).status, 400);
    assert_eq!(log_in(&simulator, Some("a")).status, 400);
}

#[test]
fn a_login_or_a_refresh_can_revoke_access_tokens_and_tokens_can_be_per_host() {
    let simulator = simulator();
    simulator.set(|settings| settings.token.revoke_access_on_login = true);
    let first = access(&simulator);
    let second = log_in(&simulator, Some("test"));
    assert_eq!(get(&simulator, "/api/auth/me", &first).status, 401);

    simulator.set(|settings| settings.token.revoke_access_on_refresh = true);
    let third = refresh(&simulator, Some("test"), &field(&second, "refresh_token"));
    assert_eq!(get(&simulator, "/api/auth/me", &field(&second, "access_token")).status, 401);

    simulator.set(|settings| settings.token.per_host = true);
    let third = crate::client::bearer(&field(&third, "access_token"));
    let mut connection = crate::client::Connection::to(&simulator);
    assert_eq!(connection.ask("GET", "/api/auth/me", &third, "").status, 200);
    connection.send(format!("GET /api/auth/me HTTP/1.1\r\nHost: sub.localhost\r\n{third}\r\n"));
    assert_eq!(connection.read("GET").status, 401);
}

#[test]
fn the_log_of_token_calls_says_what_was_sent_and_how_many_at_once() {
    let simulator = simulator();
    let hold = simulator.hold(nexudus_simulator::Route::Token);
    std::thread::scope(|scope| {
        let calls = [0, 1].map(|_| scope.spawn(|| log_in(&simulator, Some("a")).status));
        assert!(simulator.wait_until(|view| view.held() == 2, Duration::from_secs(5)));
        hold.release();
        assert_eq!(calls.map(|call| call.join().unwrap()), [200, 200]);
    });

    let calls = simulator.token_calls();
    assert_eq!(simulator.max_concurrent_token_calls(), 2);
    assert_eq!(calls[1].concurrent, 2);
    assert_eq!(calls[0].grant.as_deref(), Some("password"));
    assert_eq!(calls[0].client_id.as_deref(), Some("a"));
    assert_eq!(calls[0].status, Some(200));
}
