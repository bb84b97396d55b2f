//! Whatever the token endpoint answers, it is read for what it means, and nothing else.

use nexudus_proxy::session::SessionState;
use nexudus_simulator::{
    Account, ErrorBody, ErrorCase, ErrorPlacement, ExpiresIn, Fault, FaultAction, Settings,
};

use crate::support::{
    EMAIL, EVENT_TIMEOUT, ada, advance, assert_recovers, daemon, get_error_code, grant_types,
    impatient, secs, short_lived_tokens, upstream,
};

#[tokio::test]
async fn a_first_answer_that_is_no_token_is_not_taken_for_one() {
    let page = FaultAction::Answer { status: 200, headers: vec![], body: "[]".into() };
    for (deed, back) in [
        (FaultAction::Nonsense, secs(60)),
        (FaultAction::Empty, secs(60)),
        (FaultAction::LoginPage, secs(60)),
        (FaultAction::Huge(1 << 30), secs(60)),
        (FaultAction::Redirect("{origin}/login".into()), secs(60)),
        (FaultAction::Blocked, secs(60)),
        (page, secs(60)),
        (FaultAction::MalformedHead, secs(15 * 60)),
        (FaultAction::Truncate { after: 20 }, secs(15 * 60)),
    ] {
        let upstream = upstream().frozen_clock().start().unwrap();
        upstream.fault(Fault::on("/api/token", deed.clone()));
        let (setup, hand) = impatient(&upstream).manual_clock();
        let daemon = setup.run().await;

        for _ in 0..120 {
            daemon.idle().await;
            advance(&hand, &upstream, secs(5));
        }
        daemon.idle().await;
        assert_eq!(get_error_code(&daemon).await, "session.unavailable", "{deed:?}");
        let calls = upstream.token_calls().len();
        assert!((3..=20).contains(&calls), "{deed:?}: {calls} calls in ten minutes");

        upstream.set(|knobs| knobs.faults.clear());
        assert_recovers(&daemon, &hand, &upstream, back).await;
    }
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_given_up_after_thirty_seconds() {
    let drop_by_drop = FaultAction::SlowBody { chunk: 1, pause: secs(3600) };
    for deed in [FaultAction::Hang, drop_by_drop] {
        let upstream = upstream().frozen_clock().set(short_lived_tokens).start().unwrap();
        let (setup, hand) = daemon(&upstream).manual_clock();
        let daemon = setup.run().await;
        daemon.session_until(|view| view.generation == 1 && !view.renewing).await;

        upstream.fault(Fault::on("/api/token", deed.clone()));
        advance(&hand, &upstream, secs(81));
        assert!(
            upstream.wait_until_async(|view| view.token_calls().len() == 2, EVENT_TIMEOUT).await
        );
        advance(&hand, &upstream, secs(15));
        assert_eq!(daemon.get("/api/auth/me").await.status(), 200, "{deed:?}");
        let waiting = tokio::spawn(daemon.request("GET", "/api/auth/me").send());
        advance(&hand, &upstream, secs(15));
        let view = daemon.idle().await;
        assert_eq!((view.state, view.renewing), (SessionState::Waiting, false), "{deed:?}");

        upstream.set(|knobs| knobs.faults.clear());
        assert_recovers(&daemon, &hand, &upstream, secs(5)).await;
        assert_eq!(waiting.await.unwrap().unwrap().status(), 200, "{deed:?}");
    }
}

#[tokio::test]
async fn a_life_is_believed_within_bounds_and_never_leads_to_a_loop() {
    let (half_an_hour, two_weeks) = (secs(30 * 60), secs(14 * 24 * 60 * 60));
    for (told, life) in [
        (ExpiresIn::Seconds, secs(7_200)),
        (ExpiresIn::Text, secs(7_200)),
        (ExpiresIn::Minutes, secs(120)),
        (ExpiresIn::Absent, half_an_hour),
        (ExpiresIn::Null, half_an_hour),
        (ExpiresIn::Zero, half_an_hour),
        (ExpiresIn::Negative, half_an_hour),
        (ExpiresIn::Nonsense, half_an_hour),
        (ExpiresIn::Huge, two_weeks),
        (ExpiresIn::Fixed(i64::MAX), two_weeks),
    ] {
        let knobs = |knobs: &mut Settings| {
            knobs.token.access_life = secs(7_200);
            knobs.token.expires_in = told;
        };
        let upstream = upstream().frozen_clock().set(knobs).start().unwrap();
        let (setup, hand) = daemon(&upstream).manual_clock();
        let daemon = setup.run().await;
        let view = daemon.session_until(|view| view.generation == 1 && !view.renewing).await;
        assert_eq!(view.expires_in, Some(life), "{told:?}");

        // Longer than it really lives: past that, the 401 says so.
        for _ in 0..3 * 60 {
            advance(&hand, &upstream, secs(60));
            daemon.idle().await;
        }
        assert_eq!(daemon.get("/api/spaces/coworkers").await.status(), 200, "{told:?}");
        let most = 3 * 60 * 60 / (life.as_secs() * 3 / 4) + 2;
        let calls = upstream.token_calls().len() as u64;
        assert!(calls <= most, "{told:?}: {calls} calls in three hours");
    }
}

#[tokio::test]
async fn a_refusal_is_understood_however_it_is_written() {
    for (status, body) in [
        (400, ErrorBody::Json),
        (401, ErrorBody::Json),
        (400, ErrorBody::Empty),
        (401, ErrorBody::Empty),
        (401, ErrorBody::Html),
    ] {
        let knobs = |knobs: &mut Settings| {
            knobs.token.bad_login_status = status;
            knobs.token.bad_login_body = body;
        };
        let upstream = upstream().set(knobs).start().unwrap();
        upstream.change_password(EMAIL, "another");
        let daemon = daemon(&upstream).run().await;

        assert_eq!(get_error_code(&daemon).await, "session.refused", "{status} {body:?}");
        assert_eq!(grant_types(&upstream), ["password"]);
    }
}

#[tokio::test]
async fn a_code_is_found_in_either_field_and_in_any_case() {
    let needs_code = ada().with_totp_secret("JBSWY3DPEHPK3PXP");
    let needs_password = Account { must_reset_password: true, ..ada() };
    for (account, expected) in
        [(needs_code, "session.totp-required"), (needs_password, "session.password-reset")]
    {
        for (placement, case) in [
            (ErrorPlacement::Error, ErrorCase::Lower),
            (ErrorPlacement::Error, ErrorCase::Upper),
            (ErrorPlacement::Description, ErrorCase::Title),
        ] {
            let knobs = |knobs: &mut Settings| {
                knobs.token.code_placement = placement;
                knobs.token.code_case = case;
            };
            let upstream = upstream().account(account.clone()).set(knobs).start().unwrap();
            let daemon = daemon(&upstream).run().await;

            assert_eq!(get_error_code(&daemon).await, expected, "{placement:?} {case:?}");
            assert_eq!(grant_types(&upstream), ["password"]);
        }
    }
}

#[tokio::test]
async fn a_session_lives_on_whatever_an_issuer_rotates_and_however_it_spells() {
    let spelled = |knobs: &mut Settings| knobs.token.pascal_case = true;
    let kept = |knobs: &mut Settings| knobs.token.rotate = false;
    let revoking = |knobs: &mut Settings| knobs.token.revoke_access_on_refresh = true;
    for knobs in [spelled as fn(&mut Settings), kept, revoking] {
        let upstream =
            upstream().frozen_clock().set(short_lived_tokens).set(knobs).start().unwrap();
        let (setup, hand) = daemon(&upstream).manual_clock();
        let daemon = setup.run().await;
        daemon.session_until(|view| view.generation == 1 && !view.renewing).await;

        for generation in 2..=4 {
            advance(&hand, &upstream, secs(90));
            daemon.session_until(|view| view.generation == generation && !view.renewing).await;
            assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
        }

        let expected = ["password", "refresh_token", "refresh_token", "refresh_token"];
        assert_eq!(grant_types(&upstream), expected);
    }
}
