//! One login, and a token whenever one can be had.

use std::time::Duration;

use futures_util::future::join_all;
use nexudus_proxy::clock::ManualClock;
use nexudus_proxy::config::SessionStore;
use nexudus_proxy::credentials::Credentials;
use nexudus_proxy::session::{BodyKind, Session, endpoint};
use nexudus_proxy::throttle::Throttle;
use nexudus_simulator::{Fault, FaultAction, Route, Simulator};

use crate::support::{
    Daemon, EVENT_TIMEOUT, LoadClients, SESSION_KEY, advance, daemon, executed_once,
    get_error_code, grant_types, secs, short_lived_tokens, upstream,
};

#[tokio::test]
async fn a_hundred_first_requests_cost_one_login() {
    let upstream = upstream().start().unwrap();
    let held = upstream.hold(Route::Token);
    let daemon = daemon(&upstream).run().await;

    let requests = join_all((0..100).map(|_| daemon.get("/api/auth/me")));
    let released = async {
        let arrived = upstream.wait_until_async(|view| view.held() == 1, EVENT_TIMEOUT);
        assert!(arrived.await, "no token was requested");
        held.release();
    };
    let (answers, ()) = tokio::join!(requests, released);

    assert!(answers.iter().all(|answer| answer.status() == 200));
    assert_eq!(upstream.token_calls().len(), 1);
}

#[tokio::test]
async fn a_request_waits_for_the_first_login_as_long_as_configured() {
    let upstream = upstream().start().unwrap();
    let held = upstream.hold(Route::Token);
    let wait = Duration::from_millis(50);
    let daemon = daemon(&upstream).set(|config| config.session.wait = wait).run().await;

    assert_eq!(get_error_code(&daemon).await, "session.unavailable");

    held.release();
    daemon.session_until(|view| view.generation == 1).await;
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
    assert_eq!(grant_types(&upstream), ["password"]);
}

#[tokio::test]
async fn fifteen_short_lives_under_load_cost_no_caller_an_error() {
    let upstream = upstream().frozen_clock().set(short_lived_tokens).start().unwrap();
    for skip in [2, 7] {
        // The token is renewed, and the reply is lost.
        upstream.fault(lost_reply().skip(skip).times(1));
    }
    let (setup, hand) = daemon(&upstream).stored().manual_clock();
    let daemon = setup.run().await;
    let mut load = LoadClients::default();
    load.send(&daemon, 1);
    load.wait_all().await;

    for life in 1..=15 {
        let before = daemon.session_until(|view| view.saved).await.generation;
        let mut stall = None;
        // Every other answer of the token endpoint comes after the token has ended.
        let late = (life % 2 == 0).then(|| upstream.hold(Route::Token));
        if let Some(late) = late {
            until_the_token_ends(&daemon, &upstream, &hand, &mut load).await;
            load.send(&daemon, 6);
            let asked = upstream.wait_until_async(|view| view.held() == 1, EVENT_TIMEOUT);
            assert!(asked.await, "no token was requested");
            advance(&hand, &upstream, secs(5));
            stall = (life % 6 == 0).then(|| daemon.stall());
            late.release();
        }
        while daemon.idle().await.generation == before {
            load.send(&daemon, 6);
            // A reply that was lost is tried again after a second.
            let ended = daemon.running.session().bearer().is_err();
            advance(&hand, &upstream, if ended { Duration::from_millis(250) } else { secs(5) });
        }
        load.wait_all().await;
        if let Some(stall) = stall {
            load.send(&daemon, 6);
            advance(&hand, &upstream, secs(10));
            load.wait_all().await;
            stall.recover().await;
        }
    }

    // A lost reply costs two grants more: the next refresh is refused, the password is not.
    let passwords = grant_types(&upstream).iter().filter(|grant| *grant == "password").count();
    assert_eq!((grant_types(&upstream).len(), passwords), (16 + 2 * 2, 1 + 2));
    assert_eq!(upstream.max_concurrent_token_calls(), 1);
    executed_once(&upstream, load.sent().div_ceil(2));
}

/// Lets time pass under load until the token has ended.
async fn until_the_token_ends(
    daemon: &Daemon,
    upstream: &Simulator,
    hand: &ManualClock,
    load: &mut LoadClients,
) {
    while daemon.running.session().status().expires_in.is_some() {
        load.send(daemon, 6);
        advance(hand, upstream, secs(5));
        if daemon.running.session().bearer().is_ok() {
            load.wait_all().await;
        }
    }
}

#[tokio::test]
async fn nobody_waits_for_an_answer_that_takes_25_seconds() {
    let knobs = |knobs: &mut nexudus_simulator::Settings| knobs.token.access_life = secs(200);
    let upstream = upstream().frozen_clock().set(knobs).start().unwrap();
    let (setup, hand) = daemon(&upstream).manual_clock();
    let daemon = setup.run().await;
    daemon.session_until(|view| view.generation == 1 && !view.renewing).await;

    let held = upstream.hold(Route::Token);
    advance(&hand, &upstream, secs(160));
    assert!(upstream.wait_until_async(|view| view.held() == 1, EVENT_TIMEOUT).await);
    for _ in 0..5 {
        advance(&hand, &upstream, secs(5));
        assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
    }
    held.release();

    daemon.session_until(|view| view.generation == 2).await;
    assert_eq!(grant_types(&upstream), ["password", "refresh_token"]);
}

#[tokio::test]
async fn a_disk_that_stalls_for_ten_seconds_delays_the_next_rotation_and_fails_no_caller() {
    let knobs = |knobs: &mut nexudus_simulator::Settings| knobs.token.access_life = secs(8);
    let upstream = upstream().frozen_clock().set(knobs).start().unwrap();
    let (setup, hand) = daemon(&upstream).stored().manual_clock();
    let daemon = setup.run().await;
    daemon.session_until(|view| view.saved).await;
    let held = upstream.hold(Route::Token);
    advance(&hand, &upstream, secs(7));
    assert!(upstream.wait_until_async(|view| view.held() == 1, EVENT_TIMEOUT).await);

    let stall = daemon.stall();
    held.release();
    daemon.session_until(|view| view.generation == 2).await;
    let mut load = LoadClients::default();
    for second in 0..10 {
        load.send(&daemon, 2);
        if second < 7 {
            load.wait_all().await;
        }
        advance(&hand, &upstream, secs(1));
    }
    tokio::task::yield_now().await;
    let view = daemon.running.session().status();
    assert_eq!((view.generation, view.saved), (2, false));
    assert_eq!(upstream.token_calls().len(), 2, "rotated again before it was durable");
    stall.recover().await;

    load.wait_all().await;
    let view = daemon.session_until(|view| view.saved).await;
    assert_eq!((view.generation, &view.degraded), (3, &None));
    assert_eq!(grant_types(&upstream), ["password", "refresh_token", "refresh_token"]);
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_told_and_fails_no_caller() {
    let upstream = upstream().frozen_clock().set(short_lived_tokens).start().unwrap();
    let (setup, hand) = daemon(&upstream).stored().manual_clock();
    let daemon = setup.run().await;
    daemon.session_until(|view| view.saved).await;
    let in_the_way = daemon.home().join("state/session.sealed.new");
    std::fs::create_dir(&in_the_way).unwrap();

    for _ in 0..60 {
        advance(&hand, &upstream, secs(5));
        daemon.idle().await;
        assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
    }
    let view = daemon.running.session().status();
    let degraded = view.degraded.clone().unwrap_or_default();
    assert!(degraded.contains("would be lost by a restart"), "{view:?}");
    assert!((3..=5).contains(&view.generation), "{view:?}");

    std::fs::remove_dir(in_the_way).unwrap();
    advance(&hand, &upstream, secs(60));
    let view = daemon.session_until(|view| view.saved).await;
    assert_eq!(view.degraded, None);
}

#[tokio::test]
async fn cancelled_requests_change_nothing_for_the_others() {
    let upstream = upstream().start().unwrap();
    let held = upstream.hold(Route::Token);
    let daemon = daemon(&upstream).run().await;
    let ask = || tokio::spawn(daemon.request("GET", "/api/auth/me").send());
    let (impatient, patient): (Vec<_>, Vec<_>) = (0..50).map(|_| (ask(), ask())).unzip();
    assert!(upstream.wait_until_async(|view| view.held() == 1, EVENT_TIMEOUT).await);

    for request in impatient {
        request.abort();
        assert!(request.await.unwrap_err().is_cancelled());
    }
    held.release();

    for request in patient {
        assert_eq!(request.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(upstream.token_calls().len(), 1);
}

#[tokio::test]
async fn a_renewal_that_everybody_has_left_still_ends() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    daemon.session_until(|view| view.generation == 1).await;
    upstream.revoke_access_tokens();
    let held = upstream.hold_responses(Route::Token);
    let ask = || tokio::spawn(daemon.request("GET", "/api/spaces/coworkers").send());
    let impatient: Vec<_> = (0..20).map(|_| ask()).collect();
    assert!(upstream.wait_until_async(|view| view.held() == 1, EVENT_TIMEOUT).await);

    for request in impatient {
        request.abort();
        assert!(request.await.unwrap_err().is_cancelled());
    }
    held.release();

    let view = daemon.session_until(|view| view.generation == 2).await;
    assert_eq!(view.error, None);
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
    assert_eq!(grant_types(&upstream), ["password", "refresh_token"]);
}

#[tokio::test]
async fn twelve_who_share_a_saved_session_refresh_it_once_and_the_chain_lives() {
    let upstream = upstream().start().unwrap();
    let home = tempfile::tempdir().unwrap();
    let ca = home.path().join("ca.pem");
    upstream.write_ca(&ca).unwrap();
    let mut config = nexudus_proxy::config::Config::default().session;
    config.store = SessionStore::File;
    config.key_command = ["printf", SESSION_KEY].map(str::to_owned).to_vec();
    let user = || {
        let tls = nexudus_proxy::upstream::load_tls_config(Some(&ca)).unwrap();
        let client = reqwest::Client::builder().tls_backend_preconfigured((*tls).clone());
        let client = endpoint::configure_client(client).build().unwrap();
        let clock = nexudus_proxy::clock::Clock::system();
        let throttle =
            Throttle::new(&nexudus_proxy::config::Config::default().throttle, clock.clone());
        let issuer = endpoint::HttpIssuer::new(client, upstream.origin(), throttle);
        let credentials = Credentials::in_memory(Some(nexudus_proxy::credentials::Login {
            email: crate::support::EMAIL.to_owned(),
            password: nexudus_proxy::secret::Secret::new(crate::support::PASSWORD),
            second_factor: None,
        }));
        let directory = Some(home.path().to_owned());
        let (session, keeper) = Session::new(&config, directory, credentials, issuer, clock);
        tokio::spawn(keeper.run());
        session
    };
    let users: Vec<_> = (0..12).map(|_| user()).collect();
    for session in &users {
        session.wait_ready(BodyKind::Replayable).await.unwrap();
    }
    assert_eq!(grant_types(&upstream), ["password"]);

    let refreshed = join_all(users.iter().map(Session::refresh)).await;

    assert!(refreshed.iter().all(Result::is_ok), "{refreshed:?}");
    assert!(users.iter().all(|session| session.status().generation == 2));
    users[7].refresh().await.unwrap();
    assert_eq!(grant_types(&upstream), ["password", "refresh_token", "refresh_token"]);
}

#[tokio::test]
#[ignore = "takes a minute of real time; make test runs it"]
async fn a_minute_of_two_second_tokens_costs_no_caller_an_error() {
    let upstream = upstream().set(|knobs| knobs.token.access_life = secs(2)).start().unwrap();
    let jitter = Duration::from_millis(1_500);
    // One in twenty, and one in any case.
    upstream.fault(Fault { jitter, ..lost_reply().skip(4).times(1) });
    upstream.fault(Fault { jitter, ..lost_reply().chance(0.05) });
    upstream.fault(Fault { jitter, ..Fault::on("/api/token", FaultAction::Pass) });
    // Longer than the stall and the renewal after it together.
    let setup = daemon(&upstream).stored().set(|config| config.session.wait = secs(20));
    let daemon = setup.run().await;
    daemon.session_until(|view| view.saved).await;

    let mut load = LoadClients::default();
    let callers = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(25));
        loop {
            ticks.tick().await;
            load.send(&daemon, 2);
            load.check_finished();
        }
    };
    let weather = async {
        tokio::time::sleep(secs(20)).await;
        // The disk stalls in the middle of a renewal.
        let held = upstream.hold(Route::Token);
        assert!(upstream.wait_until_async(|view| view.held() == 1, EVENT_TIMEOUT).await);
        let stall = daemon.stall();
        held.release();
        tokio::time::sleep(secs(10)).await;
        stall.recover().await;
        // Tokens live long enough for one answer that takes 25 s.
        upstream.set(|knobs| knobs.token.access_life = secs(60));
        daemon.session_until(|view| view.expires_in > Some(secs(50))).await;
        upstream.set(|knobs| {
            knobs.faults = vec![Fault::on("/api/token", FaultAction::Pass).delayed(secs(25))];
        });
        daemon.running.session().refresh().await.unwrap();
    };
    tokio::select! {
        () = callers => {}
        () = weather => {}
    }
    load.wait_all().await;

    let grants = grant_types(&upstream);
    let lost = grants.iter().filter(|grant| *grant == "password").count() - 1;
    assert!(lost >= 1 && grants.len() <= 25 + 2 * lost, "{} grants, {lost} lost", grants.len());
    assert_eq!(upstream.max_concurrent_token_calls(), 1);
    executed_once(&upstream, load.sent().div_ceil(2));
}

/// The refresh takes effect, and its reply is lost.
fn lost_reply() -> Fault {
    Fault::on("/api/token", FaultAction::Close).grant("refresh_token").executed()
}
