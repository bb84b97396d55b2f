//! A login or a token endpoint that fails ends in a state with a name, never in a loop, and comes
//! back by itself when the cause goes.

use nexudus_proxy::credentials::SecondFactor;
use nexudus_proxy::secret::Secret;
use nexudus_proxy::session::SessionState;
use nexudus_simulator::{Account, Fault, FaultAction, Settings};

use crate::support::{
    EMAIL, PASSWORD, ada, advance, advance_a_day, assert_recovers, daemon, error_code,
    get_error_code, grant_types, impatient, secs, short_lived_tokens, upstream,
};

#[tokio::test]
async fn a_refused_password_is_offered_once_until_it_changes() {
    let upstream = upstream().frozen_clock().start().unwrap();
    let (setup, hand) = daemon(&upstream).with_login_file("wrong").manual_clock();
    let daemon = setup.run().await;

    assert_eq!(get_error_code(&daemon).await, "session.refused");
    advance_a_day(&daemon, &hand, &upstream).await;
    assert!(daemon.running.session().refresh().await.is_err());
    let daemon = daemon.restart().await.run().await;
    assert_eq!(get_error_code(&daemon).await, "session.refused");
    assert_eq!(grant_types(&upstream), ["password"]);

    daemon.change_login(PASSWORD).await;
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
    assert_eq!(grant_types(&upstream), ["password", "password"]);
}

#[tokio::test]
async fn a_password_changed_at_nexudus_is_told_and_the_new_one_serves_without_a_restart() {
    let upstream = upstream().frozen_clock().start().unwrap();
    let (setup, hand) = daemon(&upstream).with_login_file(PASSWORD).manual_clock();
    let daemon = setup.run().await;
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);

    upstream.change_password(EMAIL, "another");
    assert_eq!(get_error_code(&daemon).await, "session.refused");
    advance_a_day(&daemon, &hand, &upstream).await;
    assert_eq!(grant_types(&upstream), ["password", "refresh_token", "password"]);

    daemon.change_login("another").await;
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
    assert_eq!(grant_types(&upstream).len(), 4);
}

#[tokio::test]
async fn a_revoked_refresh_token_costs_one_password_login_and_no_caller_an_error() {
    let upstream = upstream().frozen_clock().set(short_lived_tokens).start().unwrap();
    let (setup, hand) = daemon(&upstream).manual_clock();
    let daemon = setup.run().await;
    daemon.session_until(|view| view.generation == 1 && !view.renewing).await;

    upstream.revoke_refresh_tokens();
    for _ in 0..20 {
        advance(&hand, &upstream, secs(5));
        daemon.idle().await;
        assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
    }

    assert_eq!(grant_types(&upstream), ["password", "refresh_token", "password"]);
}

#[tokio::test]
async fn a_saved_session_without_a_password_lapses_once_and_says_so() {
    let upstream = upstream().frozen_clock().start().unwrap();
    let (setup, hand) = daemon(&upstream).stored().manual_clock();
    let daemon = setup.run().await;
    daemon.session_until(|view| view.saved).await;
    let daemon = daemon.restart().await.without_login().run().await;
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);

    upstream.revoke_access_tokens();
    upstream.revoke_refresh_tokens();
    assert_eq!(get_error_code(&daemon).await, "session.expired");
    advance_a_day(&daemon, &hand, &upstream).await;

    assert_eq!(grant_types(&upstream), ["password", "refresh_token"]);
}

#[tokio::test]
async fn an_account_that_needs_a_code_is_asked_once_until_a_person_has_been_there() {
    let secret = "JBSWY3DPEHPK3PXP";
    let account = ada().with_totp_secret(secret);
    let upstream = upstream().frozen_clock().account(account).start().unwrap();
    let (setup, hand) = daemon(&upstream).manual_clock();
    let daemon = setup.run().await;

    assert_eq!(get_error_code(&daemon).await, "session.totp-required");
    advance_a_day(&daemon, &hand, &upstream).await;
    assert_eq!(grant_types(&upstream), ["password"]);

    upstream.change_account(EMAIL, |account| account.totp_secret = None);
    daemon.running.session().refresh().await.unwrap();
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
}

#[tokio::test]
async fn a_stored_secret_logs_in_again_and_again_with_a_code_of_its_own() {
    let secret = "JBSWY3DPEHPK3PXP";
    let account = ada().with_totp_secret(secret);
    let upstream = upstream().frozen_clock().account(account).start().unwrap();
    let setup = daemon(&upstream).with_second_factor(SecondFactor::Shared(Secret::new(secret)));
    let (setup, hand) = setup.manual_clock();
    let daemon = setup.run().await;
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);

    for _ in 0..3 {
        upstream.revoke_access_tokens();
        upstream.revoke_refresh_tokens();
        advance(&hand, &upstream, secs(300));
        assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
    }

    let codes: Vec<_> = upstream.token_calls().into_iter().filter_map(|call| call.totp).collect();
    let different: std::collections::BTreeSet<_> = codes.iter().collect();
    assert_eq!((codes.len(), different.len()), (4, 4));
}

#[tokio::test]
async fn a_typed_code_is_offered_once() {
    let account = ada().with_totp_secret("JBSWY3DPEHPK3PXP");
    let upstream = upstream().frozen_clock().account(account).start().unwrap();
    let code = upstream.totp_code(EMAIL).unwrap();
    let setup = daemon(&upstream).with_second_factor(SecondFactor::Code(Secret::new(code)));
    let (setup, hand) = setup.manual_clock();
    let daemon = setup.run().await;
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);

    upstream.revoke_access_tokens();
    upstream.revoke_refresh_tokens();
    assert_eq!(get_error_code(&daemon).await, "session.totp-required");
    advance_a_day(&daemon, &hand, &upstream).await;
    let daemon = daemon.restart().await.run().await;
    assert_eq!(get_error_code(&daemon).await, "session.totp-required");

    assert_eq!(grant_types(&upstream), ["password", "refresh_token"]);
}

#[tokio::test]
async fn an_account_that_must_set_a_new_password_is_asked_once_until_a_person_has_been_there() {
    let account = Account { must_reset_password: true, ..ada() };
    let upstream = upstream().frozen_clock().account(account).start().unwrap();
    let (setup, hand) = daemon(&upstream).manual_clock();
    let daemon = setup.run().await;

    assert_eq!(get_error_code(&daemon).await, "session.password-reset");
    advance_a_day(&daemon, &hand, &upstream).await;
    assert_eq!(grant_types(&upstream), ["password"]);

    upstream.change_account(EMAIL, |account| account.must_reset_password = false);
    daemon.running.session().refresh().await.unwrap();
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
}

#[tokio::test]
async fn a_500_to_a_login_is_tried_three_times_and_then_four_times_an_hour() {
    let knobs = |knobs: &mut Settings| knobs.token.bad_login_status = 500;
    let upstream = upstream().frozen_clock().set(knobs).start().unwrap();
    upstream.change_password(EMAIL, "not yet the one that is stored");
    let (setup, hand) = impatient(&upstream).manual_clock();
    let daemon = setup.run().await;

    daemon.idle().await;
    for _ in 0..24 * 60 * 4 {
        advance(&hand, &upstream, secs(15));
        daemon.idle().await;
    }
    let calls = upstream.token_calls().len();
    assert!((3 + 90..=3 + 96).contains(&calls), "{calls} calls in a day");
    assert_eq!(get_error_code(&daemon).await, "session.unavailable");

    upstream.change_password(EMAIL, PASSWORD);
    assert_recovers(&daemon, &hand, &upstream, secs(15 * 60)).await;
}

#[tokio::test]
async fn a_token_endpoint_that_is_down_takes_away_no_token_that_works_and_is_missed_no_longer() {
    for (deed, back) in [
        (FaultAction::HtmlError(503), secs(60)),
        (FaultAction::HtmlError(502), secs(60)),
        (FaultAction::Blocked, secs(60)),
        (FaultAction::Conflict, secs(60)),
        (FaultAction::Nonsense, secs(60)),
        // The password may have been looked at: that is tried more rarely.
        (FaultAction::HtmlError(500), secs(15 * 60)),
        (FaultAction::Reset, secs(15 * 60)),
    ] {
        let upstream = upstream().frozen_clock().set(short_lived_tokens).start().unwrap();
        let (setup, hand) = impatient(&upstream).manual_clock();
        let daemon = setup.run().await;
        daemon.session_until(|view| view.generation == 1 && !view.renewing).await;

        upstream.fault(Fault::on("/api/token", deed.clone()));
        for _ in 0..19 {
            advance(&hand, &upstream, secs(5));
            daemon.idle().await;
            assert_eq!(daemon.get("/api/auth/me").await.status(), 200, "{deed:?}");
        }
        for _ in 0..120 {
            advance(&hand, &upstream, secs(5));
            daemon.idle().await;
        }
        assert_eq!(daemon.running.session().status().state, SessionState::Waiting, "{deed:?}");
        let calls = upstream.token_calls().len();
        assert!((5..=25).contains(&calls), "{deed:?}: {calls} calls in ten minutes");

        upstream.set(|knobs| knobs.faults.clear());
        assert_recovers(&daemon, &hand, &upstream, back).await;
    }
}

#[tokio::test]
async fn an_upstream_that_is_gone_is_missed_no_longer_than_it_is() {
    let upstream = upstream().frozen_clock().set(short_lived_tokens).start().unwrap();
    let (setup, hand) = impatient(&upstream).manual_clock();
    let daemon = setup.run().await;
    daemon.session_until(|view| view.generation == 1 && !view.renewing).await;

    upstream.stop_listening();
    upstream.close_idle_connections();
    for _ in 0..60 {
        advance(&hand, &upstream, secs(10));
        daemon.idle().await;
    }
    let answer = daemon.get("/api/auth/me").await;
    let after: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&after), "{after}");
    assert_eq!(error_code(answer).await, "session.unavailable");

    upstream.resume_listening();
    assert_recovers(&daemon, &hand, &upstream, secs(60)).await;
    assert_eq!(
        grant_types(&upstream),
        ["password", "refresh_token"],
        "no password for a lost network"
    );
}
