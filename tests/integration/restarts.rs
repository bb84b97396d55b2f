//! Kills, restarts, suspends and clocks that are set cost a password login at worst.

use std::process::Stdio;
use std::time::{Duration, SystemTime};

use nexudus_proxy::clock::Clock;
use nexudus_proxy::config::Paths;
use nexudus_proxy::credentials::Credentials;
use nexudus_proxy::daemon::{self, Deps};
use nexudus_simulator::{Fault, FaultAction, Route, Settings, Simulator};

use crate::support::{
    DaemonProcess, EVENT_TIMEOUT, ProcessSetup, StalledDisk, advance, daemon, executed_once,
    grant_types, secs, upstream,
};

#[tokio::test]
async fn a_restart_resumes_the_saved_session_without_asking() {
    let upstream = upstream().start().unwrap();
    let place = ProcessSetup::new(&upstream);
    let first = place.start().await;
    assert_eq!(first.status("/api/auth/me").await, 200);
    assert_eq!(first.stop().await.code(), Some(0));

    let second = place.start().await;
    assert_eq!(second.status("/api/auth/me").await, 200);
    second.kill();
    let third = place.start().await;
    assert_eq!(third.status("/api/auth/me").await, 200);

    assert_eq!(grant_types(&upstream), ["password"]);
}

#[tokio::test]
async fn killed_before_a_refresh_takes_effect_the_next_start_repeats_it() {
    let upstream = upstream().start().unwrap();
    let place = ProcessSetup::new(&upstream);
    let program = ready(&place).await;
    upstream.revoke_access_tokens();
    upstream.fault(Fault::on("/api/token", FaultAction::Hang).times(1));
    let _request = program.get("/api/spaces/coworkers");
    assert!(upstream.wait_until_async(|view| view.token_calls().len() == 2, EVENT_TIMEOUT).await);

    program.kill();

    let next = place.start().await;
    assert_eq!(next.status("/api/spaces/coworkers").await, 200);
    assert_eq!(grant_types(&upstream), ["password", "refresh_token", "refresh_token"]);
}

#[tokio::test]
async fn killed_before_the_reply_to_a_refresh_came_the_next_start_logs_in_once() {
    let upstream = upstream().start().unwrap();
    let place = ProcessSetup::new(&upstream);

    let program = ready(&place).await;
    upstream.revoke_access_tokens();
    let held = upstream.hold_responses(Route::Token);
    let _request = program.get("/api/spaces/coworkers");
    assert!(upstream.wait_until_async(|view| view.held() == 1, EVENT_TIMEOUT).await);

    program.kill();
    held.release();

    let next = place.start().await;
    assert_eq!(next.status("/api/spaces/coworkers").await, 200);
    let expected = ["password", "refresh_token", "refresh_token", "password"];
    assert_eq!(grant_types(&upstream), expected);
}

#[tokio::test]
async fn killed_before_the_new_pair_is_written_the_next_start_logs_in_once() {
    let upstream = upstream().start().unwrap();
    let place = ProcessSetup::new(&upstream);
    let program = ready(&place).await;
    upstream.revoke_access_tokens();
    let held = upstream.hold(Route::Token);
    let request = program.get("/api/spaces/coworkers");
    assert!(upstream.wait_until_async(|view| view.held() == 1, EVENT_TIMEOUT).await);

    let stall = StalledDisk::at(&place.session_file());
    held.release();
    assert_eq!(request.await.unwrap().unwrap().status(), 200, "used before it is durable");
    program.kill();
    stall.put_back();

    let next = place.start().await;
    assert_eq!(next.status("/api/spaces/coworkers").await, 200);
    let expected = ["password", "refresh_token", "refresh_token", "password"];
    assert_eq!(grant_types(&upstream), expected);
}

#[tokio::test]
async fn killed_after_the_new_pair_was_written_the_next_start_asks_nothing() {
    let upstream = upstream().start().unwrap();
    let place = ProcessSetup::new(&upstream);
    let program = ready(&place).await;
    upstream.revoke_access_tokens();
    assert_eq!(program.status("/api/spaces/coworkers").await, 200);

    place.wait_durable().await;
    program.kill();

    let next = place.start().await;
    assert_eq!(next.status("/api/spaces/coworkers").await, 200);
    assert_eq!(grant_types(&upstream), ["password", "refresh_token"]);
}

#[tokio::test]
async fn killed_while_it_logs_in_the_next_start_logs_in() {
    let upstream = upstream().start().unwrap();
    let place = ProcessSetup::new(&upstream);
    let held = upstream.hold_responses(Route::Token);
    let program = place.start().await;
    assert!(upstream.wait_until_async(|view| view.held() == 1, EVENT_TIMEOUT).await);
    program.kill();
    held.release();

    // After five seconds: the password may have been looked at.
    let next = place.start().await;
    assert_eq!(next.status("/api/auth/me").await, 200);

    assert_eq!(grant_types(&upstream), ["password", "password"]);
    let ids: Vec<_> = upstream.token_calls().into_iter().map(|call| call.client_id).collect();
    assert_eq!(ids[0], ids[1], "one client id for an installation");
}

#[tokio::test]
async fn a_crash_loop_offers_a_refused_password_once() {
    let upstream = upstream().start().unwrap();
    let place = ProcessSetup::new(&upstream).set("NEXUDUS_PASSWORD", "wrong");

    for _ in 0..6 {
        let program = place.start().await;
        assert_eq!(program.status("/api/auth/me").await, 503);
        program.kill();
    }

    assert_eq!(grant_types(&upstream), ["password"]);
    let place = place.set("NEXUDUS_PASSWORD", crate::support::PASSWORD);
    assert_eq!(place.start().await.status("/api/auth/me").await, 200);
}

#[tokio::test]
async fn a_crash_loop_in_the_middle_of_a_login_spends_one_budget() {
    for hold in [Simulator::hold, Simulator::hold_responses] {
        let upstream = upstream().start().unwrap();
        let place = ProcessSetup::new(&upstream).set("NEXUDUS_PROXY_SESSION_WAIT", "1s");
        let held = hold(&upstream, Route::Token);
        let program = place.start().await;
        assert!(upstream.wait_until_async(|view| view.held() == 1, EVENT_TIMEOUT).await);
        program.kill();

        for _ in 0..5 {
            let program = place.start().await;
            assert_eq!(program.status("/api/auth/me").await, 503);
            program.kill();
        }
        held.release();

        let calls = upstream.token_calls().len();
        assert!((1..=3).contains(&calls), "{calls} logins");
    }
}

#[tokio::test]
async fn a_crash_loop_against_a_server_error_spends_one_budget() {
    let knobs = |knobs: &mut Settings| knobs.token.bad_login_status = 500;
    let upstream = upstream().set(knobs).start().unwrap();
    let place = ProcessSetup::new(&upstream).set("NEXUDUS_PASSWORD", "wrong");
    let place = place.set("NEXUDUS_PROXY_SESSION_WAIT", "1s");

    for _ in 0..6 {
        let program = place.start().await;
        assert_eq!(program.status("/api/auth/me").await, 503);
        program.kill();
    }

    let calls = upstream.token_calls().len();
    assert!((1..=3).contains(&calls), "{calls} logins");
}

#[tokio::test]
async fn a_second_daemon_on_a_profile_says_so_and_the_first_serves_on() {
    let upstream = upstream().start().unwrap();
    let place = ProcessSetup::new(&upstream);
    let first = place.start().await;

    let mut second = place.serve();
    let second = tokio::task::spawn_blocking(move || second.stderr(Stdio::piped()).output());
    let output = second.await.unwrap().unwrap();

    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("another daemon is already serving the profile `default`"), "{said}");
    assert_eq!(first.status("/api/auth/me").await, 200);
    assert_eq!(grant_types(&upstream), ["password"]);
}

#[tokio::test]
async fn a_second_daemon_in_one_process_is_refused_too_until_the_first_has_stopped() {
    let upstream = upstream().start().unwrap();
    let first = daemon(&upstream).run().await;
    let setting = || Deps { clock: Clock::system(), credentials: Credentials::in_memory(None) };
    let paths = Paths::rooted_at(first.home());

    let refused = daemon::Daemon::start(&first.config, &paths, setting()).await;

    assert!(matches!(refused, Err(daemon::Error::AlreadyRunning { .. })), "{refused:?}");
    let second = first.restart().await.run().await;
    assert_eq!(second.get("/api/auth/me").await.status(), 200);
}

#[tokio::test]
async fn a_daemon_that_does_not_start_leaves_nothing_running() {
    let upstream = upstream().start().unwrap();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let setup = daemon(&upstream).set(|config| {
        config.notify.command = vec!["true".to_owned()];
        config.upstream.user_agent = Some("\n".to_owned());
    });

    let refused = setup.start().await;

    assert!(matches!(refused, Err(daemon::Error::UserAgent(_))), "{refused:?}");
    assert_eq!(tasks(), before);
}

#[tokio::test]
async fn a_token_that_ended_during_a_suspend_is_replaced_before_it_is_used() {
    let knobs = |knobs: &mut Settings| knobs.token.access_life = secs(3_600);
    let upstream = upstream().frozen_clock().set(knobs).start().unwrap();
    let (setup, hand) = daemon(&upstream).manual_clock();
    let daemon = setup.run().await;
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);

    hand.suspend(secs(4_000));
    upstream.advance(secs(4_000));
    let answer = daemon.post("/api/echo", "once").await;

    assert_eq!(answer.status(), 200);
    executed_once(&upstream, 1);
    assert_eq!(grant_types(&upstream), ["password", "refresh_token"]);
    let refused = upstream.requests().into_iter().filter(|seen| seen.status == Some(401));
    assert_eq!(refused.count(), 0);
}

#[tokio::test]
async fn a_renewal_that_came_due_during_a_suspend_waits_for_the_network() {
    let knobs = |knobs: &mut Settings| knobs.token.access_life = secs(3_600);
    let upstream = upstream().frozen_clock().set(knobs).start().unwrap();
    let (setup, hand) = daemon(&upstream).manual_clock();
    let daemon = setup.run().await;
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);

    hand.suspend(secs(3_000));
    upstream.advance(secs(3_000));
    daemon.idle().await;
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
    assert_eq!(grant_types(&upstream), ["password"]);

    advance(&hand, &upstream, secs(10));
    daemon.session_until(|view| view.generation == 2).await;
    assert_eq!(grant_types(&upstream), ["password", "refresh_token"]);
}

/// A laptop's day: each hour a request, then a lid that is closed, then one that comes upon what is left.
#[tokio::test]
async fn a_day_of_idle_hours_and_suspends_costs_one_password_and_leaves_nothing_behind() {
    let knobs = |knobs: &mut Settings| knobs.token.access_life = secs(3_600);
    let upstream = upstream().frozen_clock().set(knobs).start().unwrap();
    let (setup, hand) = daemon(&upstream).stored().manual_clock();
    let daemon = setup.run().await;
    let mut tasks = vec![];

    for hour in 0..24 {
        assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
        for _ in 0..10 {
            advance(&hand, &upstream, secs(120));
            daemon.idle().await;
        }
        hand.suspend(secs(2_400));
        upstream.advance(secs(2_400));
        assert_eq!(daemon.post("/api/echo", &hour.to_string()).await.status(), 200);
        daemon.session_until(|view| view.saved && !view.renewing).await;
        tasks.push(tokio::runtime::Handle::current().metrics().num_alive_tasks());
    }

    let grants = grant_types(&upstream);
    assert_eq!(grants.iter().filter(|grant| *grant == "password").count(), 1);
    assert!((20..=25).contains(&grants.len()), "one renewal an hour: {grants:?}");
    let refused = upstream.requests().into_iter().filter(|seen| seen.status == Some(401));
    assert_eq!(refused.count(), 0);
    executed_once(&upstream, 24);
    // A task that just begins or ends shows in one hour; one that is left behind, in all from then on.
    assert_eq!(median(&tasks[18..]), median(&tasks[..6]), "{tasks:?}");
}

#[tokio::test]
async fn a_write_after_a_suspend_does_not_go_out_on_a_connection_from_before() {
    let upstream = upstream().frozen_clock().start().unwrap();
    let (setup, hand) = daemon(&upstream).manual_clock();
    let daemon = setup.run().await;
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
    let before = daemon.post("/api/echo", "before").await;
    before.bytes().await.unwrap();

    hand.suspend(secs(600));
    daemon.idle().await;
    let after = daemon.post("/api/echo", "after").await;

    assert_eq!(after.status(), 200);
    let seen = upstream.requests();
    let on = |body: &str| seen.iter().find(|seen| seen.text() == body).unwrap().connection;
    assert_ne!(on("before"), on("after"), "the other end of the old connection may be gone");
}

#[tokio::test]
async fn a_wall_clock_that_is_set_ages_nothing() {
    let knobs = |knobs: &mut Settings| knobs.token.access_life = secs(3_600);
    let upstream = upstream().frozen_clock().set(knobs).start().unwrap();
    let (setup, hand) = daemon(&upstream).stored().manual_clock();
    let daemon = setup.run().await;
    daemon.session_until(|view| view.saved).await;

    let year = Duration::from_secs(365 * 24 * 60 * 60);
    for wall in [SystemTime::now() + year, SystemTime::now() - year, SystemTime::UNIX_EPOCH] {
        hand.set_wall(wall);
        advance(&hand, &upstream, secs(60));
        let view = daemon.idle().await;
        assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
        assert!(view.age.unwrap() <= secs(200), "{view:?}");
    }
    assert_eq!(grant_types(&upstream), ["password"]);

    advance(&hand, &upstream, secs(3_600));
    daemon.session_until(|view| view.generation == 2).await;
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
}

#[tokio::test]
async fn after_a_reboot_the_wall_clock_tells_the_age_of_a_token() {
    let hour = secs(3_600);
    for (off, set_back, asked) in [(600, false, 0), (4_000, false, 1), (0, true, 1)] {
        let knobs = |knobs: &mut Settings| knobs.token.access_life = hour;
        let upstream = upstream().frozen_clock().set(knobs).start().unwrap();
        let (setup, hand) = daemon(&upstream).stored().manual_clock();
        // Issued later after its boot than the next boot has lasted by then.
        advance(&hand, &upstream, secs(600));
        let daemon = setup.run().await;
        daemon.session_until(|view| view.saved).await;
        let setup = daemon.restart().await;

        let (setup, hand) = setup.manual_clock();
        upstream.advance(secs(off));
        let wall = SystemTime::now() + secs(600 + off);
        hand.set_wall(if set_back { wall - 24 * hour } else { wall });
        let daemon = setup.run().await;

        assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
        daemon.session_until(|view| view.generation == 1 + asked && !view.renewing).await;
        assert_eq!(grant_types(&upstream).len() as u64, 1 + asked, "off for {off} s");
    }
}

#[tokio::test]
async fn a_token_that_ended_while_nobody_ran_is_replaced_at_the_next_start() {
    let knobs = |knobs: &mut Settings| knobs.token.access_life = secs(3_600);
    let upstream = upstream().frozen_clock().set(knobs).start().unwrap();
    let (setup, hand) = daemon(&upstream).stored().manual_clock();
    let daemon = setup.run().await;
    daemon.session_until(|view| view.saved).await;

    let next = daemon.restart().await;
    advance(&hand, &upstream, secs(4_000));
    let daemon = next.run().await;

    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
    assert_eq!(grant_types(&upstream), ["password", "refresh_token"]);
}

fn median(counts: &[usize]) -> usize {
    let mut sorted = counts.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

/// Starts the program, and returns it once its session is saved.
async fn ready(place: &ProcessSetup) -> DaemonProcess {
    let program = place.start().await;
    assert_eq!(program.status("/api/auth/me").await, 200);
    place.wait_durable().await;
    program
}
